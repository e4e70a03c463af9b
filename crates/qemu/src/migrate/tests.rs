//! Two real QEMUs on the loopback interface: the order of events, the handover, TLS, failure and cancel.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::accelerator::Accelerator;
use crate::capabilities::{Capabilities, Probe, probe};
use crate::command::{
    Cont, MigrateCancel, MigrateContinue, QueryMigrateCapabilities, QueryMigrateParameters, QueryStatus,
    RunState, XbzrleCache,
};
use crate::command_line::{CommandLine, Plain};

const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[path = "tests/postcopy.rs"]
mod postcopy;

struct Pair {
    source: Probe,
    target: Probe,
    capabilities: Capabilities,
}

impl Pair {
    /// Two empty machines with 128 MiB; the source's runs.
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same; `source_only` is in the source's command line and not in the target's.
    async fn start_with(source_only: &[Plain<'_>]) -> Self {
        let emulator = Path::new(EMULATOR);
        let both = || {
            let mut line = CommandLine::probe("q35", Accelerator::Tcg, None);
            line.push(&Plain("-m", "size=128M"));
            line
        };
        let (mut at_source, mut at_target) = (both(), both());
        source_only.iter().for_each(|switch| at_source.push(switch));
        at_target.push(&Plain("-incoming", "defer"));
        let source = Probe::start(emulator, &at_source).await.unwrap();
        let target = Probe::start(emulator, &at_target).await.unwrap();
        let capabilities = probe(emulator, Accelerator::Tcg).await.unwrap();
        source.qmp().execute(Cont).await.unwrap();
        Self { source, target, capabilities }
    }

    async fn prepare(&self, means: &Means, target_means: &Means) -> SocketAddr {
        prepare(self.source.qmp(), &self.capabilities, Side::Source, means).await.unwrap();
        prepare(self.target.qmp(), &self.capabilities, Side::Target, target_means).await.unwrap();
        listen(self.target.qmp(), &self.capabilities, LOOPBACK).await.unwrap()
    }

    async fn end(self) {
        self.source.end().await;
        self.target.end().await;
    }
}

async fn state(probe: &Probe) -> RunState {
    probe.qmp().execute(QueryStatus).await.unwrap().status
}

/// QEMU tells of a migration's end a moment before its run state follows, and of that it tells nothing.
async fn is_soon(probe: &Probe, expect: RunState) {
    let followed = timeout(Duration::from_secs(10), async {
        while state(probe).await != expect {
            sleep(limits::QUERY_MIGRATE_PAUSE).await;
        }
    });
    followed.await.unwrap_or_else(|_elapsed| panic!("it never is {expect:?}"));
}

/// What happens up to a status, that status included.
async fn until(events: &mut Events, last: MigrationStatus) -> Vec<What> {
    let mut seen = Vec::new();
    while seen.last() != Some(&What::Migration(last.clone())) {
        seen.push(events.next().await.unwrap().what);
    }
    seen
}

fn migration(status: MigrationStatus) -> What {
    What::Migration(status)
}

#[tokio::test]
async fn a_guest_moves_and_runs_only_where_it_is_continued() {
    let pair = Pair::start().await;
    let means = Means::default();
    let (mut at_source, mut at_target) = (Events::of(pair.source.qmp()), Events::of(pair.target.qmp()));
    let address = pair.prepare(&means, &means).await;
    assert!(address.port() != 0 && address.ip() == LOOPBACK);
    assert_eq!(state(&pair.target).await, RunState::Inmigrate);
    let parameters = pair.target.qmp().execute(QueryMigrateParameters).await.unwrap();
    assert_eq!(parameters.announce_rounds, Some(1));

    start(pair.source.qmp(), address).await.unwrap();
    let seen = until(&mut at_source, MigrationStatus::PreSwitchover).await;
    assert_eq!(seen[0], migration(MigrationStatus::Setup));
    assert_eq!(seen[1..3], [What::Pass(1), migration(MigrationStatus::Active)]);
    assert_eq!(seen[seen.len() - 2..], [What::Stopped, migration(MigrationStatus::PreSwitchover)]);
    assert_eq!(state(&pair.source).await, RunState::FinishMigrate);
    assert_eq!(state(&pair.target).await, RunState::Inmigrate);

    let go = MigrateContinue { state: MigrationStatus::PreSwitchover };
    pair.source.qmp().execute(go).await.unwrap();
    let seen = until(&mut at_source, MigrationStatus::Completed).await;
    assert_eq!(seen[0], migration(MigrationStatus::Device));
    assert!(matches!(seen[1..], [What::Pass(_), What::Migration(MigrationStatus::Completed)]), "{seen:?}");
    // The return path: when the source says completed, the target has loaded.
    assert_eq!(state(&pair.target).await, RunState::Paused);
    is_soon(&pair.source, RunState::Postmigrate).await;
    let seen = until(&mut at_target, MigrationStatus::Completed).await;
    assert!(!seen.contains(&What::Resumed));
    let info = pair.source.qmp().execute(QueryMigrate).await.unwrap();
    assert!(info.downtime.is_some() && info.total_time.is_some());
    assert!(info.ram.unwrap().total >= 128 << 20);

    pair.target.qmp().execute(Cont).await.unwrap();
    assert_eq!(at_target.next().await.unwrap().what, What::Resumed);
    assert_eq!(state(&pair.target).await, RunState::Running);
    pair.end().await;
}

#[tokio::test]
async fn a_throttle_is_set_and_taken_back_while_memory_goes_over() {
    let pair = Pair::start().await;
    let means = Means { xbzrle: true, auto_converge: true, ..Means::default() };
    let address = pair.prepare(&means, &Means::default()).await;
    let qmp = pair.source.qmp();
    let tell = |parameters| qmp.execute(MigrateSetParameters { parameters });
    tell(MigrationParameters { max_bandwidth: Some(1 << 16), ..throttle(0) }).await.unwrap();
    let mut events = Events::of(qmp);
    start(qmp, address).await.unwrap();
    events.status(&[MigrationStatus::Active]).await.unwrap();
    for (percent, expect) in
        [(0, [1, 99, 1, 100]), (70, [70, 99, 70, 1]), (100, [99, 99, 99, 1]), (0, [1, 99, 1, 100])]
    {
        tell(throttle(percent)).await.unwrap();
        let now = qmp.execute(QueryMigrateParameters).await.unwrap();
        let figures = [
            now.cpu_throttle_initial,
            now.cpu_throttle_increment,
            now.max_cpu_throttle,
            now.throttle_trigger_threshold,
        ];
        assert_eq!(figures, expect.map(Some), "{percent}");
    }
    let info = qmp.execute(QueryMigrate).await.unwrap();
    assert_eq!(info.xbzrle_cache, Some(XbzrleCache { pages: 0 }));
    // The next attempt has several connections, which exclude it.
    qmp.execute(MigrateCancel).await.unwrap();
    let several = Means { multifd_channels: Some(2), ..Means::default() };
    prepare(qmp, &pair.capabilities, Side::Source, &several).await.unwrap();
    let set = qmp.execute(QueryMigrateCapabilities).await.unwrap();
    let is_on = |capability| set.iter().any(|it| it.capability == capability && it.state);
    assert!(is_on(MigrationCapability::Multifd) && !is_on(MigrationCapability::Xbzrle));
    pair.end().await;
}

#[tokio::test]
async fn a_cancelled_source_runs_on_by_itself() {
    let pair = Pair::start().await;
    let means = Means::default();
    let address = pair.prepare(&means, &means).await;
    let mut events = Events::of(pair.source.qmp());
    start(pair.source.qmp(), address).await.unwrap();
    events.status(&[MigrationStatus::PreSwitchover]).await.unwrap();
    pair.source.qmp().execute(MigrateCancel).await.unwrap();
    let seen = until(&mut events, MigrationStatus::Cancelled).await;
    let seen = match seen.contains(&What::Resumed) {
        true => seen,
        false => vec![events.next().await.unwrap().what],
    };
    assert!(seen.contains(&What::Resumed), "{seen:?}");
    assert_eq!(state(&pair.source).await, RunState::Running);
    // `exit-on-error` is off: the target stays to be asked.
    let info = pair.target.qmp().execute(QueryMigrate).await.unwrap();
    assert_ne!(info.status, Some(MigrationStatus::Completed));
    assert_ne!(state(&pair.target).await, RunState::Running);
    pair.end().await;
}

#[tokio::test]
async fn a_target_that_dies_leaves_a_source_that_runs() {
    let pair = Pair::start().await;
    let means = Means::default();
    let address = pair.prepare(&means, &means).await;
    let mut events = Events::of(pair.source.qmp());
    start(pair.source.qmp(), address).await.unwrap();
    events.status(&[MigrationStatus::PreSwitchover]).await.unwrap();
    pair.target.process.kill();
    pair.target.process.exited().await;
    // It is noticed only now.
    let go = MigrateContinue { state: MigrationStatus::PreSwitchover };
    let _ = pair.source.qmp().execute(go).await;
    let status = events.status(&[MigrationStatus::Failed, MigrationStatus::Completed]).await.unwrap();
    assert_eq!(status, MigrationStatus::Failed);
    let resumed = events.find(|it| (it.what == What::Resumed).then_some(()));
    if state(&pair.source).await != RunState::Running {
        resumed.await.unwrap();
    }
    assert_eq!(state(&pair.source).await, RunState::Running);
    assert!(pair.source.qmp().execute(QueryMigrate).await.unwrap().error_desc.is_some());
    pair.end().await;
}

#[tokio::test]
async fn the_next_migration_waits_until_the_last_one_is_cleaned_up() {
    let pair = Pair::start().await;
    let (source, process) = (pair.source.qmp(), &pair.source.process);
    let means = Means::default();
    let target = pair.prepare(&means, &means).await;
    let next = || prepare(source, &pair.capabilities, Side::Source, &means);
    // A listener with a full queue answers nobody, so that the connection stays half-open.
    let silent = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let address = silent.local_addr().unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    let mut events = Events::of(source);
    start(source, address).await.unwrap();
    source.execute(MigrateCancel).await.unwrap();
    events.status(&[MigrationStatus::Cancelled]).await.unwrap();
    assert!(timeout(Duration::from_millis(100), next()).await.is_err());
    assert!(source.execute(QueryYank).await.unwrap().contains(&YankInstance::Migration));
    assert_eq!(process.break_off_connecting().unwrap(), 1);
    next().await.unwrap();
    assert!(!source.execute(QueryYank).await.unwrap().contains(&YankInstance::Migration));

    start(source, target).await.unwrap();
    events.status(&[MigrationStatus::PreSwitchover]).await.unwrap();
    assert_eq!(process.break_off_connecting().unwrap(), 0, "connections that stand are left alone");
    let go = MigrateContinue { state: MigrationStatus::PreSwitchover };
    source.execute(go).await.unwrap();
    events.status(&[MigrationStatus::Completed]).await.unwrap();
    pair.end().await;
}

/// A CA and certificates for both sides, in one directory, named as QEMU wants them.
fn certificates() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: String| std::fs::write(directory.path().join(name), pem).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "test-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    write("ca-cert.pem", ca.pem());
    let sides = [
        ("server", "kvm2", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", "kvm1", ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for (side, name, usage) in sides {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        // QEMU refuses a certificate without key encipherment, also where the key cannot do it.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        write(&format!("{side}-cert.pem"), params.signed_by(&key, &ca).unwrap().pem());
        write(&format!("{side}-key.pem"), key.serialize_pem());
    }
    directory
}

fn encrypted(directory: &TempDir, hostname: &str, authorized: &str) -> (Means, Means) {
    let tls = Tls { directory: directory.path().to_owned(), hostname: None, authorized: None };
    let means = Means { multifd_channels: Some(2), validate_uuid: true, ..Means::default() };
    let source = Tls { hostname: Some(hostname.into()), ..tls.clone() };
    let target = Tls { authorized: Some(authorized.into()), ..tls };
    (Means { tls: Some(source), ..means.clone() }, Means { tls: Some(target), ..means })
}

#[tokio::test]
async fn memory_goes_encrypted_over_several_connections() {
    let directory = certificates();
    let (at_source, at_target) = encrypted(&directory, "kvm2", "CN=kvm1");
    let pair = Pair::start().await;
    let address = pair.prepare(&at_source, &at_target).await;
    let mut events = Events::of(pair.source.qmp());
    start(pair.source.qmp(), address).await.unwrap();
    events.status(&[MigrationStatus::PreSwitchover]).await.unwrap();
    let go = MigrateContinue { state: MigrationStatus::PreSwitchover };
    pair.source.qmp().execute(go).await.unwrap();
    let end = events.status(&[MigrationStatus::Completed, MigrationStatus::Failed]).await.unwrap();
    assert_eq!(end, MigrationStatus::Completed);
    let ram = pair.source.qmp().execute(QueryMigrate).await.unwrap().ram.unwrap();
    assert!(ram.multifd_bytes.unwrap() > 0);
    assert_eq!(state(&pair.target).await, RunState::Paused);
    pair.end().await;
}

#[tokio::test]
async fn a_second_migration_does_not_inherit_the_first_one_s_means() {
    let directory = certificates();
    let (encrypted, _) = encrypted(&directory, "kvm2", "CN=kvm1");
    let pair = Pair::start().await;
    let source = pair.source.qmp();
    for (means, creds, hostname) in
        [(&encrypted, TLS_CREDS_ID, "kvm2"), (&encrypted, TLS_CREDS_ID, "kvm2"), (&Means::default(), "", "")]
    {
        prepare(source, &pair.capabilities, Side::Source, means).await.unwrap();
        let parameters = source.execute(QueryMigrateParameters).await.unwrap();
        assert_eq!(parameters.tls_creds.as_deref(), Some(creds));
        assert_eq!(parameters.tls_hostname.as_deref(), Some(hostname));
        let on = source.execute(QueryMigrateCapabilities).await.unwrap();
        let multifd = on.iter().find(|entry| entry.capability == MigrationCapability::Multifd).unwrap();
        assert_eq!(multifd.state, means.multifd_channels.is_some());
    }
    pair.end().await;
}

#[tokio::test]
async fn a_wrong_certificate_is_refused() {
    let directory = certificates();
    for (hostname, authorized) in [("kvm3", "CN=kvm1"), ("kvm2", "CN=kvm3")] {
        let (at_source, at_target) = encrypted(&directory, hostname, authorized);
        let pair = Pair::start().await;
        let address = pair.prepare(&at_source, &at_target).await;
        let mut events = Events::of(pair.source.qmp());
        start(pair.source.qmp(), address).await.unwrap();
        let end = events.status(&[MigrationStatus::PreSwitchover, MigrationStatus::Failed]).await.unwrap();
        assert_eq!(end, MigrationStatus::Failed, "{hostname} {authorized}");
        assert_eq!(state(&pair.source).await, RunState::Running);
        pair.end().await;
    }
}

fn check(name: &str, data: Value, expect: What) {
    let event = Event { name: name.into(), data, timestamp: SystemTime::UNIX_EPOCH };
    assert_eq!(Happened::from(event).what, expect);
}

#[test]
fn events_become_types_or_stay_as_they_are() {
    check("MIGRATION", json!({"status": "device"}), migration(MigrationStatus::Device));
    check("MIGRATION", json!({"status": "warp"}), migration(MigrationStatus::Other("warp".into())));
    check("MIGRATION_PASS", json!({"pass": 3}), What::Pass(3));
    let reason = ShutdownReason::GuestShutdown;
    check(
        "SHUTDOWN",
        json!({"guest": true, "reason": "guest-shutdown"}),
        What::Shutdown { guest: true, reason },
    );
    let reason = ShutdownReason::Other("warp".into());
    check("RESET", json!({"guest": false, "reason": "warp"}), What::Reset { guest: false, reason });
    check("GUEST_PANICKED", json!({"action": "pause"}), What::GuestPanicked { action: "pause".into() });
    for (name, data) in [("WARP", json!({"x": 1})), ("SHUTDOWN", Value::Null)] {
        let event = Event { name: name.into(), data: data.clone(), timestamp: SystemTime::UNIX_EPOCH };
        check(name, data, What::Other(event));
    }
}

#[test]
fn addresses_become_uris() {
    assert_eq!(uri("10.0.0.1:0".parse().unwrap()), "tcp:10.0.0.1:0");
    assert_eq!(uri("[::1]:49152".parse().unwrap()), "tcp:[::1]:49152");
    assert!(is_wildcard("::".parse().unwrap()) && !is_wildcard(LOOPBACK));
}
