//! A migration in words: its phases, its figures, its end. Pure text; who prints it is [`crate::printer`] and
//! [`crate::progress`]. Main functions: [`phase`], [`progress`], [`report`].

use anstyle::{AnsiColor, Style};
use api::{
    CopyProgress, CopyReport, Migration, MigrationPhase, MigrationReport, MirroredDisk, Outcome, Progress,
    Role, Verified, Verify,
};

use crate::measure::{bytes, milliseconds, rate};
use crate::printer::{Facts, wrap};

/// What is going on in a phase; `offline` where the domain is shut off.
pub(crate) fn phase(phase: MigrationPhase, offline: bool) -> &'static str {
    match phase {
        MigrationPhase::Streaming if offline => "what it has goes over",
        MigrationPhase::Stopped if offline => "the last of it goes over",
        MigrationPhase::Moved if offline => "the domain is on the target",
        MigrationPhase::Receiving if offline => "files come in",
        MigrationPhase::Running if offline => "the domain is here",
        MigrationPhase::Refused if offline => "everything was given back",
        MigrationPhase::Planned => "both hosts were checked, nothing stands in the way",
        MigrationPhase::Reserved => "the target has made room",
        MigrationPhase::Streaming => "memory goes over while the guest works",
        MigrationPhase::Stopped => "the guest stands still, the last of its state goes over",
        MigrationPhase::Pledged => "the right to run was given to the target",
        MigrationPhase::Serving => "the guest works on the target and fetches memory from the source",
        MigrationPhase::Moved => "the domain runs on the target",
        MigrationPhase::Kept => "the domain stays on the source",
        MigrationPhase::InDoubt => "the target has the right to run, and its answer is not known",
        MigrationPhase::Lost => "the guest's memory is lost",
        MigrationPhase::Offered => "the source asks for room",
        MigrationPhase::Prepared => "there is room",
        MigrationPhase::Receiving => "memory comes in",
        MigrationPhase::Loaded => "everything has come in",
        MigrationPhase::Granted => "the right to run was received",
        MigrationPhase::Filling => "the guest works here, memory still comes in",
        MigrationPhase::Running => "the guest works here",
        MigrationPhase::Refused => "everything was given back, the guest never ran here",
    }
}

/// The name of a phase, as in lists.
pub(crate) fn phase_name(phase: MigrationPhase) -> &'static str {
    match phase {
        MigrationPhase::Planned => "planned",
        MigrationPhase::Reserved => "reserved",
        MigrationPhase::Streaming => "streaming",
        MigrationPhase::Stopped => "stopped",
        MigrationPhase::Pledged => "pledged",
        MigrationPhase::Serving => "serving",
        MigrationPhase::Moved => "moved",
        MigrationPhase::Kept => "kept",
        MigrationPhase::InDoubt => "in doubt",
        MigrationPhase::Lost => "lost",
        MigrationPhase::Offered => "offered",
        MigrationPhase::Prepared => "prepared",
        MigrationPhase::Receiving => "receiving",
        MigrationPhase::Loaded => "loaded",
        MigrationPhase::Granted => "granted",
        MigrationPhase::Filling => "filling",
        MigrationPhase::Running => "running",
        MigrationPhase::Refused => "refused",
    }
}

/// The figures in one line of at most `width` columns, as far as they fit.
pub(crate) fn progress(figures: &Progress, width: usize) -> String {
    let mut parts = vec![
        format!("round {}", figures.round),
        format!("sent {}", bytes(figures.sent_bytes)),
        format!("left {}", bytes(figures.left_bytes)),
        rate(figures.rate_bytes_per_s),
    ];
    if figures.dirty_bytes_per_s > 0 {
        parts.push(format!("dirty {}", rate(figures.dirty_bytes_per_s)));
    }
    if figures.expected_blackout_ms > 0 {
        parts.push(format!("blackout {}", milliseconds(figures.expected_blackout_ms)));
    }
    if figures.throttle_percent > 0 {
        parts.push(format!("slowed {} %", figures.throttle_percent));
    }
    let wide = parts.join("  ");
    if wide.chars().count() <= width { wide } else { parts.join(" ") }
}

