//! The whole page for a host on which something of everything is going on, and that docs/metrics.md lists what is on it.

use std::collections::BTreeMap;

use api::{
    Domain, DomainState, Downtime, Interface, Memory, Migration, MigrationPhase, MigrationReport, Outcome,
    Progress, Role,
};
use uuid::Uuid;

use super::{DiskFigures, Figures, Measured, Measures, page};

fn domain(name: &str, state: DomainState) -> Domain {
    Domain {
        name: name.into(),
        uuid: Uuid::nil(),
        state,
        reason: None,
        persistent: true,
        autostart: false,
        memory_bytes: 1 << 30,
        vcpus: 2,
        machine: "pc-q35-10.0".into(),
        pid: (state == DomainState::Running).then_some(4711),
        started_at: None,
        migration: None,
        owner: None,
        disks: Vec::new(),
        interfaces: vec![Interface { mac: String::new(), bridge: "br0".into(), tap: Some("tap0".into()) }],
        console: None,
        log: String::new(),
    }
}

fn migration(id: u128, role: Role, phase: MigrationPhase, outcome: Option<Outcome>) -> Migration {
    let downtime = Downtime { qemu_ms: outcome.map(|_| 42), ..Downtime::default() };
    let report = MigrationReport {
        id: Uuid::from_u128(id),
        domain: "web2".into(),
        uuid: Uuid::nil(),
        source: "kvm1".into(),
        target: "kvm2".into(),
        outcome,
        phase,
        reason: None,
        mend: None,
        started_at: "2026-01-01T00:00:00Z".into(),
        wall_ms: 4200,
        memory: Memory { sent_bytes: 1000, ..Memory::default() },
        downtime,
        encrypted: true,
        suspended: false,
        skipped: Vec::new(),
        verified: None,
        offline: false,
        copied: None,
        mirrored: None,
        prediction: None,
        decisions: Vec::new(),
    };
    Migration { role, report }
}

fn busy() -> Measured {
    let counters = network::Counters {
        received_bytes: 1,
        received_packets: 2,
        received_dropped: 3,
        transmitted_bytes: 4,
        transmitted_packets: 5,
        transmitted_dropped: 6,
    };
    let disk = DiskFigures {
        device: "disk0".into(),
        target: None,
        read_bytes: 10,
        written_bytes: 20,
        reads: 1,
        writes: 2,
        failed_reads: 3,
        failed_writes: 4,
    };
    let figures = Figures {
        vcpu_threads: Vec::new(),
        vcpus_s: vec![(0, 1.5), (1, 0.25)],
        balloon: Some(1 << 29),
        disks: vec![disk],
    };
    let running = Measures {
        shown: domain("web1", DomainState::Running),
        cpu_s: Some(2.5),
        figures,
        taps: vec![("tap0".into(), counters)],
    };
    let away = Measures {
        shown: domain("web2", DomainState::Leaving),
        cpu_s: None,
        figures: Figures::default(),
        taps: Vec::new(),
    };
    let progress = Progress {
        round: 2,
        sent_bytes: 7,
        left_bytes: 8,
        total_bytes: 9,
        rate_bytes_per_s: 10,
        dirty_bytes_per_s: 11,
        expected_blackout_ms: 30,
        throttle_percent: 0,
        elapsed_ms: 1,
    };
    Measured {
        host: "kvm1".into(),
        version: "0.1.0",
        cpus: 4,
        memory_total: 1 << 33,
        memory_available: 1 << 32,
        domains: vec![running, away],
        migrations: vec![
            (migration(1, Role::Source, MigrationPhase::Moved, Some(Outcome::Moved)), None),
            (migration(2, Role::Target, MigrationPhase::Running, Some(Outcome::Moved)), None),
            (migration(3, Role::Source, MigrationPhase::Kept, Some(Outcome::Kept)), None),
            (migration(4, Role::Source, MigrationPhase::InDoubt, Some(Outcome::InDoubt)), None),
            (migration(5, Role::Source, MigrationPhase::Streaming, None), Some(progress)),
        ],
    }
}

#[test]
fn a_page_of_a_busy_host() {
    insta::assert_snapshot!(page(busy()));
}

#[test]
fn a_page_of_an_idle_host_has_no_gaps() {
    let page = page(Measured { domains: Vec::new(), migrations: Vec::new(), ..busy() });
    for line in
        ["ferry_host_domains{state=\"running\"} 0.0", "ferry_migrations_started_total{role=\"source\"} 0.0"]
    {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
}

/// A row for each metric: its name as it is queried, its type, its labels, its help.
fn table(page: &str) -> String {
    let mut helps = BTreeMap::new();
    let mut rows = Vec::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            helps.insert(name, help.trim_end_matches('.'));
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let sample = page.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let labels =
            sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inner, _)| inner);
        let labels: Vec<String> = labels
            .split(',')
            .filter_map(|label| label.split_once('=').map(|(key, _)| format!("`{key}`")))
            .filter(|key| key != "`le`")
            .collect();
        let queried = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let labels = labels.join(" ");
        rows.push(format!("| `{queried}` | {kind} | {labels} | {} |", helps[name]));
    }
    rows.join("\n")
}

#[test]
fn what_is_on_the_page_is_documented() {
    let documented = include_str!("../../../../docs/metrics.md");
    let table = table(&page(busy()));
    assert!(documented.contains(&table), "docs/metrics.md is to have this table:\n\n{table}\n");
}
