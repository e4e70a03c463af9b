//! What people see at 80 columns.

use anstream::adapter::strip_str;
use api::{
    Accelerator, Cpu, Detail, Disk, DiskStatistics, Domain, DomainState, Host, HostState, Interface,
    InterfaceStatistics, Joined, KnownHost, Migration, Neighbour, Problem, Secret, Statistics, Token,
};
use insta::assert_snapshot;
use uuid::Uuid;

use super::{
    definition_problem, domain, domains, host, hosts, joined, migrations, offset, problem, token, wrap,
};

fn web1() -> Domain {
    Domain {
        name: "web1".to_owned(),
        uuid: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        state: DomainState::Running,
        reason: None,
        persistent: true,
        autostart: true,
        memory_bytes: 1 << 30,
        vcpus: 2,
        machine: "pc-q35-10.0".to_owned(),
        pid: Some(4711),
        started_at: Some("2026-01-01T00:00:00Z".to_owned()),
        migration: None,
        owner: None,
        disks: vec![Disk {
            target: "vda".to_owned(),
            source: "/srv/images/web1.qcow2".to_owned(),
            format: "qcow2".to_owned(),
            readonly: true,
        }],
        interfaces: vec![Interface {
            mac: "52:54:00:00:00:01".to_owned(),
            bridge: "br0".to_owned(),
            tap: Some("vnet0".to_owned()),
        }],
        console: Some("/dev/pts/3".to_owned()),
        log: "/var/log/ferry/web1.log".to_owned(),
    }
}