/// How far a copy is, in one line of at most `width` columns, as far as that goes.
pub(crate) fn copying(figures: &CopyProgress, width: usize) -> String {
    let percent = (figures.done_bytes * 100).checked_div(figures.total_bytes).unwrap_or(100);
    let mut parts = vec![
        format!("{percent} %"),
        format!("{} of {}", bytes(figures.done_bytes), bytes(figures.total_bytes)),
        rate(figures.rate_bytes_per_s),
        format!("sent {}", bytes(figures.sent_bytes)),
    ];
    if figures.level > 0 {
        parts.push(format!("zstd {}", figures.level));
    }
    if let Some(left_ms) = figures.left_ms {
        parts.push(format!("{} left", milliseconds(left_ms)));
    }
    let lines = [format!("{} {}", bar(percent), parts.join("  ")), parts.join("  ")];
    lines.into_iter().find(|line| line.chars().count() <= width).unwrap_or_else(|| parts.join(" "))
}

/// A share of a hundred as a bar.
fn bar(percent: u64) -> String {
    const COLUMNS: usize = 8;
    let full = usize::try_from(percent).unwrap_or(100).min(100) * COLUMNS / 100;
    "━".repeat(full) + &"╌".repeat(COLUMNS - full)
}

/// How a migration ended, or where it stands.
pub(crate) fn report(report: &MigrationReport, width: usize) -> String {
    let (colour, headline) = headline(report);
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let mut text = format!("{style}{headline}{style:#}\n");
    let mut facts = Facts::default();
    if let Some(reason) = &report.reason {
        facts.add("because", reason);
    }
    if let Some(blackout) = blackout(report) {
        facts.add("blackout", &blackout);
    }
    if report.memory.sent_bytes > 0 {
        let memory = report.memory;
        let rounds = if memory.rounds == 1 { "round" } else { "rounds" };
        let line = format!(
            "{} sent in {} {rounds}, the guest has {}",
            bytes(memory.sent_bytes),
            memory.rounds,
            bytes(memory.total_bytes)
        );
        facts.add("memory", &line);
    }
    if let Some(copied) = &report.copied {
        facts.add("copied", &copied_in_short(copied));
        copied.files.iter().for_each(|file| facts.add("", &from_to(&file.from, &file.to)));
    }
    if let Some(mirrored) = &report.mirrored {
        let (sent, took) = (bytes(mirrored.sent_bytes), milliseconds(mirrored.took_ms));
        facts.add("disks", &format!("{sent} sent in {took}; equal on both hosts when the guest stopped"));
        let disk = |it: &MirroredDisk| format!("{} {}", it.disk, from_to(&it.from, &it.to));
        mirrored.disks.iter().for_each(|it| facts.add("", &disk(it)));
    }
    facts.add("on the way", if report.encrypted { "encrypted" } else { "in plain text" });
    match (report.offline, report.suspended) {
        (true, _) => facts.add("state", "shut off"),
        (false, true) => facts.add("state", "suspended, as before"),
        (false, false) => {}
    }
    if let Some(verified) = &report.verified {
        facts.add("afterwards", &afterwards(verified));
    }
    if !report.skipped.is_empty() {
        facts.add("skipped", &report.skipped.join(", "));
    }
    facts.add("migration", &report.id.to_string());
    text.push_str(&facts.render(width));
    if let Some(mend) = &report.mend {
        text.push_str(&wrap(mend, "→ ", "  ", width));
    }
    text
}

fn copied_in_short(copied: &CopyReport) -> String {
    let content = copied.files.iter().map(|file| file.content_bytes).sum();
    let files = if copied.files.len() == 1 { "file" } else { "files" };
    let resumed = match copied.resumed {
        0 => String::new(),
        1 => ", begun again once".to_owned(),
        times => format!(", begun again {times} times"),
    };
    let proven = match copied.verify {
        Verify::Disk => "read back from the target's disk and equal",
        Verify::Wire => "equal as it came in; NOT read back from the target's disk",
    };
    let (count, content, sent) = (copied.files.len(), bytes(content), bytes(copied.sent_bytes));
    format!("{content} of content in {count} {files}, {sent} sent{resumed}; {proven}")
}

fn from_to(from: &str, to: &str) -> String {
    if from == to { from.to_owned() } else { format!("{from} as {to}") }
}