#[test]
fn list() {
    let moved = Domain {
        name: "database-of-the-accounting-department".to_owned(),
        state: DomainState::Moved,
        owner: Some("kvm2".to_owned()),
        memory_bytes: 96 << 30,
        vcpus: 16,
        ..web1()
    };
    let stopped = Domain {
        name: "mail".to_owned(),
        state: DomainState::Stopped,
        reason: Some("no space left on the device of disk vda".to_owned()),
        persistent: false,
        memory_bytes: 1536 << 20,
        ..web1()
    };
    let text = domains(&[web1(), moved, stopped], true, 80);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_snapshot!(text, @r"
    NAME                            STATE    VCPUS  MEMORY    REMARK
    web1                            running  2      1.00 GiB  autostart
    database-of-the-accounting-dep  moved    16     96.0 GiB  on kvm2; autostart
    artment
    mail                            stopped  2      1.50 GiB  no space left on the
                                                              device of disk vda;
                                                              transient; autostart
    ");
}

#[test]
fn empty_lists_say_where_to_look() {
    assert_snapshot!(domains(&[], false, 80), @"No domain runs here; `ferry list --all` shows all that are defined.");
    assert_snapshot!(domains(&[], true, 80), @"No domain is defined here.");
    assert_snapshot!(migrations(&[], 80), @"This host took part in no migration.");
}

#[test]
fn info() {
    let statistics = Statistics {
        cpu_ms: Some(83_500),
        balloon_bytes: Some(1 << 29),
        disks: vec![DiskStatistics {
            target: "vda".to_owned(),
            read_bytes: 12 << 20,
            written_bytes: 3 << 20,
            reads: 345,
            writes: 67,
            failed_reads: 1,
            failed_writes: 0,
        }],
        interfaces: vec![InterfaceStatistics {
            tap: "vnet0".to_owned(),
            received_bytes: 4096,
            received_packets: 32,
            transmitted_bytes: 1024,
            transmitted_packets: 8,
            ..InterfaceStatistics::default()
        }],
        snapshots: Some(2),
    };
    assert_snapshot!(domain(&web1(), &statistics, 80), @r"
    web1
      uuid        01900000-0000-7000-8000-000000000001
      state       running
      definition  kept
      autostart   yes
      memory      1.00 GiB
      balloon     leaves the guest 512 MiB
      vcpus       2
      cpu time    1 min 23 s
      machine     pc-q35-10.0
      disk        vda: /srv/images/web1.qcow2 (qcow2, read-only)
                  read 12.0 MiB (345 requests), wrote 3.00 MiB (67 requests)
                  1 reads and 0 writes failed
      interface   52:54:00:00:00:01 on br0 through vnet0
                  received 4.00 KiB (32 packets), sent 1.00 KiB (8 packets)
      snapshots   2
      console     /dev/pts/3
      qemu        process 4711
      since       2026-01-01T00:00:00Z
      log         /var/log/ferry/web1.log
    ");
    let doubtful = Domain {
        state: DomainState::InDoubt,
        reason: Some("kvm2 has not answered the pledge".to_owned()),
        owner: Some("kvm2".to_owned()),
        migration: Some(Uuid::from_u128(7)),
        persistent: false,
        pid: None,
        started_at: None,
        console: None,
        disks: Vec::new(),
        interfaces: Vec::new(),
        ..web1()
    };
    assert_snapshot!(domain(&doubtful, &Statistics::default(), 80), @r"
    web1
      uuid        01900000-0000-7000-8000-000000000001
      state       in doubt (kvm2 has not answered the pledge)
      on host     kvm2
      migration   00000000-0000-0000-0000-000000000007
      definition  transient
      memory      1.00 GiB
      vcpus       2
      machine     pc-q35-10.0
      log         /var/log/ferry/web1.log
    ");
}

#[test]
fn host_info() {
    let given = Host {
        name: "kvm1".to_owned(),
        kernel: "6.12.0".to_owned(),
        cpu: Cpu {
            arch: "x86_64".to_owned(),
            vendor: "GenuineIntel".to_owned(),
            model: "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz".to_owned(),
            count: 28,
            nx: true,
        },
        memory_total_bytes: 128 << 30,
        memory_available_bytes: 97 << 30,
        qemu_version: "10.0.2".to_owned(),
        emulator: "/usr/bin/qemu-system-x86_64".to_owned(),
        accelerators: vec![
            Accelerator {
                name: "kvm".to_owned(),
                usable: false,
                reason: Some(
                    "/dev/kvm is there, and a guest that was started with it did not run".to_owned(),
                ),
            },
            Accelerator { name: "tcg".to_owned(), usable: true, reason: None },
        ],
        neighbours: vec![Neighbour { name: "kvm2".to_owned(), address: "10.0.0.2:7180".to_owned() }],
        domains_active: 3,
    };
    assert_snapshot!(host(&given, 80), @r"
    kvm1
      kernel      6.12.0
      processors  28 × Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz (x86_64)
      memory      128 GiB, 97.0 GiB available
      qemu        10.0.2 at /usr/bin/qemu-system-x86_64
      kvm         does not work: /dev/kvm is there, and a guest that was started
                  with it did not run
      tcg         works
      domains     3 active
      knows       kvm2 at 10.0.0.2:7180
    ");
}

#[test]
fn migration_list() {
    let json = r#"{"role":"source","id":"01900000-0000-7000-8000-000000000001","domain":"web1",
        "uuid":"00000000-0000-0000-0000-000000000002","source":"kvm1","target":"kvm2","outcome":"in-doubt",
        "phase":"in-doubt","started_at":"2026-01-01T00:00:00Z","wall_ms":1,"memory":{"total_bytes":0,
        "sent_bytes":0,"rounds":0,"normal_pages":0,"zero_pages":0},"downtime":{},"encrypted":true,
        "suspended":false}"#;
    let migration: Migration = serde_json::from_str(json).expect("a migration");
    assert_snapshot!(migrations(&[migration], 80), @r"
    MIGRATION                             DOMAIN  HOSTS        PHASE
    01900000-0000-7000-8000-000000000001  web1    kvm1 → kvm2  in doubt
    ");
}

fn detail(code: &str, message: &str, mend: &str, place: Option<(u32, u32)>) -> Detail {
    Detail {
        code: code.to_owned(),
        message: message.to_owned(),
        mend: mend.to_owned(),
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
    }
}

fn refused(detail: &str, details: Vec<Detail>) -> Problem {
    Problem {
        status: 422,
        code: "refused".to_owned(),
        detail: detail.to_owned(),
        mend: Some("mend this and try again; nothing was changed".to_owned()),
        details,
    }
}

#[test]
fn refusals_show_every_finding() {
    let given = refused(
        "web1 cannot move to kvm2",
        vec![
            detail(
                "bridge-missing",
                "kvm2 has no bridge br0, and interface 52:54:00:00:00:01 of web1 is on it",
                "create the bridge on kvm2 with the same network behind it: ip link add br0 type bridge",
                None,
            ),
            detail("disk-missing", "kvm2 does not see /srv/images/web1.qcow2", "mount it there", None),
        ],
    );
    let text = strip_str(&problem(&given, 80)).to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_snapshot!(text, @r"
    error: web1 cannot move to kvm2
      • kvm2 has no bridge br0, and interface 52:54:00:00:00:01 of web1 is on it
        → create the bridge on kvm2 with the same network behind it: ip link add br0
          type bridge
      • kvm2 does not see /srv/images/web1.qcow2
        → mount it there
    → mend this and try again; nothing was changed
    ");
}

#[test]
fn definitions_show_their_lines() {
    let xml = "<domain type='kvm'>\n  <name>web1</name>\n  <devices>\n    <hostdev mode='subsystem'/>\n  </devices>\n</domain>\n";
    let given = refused(
        "the definition cannot be used",
        vec![
            detail("element-unsupported", "<hostdev> is not supported", "leave it out", Some((4, 5))),
            detail("memory-missing", "there is no <memory>", "add <memory unit='GiB'>1</memory>", None),
            detail("beyond", "this is about line 99", "", Some((99, 1))),
        ],
    );
    assert_snapshot!(strip_str(&definition_problem(&given, "web1.xml", xml, 80)), @r"
    error: the definition cannot be used
    error: <hostdev> is not supported
     --> web1.xml:4:5
      |
    4 |     <hostdev mode='subsystem'/>
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: leave it out
      • there is no <memory>
        → add <memory unit='GiB'>1</memory>
      • this is about line 99
    → mend this and try again; nothing was changed
    ");
}

#[test]
fn offsets() {
    let text = "ab\ncé\n";
    for ((line, column), expect) in [
        ((1, 1), Some(0)),
        ((1, 3), Some(2)),
        ((1, 9), Some(2)),
        ((2, 1), Some(3)),
        ((2, 2), Some(4)),
        ((2, 3), Some(6)),
        ((3, 1), Some(7)),
        ((4, 1), None),
        ((0, 1), None),
    ] {
        assert_eq!(offset(text, line, column), expect, "{line}:{column}");
    }
}

#[test]
fn wrapping() {
    assert_eq!(wrap("aa bb cc", "- ", "  ", 7), "- aa bb\n  cc\n");
    assert_eq!(wrap("aaaaaaaaaa b", "- ", "  ", 5), "- aaaaaaaaaa\n  b\n");
    assert_eq!(wrap("a\nb", "- ", "  ", 9), "- a\n  b\n");
    assert_eq!(wrap("1 | x =\n  |    ^", "- ", "  ", 12), "- 1 | x =\n    |    ^\n");
}

#[test]
fn a_token_and_who_joined_with_it() {
    let made = Token {
        token: Secret("eyJpc3N1ZXIiOiJrdm0xIn0".to_owned()),
        issuer: "kvm1".to_owned(),
        address: "192.0.2.1:7700".to_owned(),
        expires_at: "2026-01-01T01:00:00Z".to_owned(),
        ca_fingerprint: "0".repeat(64),
        ca_made: true,
    };
    assert_snapshot!("token", token(&made, 80));
    let has_joined = Joined {
        host: "kvm3".to_owned(),
        address: "192.0.2.3:7700".to_owned(),
        issuer: "kvm1".to_owned(),
        certificate_until: "2027-01-01T00:00:00Z".to_owned(),
        hosts: ["kvm1", "kvm2"]
            .map(|name| Neighbour { name: name.to_owned(), address: String::new() })
            .into(),
    };
    assert_snapshot!("joined", joined(&has_joined, 80));
}

#[test]
fn host_list() {
    let here = KnownHost {
        name: "kvm1".to_owned(),
        address: "192.0.2.1:7700".to_owned(),
        state: HostState::Here,
        reason: None,
        issuer: true,
        configured: false,
        certificate_until: Some("2027-01-01T00:00:00Z".to_owned()),
        ferry: Some("0.1.0".to_owned()),
        protocol: Some(1),
    };
    let other = |name: &str, state, reason: Option<&str>| KnownHost {
        name: name.to_owned(),
        state,
        reason: reason.map(str::to_owned),
        issuer: false,
        ferry: reason.is_none().then(|| "0.1.0".to_owned()),
        ..here.clone()
    };
    let refused =
        "host kvm3 cannot be asked: cannot connect to the agent at 192.0.2.1:7700: Connection refused";
    let known = [
        here.clone(),
        other("kvm2", HostState::Joined, None),
        other("kvm3", HostState::Unreachable, Some(refused)),
        KnownHost { configured: true, certificate_until: None, ..other("kvm4", HostState::Joined, None) },
        other("kvm5", HostState::Revoked, Some("removed at 2026-01-01T00:00:00Z")),
    ];
    assert_snapshot!("host_list", hosts(&known, 80));
}