fn headline(report: &MigrationReport) -> (AnsiColor, String) {
    let MigrationReport { domain, source, target, .. } = report;
    let took = milliseconds(report.wall_ms);
    match report.outcome {
        Some(Outcome::Moved) => {
            (AnsiColor::Green, format!("{domain} moved from {source} to {target} in {took}"))
        }
        Some(Outcome::Kept) => (
            AnsiColor::Yellow,
            format!("{domain} stays on {source}; it did not move to {target} (after {took})"),
        ),
        Some(Outcome::Copied) => {
            (AnsiColor::Green, format!("a copy of {domain} is on {target}, shut off (after {took})"))
        }
        Some(Outcome::InDoubt) => {
            (AnsiColor::Red, format!("{domain} is in doubt between {source} and {target} (after {took})"))
        }
        Some(Outcome::Lost) => {
            (AnsiColor::Red, format!("{domain} lost its memory between {source} and {target} (after {took})"))
        }
        None => (
            AnsiColor::Cyan,
            format!("{domain} goes from {source} to {target}: {}", phase(report.phase, report.offline)),
        ),
    }
}

fn blackout(report: &MigrationReport) -> Option<String> {
    let qemu = report.downtime.qemu_ms.map(|ms| format!("{} by QEMU", milliseconds(ms)));
    let seen = report
        .downtime
        .stop_to_resume_ms
        .map(|ms| format!("{ms:.1} ms from stop to resume by the hosts' clocks"));
    match (qemu, seen) {
        (None, None) => None,
        (qemu, seen) => Some([qemu, seen].into_iter().flatten().collect::<Vec<_>>().join(", ")),
    }
}

/// What the target saw of the guest: its place in the network, its disks, its clock.
fn afterwards(verified: &Verified) -> String {
    let mut seen = Vec::new();
    for interface in &verified.interfaces {
        let word = match interface.learned {
            Some(true) => "learned on",
            Some(false) => "NOT learned on",
            None => "not asked for on",
        };
        seen.push(format!("{} {word} {}", interface.mac, interface.bridge));
    }
    let disks = |open: Option<bool>| {
        let names = verified.disks.iter().filter(|disk| disk.open == open).map(|disk| disk.disk.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    for (open, word) in [(Some(true), "open"), (Some(false), "NOT open"), (None, "not asked for")] {
        let names = disks(open);
        if !names.is_empty() {
            seen.push(format!("{names} {word}"));
        }
    }
    if let Some(ahead_ms) = verified.clock_ahead_ms {
        seen.push(format!("the guest's clock {ahead_ms:+} ms"));
    }
    seen.join("; ")
}

/// What an operator puts at stake with a word about a migration in doubt.
pub(crate) fn stake(migration: &Migration, word: api::ResolveAs) -> String {
    let MigrationReport { domain, source, target, .. } = &migration.report;
    match word {
        api::ResolveAs::Moved => format!(
            "Your word: {domain} runs on {target}, or did. {source} then ends its copy of the guest for good. \
             If the guest never ran on {target}, what it had in memory is lost."
        ),
        api::ResolveAs::Kept => format!(
            "Your word: {domain} never ran on {target}, not for a moment, and its QEMU there is gone. {source} \
             then goes on with the memory of the moment it stopped. If the guest did run on {target}, its disks \
             have changed since and are damaged for good."
        ),
        api::ResolveAs::Lost => format!(
            "Your word: neither {source} nor {target} has a QEMU with {domain}'s memory any more. It may then be \
             started afresh, as after a power cut. If it still runs on {target}, two guests write to its disks."
        ),
    }
}

/// Which side the host that was asked is.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Source => "leaving",
        Role::Target => "arriving",
    }
}

#[cfg(test)]
mod tests {
    use super::{copying, phase, progress, report, stake};
    use anstream::adapter::strip_str;
    use api::{
        CopiedFile, CopyProgress, CopyReport, DiskSeen, Downtime, InterfaceSeen, Memory, Migration,
        MigrationPhase, MigrationReport, MirrorReport, MirroredDisk, Outcome, Progress, ResolveAs, Role,
        Verified, Verify,
    };
    use insta::assert_snapshot;
    use uuid::Uuid;

    fn ended(outcome: Option<Outcome>, phase: MigrationPhase) -> MigrationReport {
        MigrationReport {
            id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            domain: "web1".to_owned(),
            uuid: Uuid::from_u128(2),
            source: "kvm1".to_owned(),
            target: "kvm2".to_owned(),
            outcome,
            phase,
            reason: None,
            mend: None,
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            wall_ms: 4_210,
            memory: Memory {
                total_bytes: 1 << 30,
                sent_bytes: 1_300_000_000,
                rounds: 3,
                normal_pages: 300_000,
                zero_pages: 10,
                streamed_ms: 3_900,
            },
            downtime: Downtime {
                qemu_ms: Some(18),
                stop_to_resume_ms: Some(21.34),
                source_stopped_at: None,
                target_resumed_at: None,
            },
            encrypted: true,
            suspended: false,
            skipped: Vec::new(),
            verified: None,
            offline: false,
            copied: None,
            mirrored: None,
            prediction: None,
            decisions: Vec::new(),
        }
    }

    fn shown(given: &MigrationReport) -> String {
        strip_str(&report(given, 80)).to_string()
    }

    #[test]
    fn moved() {
        assert_snapshot!(shown(&ended(Some(Outcome::Moved), MigrationPhase::Moved)), @r"
        web1 moved from kvm1 to kvm2 in 4.2 s
          blackout    18 ms by QEMU, 21.3 ms from stop to resume by the hosts' clocks
          memory      1.21 GiB sent in 3 rounds, the guest has 1.00 GiB
          on the way  encrypted
          migration   01900000-0000-7000-8000-000000000001
        ");
    }

    #[test]
    fn what_the_target_saw_afterwards_and_what_was_skipped() {
        let mut given = ended(Some(Outcome::Moved), MigrationPhase::Moved);
        let interface = |mac: &str, learned| InterfaceSeen { mac: mac.into(), bridge: "br0".into(), learned };
        let disk = |disk: &str, open| DiskSeen { disk: disk.into(), open };
        given.verified = Some(Verified {
            interfaces: vec![
                interface("52:54:00:00:00:01", Some(true)),
                interface("52:54:00:00:00:02", Some(false)),
                interface("52:54:00:00:00:03", None),
            ],
            disks: vec![disk("vda", Some(true)), disk("vdb", Some(true)), disk("vdc", Some(false))],
            clock_ahead_ms: Some(-3),
        });
        given.skipped = vec!["clock-skew".into()];
        assert_snapshot!(shown(&given), @r"
        web1 moved from kvm1 to kvm2 in 4.2 s
          blackout    18 ms by QEMU, 21.3 ms from stop to resume by the hosts' clocks
          memory      1.21 GiB sent in 3 rounds, the guest has 1.00 GiB
          on the way  encrypted
          afterwards  52:54:00:00:00:01 learned on br0; 52:54:00:00:00:02 NOT learned on
                      br0; 52:54:00:00:00:03 not asked for on br0; vda, vdb open; vdc
                      NOT open; the guest's clock -3 ms
          skipped     clock-skew
          migration   01900000-0000-7000-8000-000000000001
        ");
    }

    #[test]
    fn moved_suspended_in_plain_text() {
        let mut given = ended(Some(Outcome::Moved), MigrationPhase::Moved);
        (given.encrypted, given.suspended, given.memory.rounds) = (false, true, 1);
        given.downtime = Downtime::default();
        assert_snapshot!(shown(&given), @r"
        web1 moved from kvm1 to kvm2 in 4.2 s
          memory      1.21 GiB sent in 1 round, the guest has 1.00 GiB
          on the way  in plain text
          state       suspended, as before
          migration   01900000-0000-7000-8000-000000000001
        ");
    }

    #[test]
    fn kept() {
        let mut given = ended(Some(Outcome::Kept), MigrationPhase::Kept);
        given.reason =
            Some("the connection to kvm2 broke: no sign of life for 5 s while memory went over".to_owned());
        given.mend =
            Some("look at the management network between kvm1 and kvm2, then migrate again".to_owned());
        given.downtime = Downtime::default();
        assert_snapshot!(shown(&given), @r"
        web1 stays on kvm1; it did not move to kvm2 (after 4.2 s)
          because     the connection to kvm2 broke: no sign of life for 5 s while memory
                      went over
          memory      1.21 GiB sent in 3 rounds, the guest has 1.00 GiB
          on the way  encrypted
          migration   01900000-0000-7000-8000-000000000001
        → look at the management network between kvm1 and kvm2, then migrate again
        ");
    }

    #[test]
    fn in_doubt() {
        let mut given = ended(Some(Outcome::InDoubt), MigrationPhase::InDoubt);
        given.reason = Some("kvm2 has not answered the pledge".to_owned());
        given.mend = Some("make kvm2 reachable; it settles by itself then".to_owned());
        assert_snapshot!(shown(&given), @r"
        web1 is in doubt between kvm1 and kvm2 (after 4.2 s)
          because     kvm2 has not answered the pledge
          blackout    18 ms by QEMU, 21.3 ms from stop to resume by the hosts' clocks
          memory      1.21 GiB sent in 3 rounds, the guest has 1.00 GiB
          on the way  encrypted
          migration   01900000-0000-7000-8000-000000000001
        → make kvm2 reachable; it settles by itself then
        ");
    }

    #[test]
    fn lost_and_going_on() {
        assert_snapshot!(shown(&ended(Some(Outcome::Lost), MigrationPhase::Lost)), @r"
        web1 lost its memory between kvm1 and kvm2 (after 4.2 s)
          blackout    18 ms by QEMU, 21.3 ms from stop to resume by the hosts' clocks
          memory      1.21 GiB sent in 3 rounds, the guest has 1.00 GiB
          on the way  encrypted
          migration   01900000-0000-7000-8000-000000000001
        ");
        let mut given = ended(None, MigrationPhase::Streaming);
        given.downtime = Downtime::default();
        assert_snapshot!(shown(&given), @r"
        web1 goes from kvm1 to kvm2: memory goes over while the guest works
          memory      1.21 GiB sent in 3 rounds, the guest has 1.00 GiB
          on the way  encrypted
          migration   01900000-0000-7000-8000-000000000001
        ");
    }

    fn figures() -> Progress {
        Progress {
            round: 3,
            sent_bytes: 1_300_000_000,
            left_bytes: 121 << 20,
            total_bytes: 1 << 30,
            rate_bytes_per_s: 98 << 20,
            dirty_bytes_per_s: 40 << 20,
            expected_blackout_ms: 120,
            throttle_percent: 0,
            elapsed_ms: 9_000,
        }
    }

    #[test]
    fn progress_lines() {
        assert_snapshot!(progress(&figures(), 80), @"round 3  sent 1.21 GiB  left 121 MiB  98 MiB/s  dirty 40 MiB/s  blackout 120 ms");
        let wide = Progress { round: 12, left_bytes: 1_022 << 20, ..figures() };
        assert_snapshot!(progress(&wide, 80), @"round 12 sent 1.21 GiB left 1022 MiB 98 MiB/s dirty 40 MiB/s blackout 120 ms");
        let first = Progress { round: 1, dirty_bytes_per_s: 0, expected_blackout_ms: 0, ..figures() };
        assert_snapshot!(progress(&first, 80), @"round 1  sent 1.21 GiB  left 121 MiB  98 MiB/s");
        let slowed = Progress { throttle_percent: 40, ..figures() };
        assert_snapshot!(progress(&slowed, 120), @"round 3  sent 1.21 GiB  left 121 MiB  98 MiB/s  dirty 40 MiB/s  blackout 120 ms  slowed 40 %");
        for round in [1, 12, 123] {
            let line = progress(&Progress { round, ..wide }, 80);
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    fn copied() -> MigrationReport {
        let file = |from: &str, to: &str, content_bytes| CopiedFile {
            from: from.into(),
            to: to.into(),
            length_bytes: 20 << 30,
            content_bytes,
            blake3: "00".into(),
        };
        let files = vec![
            file("/srv/images/web1.qcow2", "/mnt/fast/web1.qcow2", 2 << 30),
            file("/srv/images/web1_VARS.fd", "/srv/images/web1_VARS.fd", 540_672),
        ];
        MigrationReport {
            memory: Memory::default(),
            downtime: Downtime::default(),
            offline: true,
            copied: Some(CopyReport { verify: Verify::Disk, files, sent_bytes: 1_300_000_000, resumed: 0 }),
            ..ended(Some(Outcome::Moved), MigrationPhase::Moved)
        }
    }

    #[test]
    fn moved_shut_off_with_its_disks() {
        assert_snapshot!(shown(&copied()));
        let mut given = copied();
        given.outcome = Some(Outcome::Copied);
        given.copied = given.copied.map(|it| CopyReport { verify: Verify::Wire, resumed: 3, ..it });
        assert_snapshot!(shown(&given));
    }

    #[test]
    fn moved_with_its_disks() {
        let disk = |disk: &str, from: &str, to: &str| MirroredDisk {
            disk: disk.into(),
            from: from.into(),
            to: to.into(),
        };
        let disks = vec![
            disk("vda", "/srv/images/web1.qcow2", "/mnt/fast/web1.qcow2"),
            disk("vdb", "/srv/images/data.raw", "/srv/images/data.raw"),
        ];
        let mirrored = Some(MirrorReport { disks, sent_bytes: 2 << 30, took_ms: 6100 });
        let given = MigrationReport { mirrored, ..ended(Some(Outcome::Moved), MigrationPhase::Moved) };
        assert_snapshot!(shown(&given));
    }

    #[test]
    fn copy_lines() {
        let figures = CopyProgress {
            file: "/srv/web1.qcow2".into(),
            done_bytes: 1_300_000_000,
            total_bytes: 2 << 30,
            sent_bytes: 700_000_000,
            rate_bytes_per_s: 480 << 20,
            left_ms: Some(2_400),
            level: 1,
            elapsed_ms: 3_000,
        };
        assert_snapshot!(copying(&figures, 80), @"━━━━╌╌╌╌ 60 %  1.21 GiB of 2.00 GiB  480 MiB/s  sent 668 MiB  zstd 1  2.4 s left");
        let nothing_known =
            CopyProgress { rate_bytes_per_s: 0, left_ms: None, level: 0, done_bytes: 0, ..figures.clone() };
        assert_snapshot!(copying(&nothing_known, 80), @"╌╌╌╌╌╌╌╌ 0 %  0 B of 2.00 GiB  0 B/s  sent 668 MiB");
        let long =
            CopyProgress { left_ms: Some(3_599_000), rate_bytes_per_s: 1_000 << 20, ..figures.clone() };
        assert_snapshot!(copying(&long, 80), @"60 %  1.21 GiB of 2.00 GiB  1000 MiB/s  sent 668 MiB  zstd 1  59 min 59 s left");
        let empty = CopyProgress { done_bytes: 0, total_bytes: 0, left_ms: Some(0), ..figures };
        assert_snapshot!(copying(&empty, 80), @"━━━━━━━━ 100 %  0 B of 0 B  480 MiB/s  sent 668 MiB  zstd 1  0 ms left");
    }

    #[test]
    fn stakes_name_both_hosts_and_what_is_lost() {
        let migration =
            Migration { role: Role::Source, report: ended(Some(Outcome::InDoubt), MigrationPhase::InDoubt) };
        assert_snapshot!(stake(&migration, ResolveAs::Moved), @"Your word: web1 runs on kvm2, or did. kvm1 then ends its copy of the guest for good. If the guest never ran on kvm2, what it had in memory is lost.");
        assert_snapshot!(stake(&migration, ResolveAs::Kept), @"Your word: web1 never ran on kvm2, not for a moment, and its QEMU there is gone. kvm1 then goes on with the memory of the moment it stopped. If the guest did run on kvm2, its disks have changed since and are damaged for good.");
        assert_snapshot!(stake(&migration, ResolveAs::Lost), @"Your word: neither kvm1 nor kvm2 has a QEMU with web1's memory any more. It may then be started afresh, as after a power cut. If it still runs on kvm2, two guests write to its disks.");
    }

    #[test]
    fn phases_of_a_good_day() {
        let phases = [
            MigrationPhase::Planned,
            MigrationPhase::Reserved,
            MigrationPhase::Streaming,
            MigrationPhase::Stopped,
            MigrationPhase::Pledged,
            MigrationPhase::Moved,
        ];
        assert_snapshot!(phases.map(|it| phase(it, false)).join("\n"), @r"
        both hosts were checked, nothing stands in the way
        the target has made room
        memory goes over while the guest works
        the guest stands still, the last of its state goes over
        the right to run was given to the target
        the domain runs on the target
        ");
    }
}
