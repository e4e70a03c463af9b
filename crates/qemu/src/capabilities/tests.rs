//! What the installed QEMU says of itself, held against every command, argument and value of this crate.

use serde_json::{Value, json};

use super::cpu::{check_cpu, cpu_property, expand_host_model};
use super::*;
use crate::command::*;

const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";

async fn installed() -> Capabilities {
    probe(Path::new(EMULATOR), Accelerator::Tcg).await.unwrap()
}

fn sent<C: Command>(command: C) -> (&'static str, Value) {
    (C::NAME, serde_json::to_value(command).unwrap())
}

/// The commands that plug and unplug.
fn plugging() -> Vec<(&'static str, Value)> {
    vec![
        sent(BlockdevAdd {
            options: object(json!({"driver": "file", "node-name": "n", "filename": "/f", "locking": "auto"})),
        }),
        sent(BlockdevDel { node_name: "n".into() }),
        sent(ObjectAdd { options: object(json!({"qom-type": "iothread", "id": "i"})) }),
        sent(NetdevAdd { options: object(json!({"type": "tap", "id": "n", "ifname": "t", "vhost": true})) }),
        sent(NetdevDel { id: "n".into() }),
        sent(DeviceAdd { properties: object(json!({"driver": "virtio-blk-pci", "bus": "b", "id": "d"})) }),
        sent(DeviceDel { id: "d".into() }),
        sent(BlockdevOpenTray { id: "d".into(), force: true }),
        sent(BlockdevCloseTray { id: "d".into() }),
        sent(BlockdevRemoveMedium { id: "d".into() }),
        sent(BlockdevInsertMedium { id: "d".into(), node_name: "n".into() }),
        sent(QueryBlock),
        sent(QueryNamedBlockNodes { flat: true }),
    ]
}

/// The commands that copy disks.
fn mirroring() -> Vec<(&'static str, Value)> {
    vec![
        sent(NbdServerStart { addr: NbdAddress::Unix { path: "/p".into() }, max_connections: 1 }),
        sent(NbdServerStop),
        sent(BlockExportAdd {
            kind: ExportType::Nbd,
            id: "e".into(),
            node_name: "n".into(),
            name: "v".into(),
            writable: true,
        }),
        sent(BlockdevAdd {
            options: object(json!({
                "driver": "nbd", "node-name": "n", "server": {"type": "fd", "str": "f"}, "export": "v", "discard": "unmap",
            })),
        }),
        sent(BlockdevMirror {
            job_id: "j".into(),
            device: "d".into(),
            target: "n".into(),
            sync: MirrorSync::Full,
            speed: 1,
            copy_mode: MirrorCopyMode::Background,
        }),
        sent(BlockJobChange {
            id: "j".into(),
            kind: JobType::Mirror,
            copy_mode: MirrorCopyMode::WriteBlocking,
        }),
        sent(BlockJobSetSpeed { device: "j".into(), speed: 1 }),
        sent(BlockJobCancel { device: "j".into(), force: true }),
        sent(QueryBlockJobs),
    ]
}

/// The commands that measure a guest's memory.
fn measuring() -> Vec<(&'static str, Value)> {
    vec![
        sent(CalcDirtyRate {
            calc_time: 100,
            calc_time_unit: Some(TimeUnit::Millisecond),
            sample_pages: Some(128),
            mode: DirtyRateMode::PageSampling,
        }),
        sent(QueryDirtyRate),
        sent(QueryMemorySizeSummary),
    ]
}

/// Every command with every argument that it can have here.
fn everything() -> Vec<(&'static str, Value)> {
    let channel = |addr| MigrationChannel { channel_type: ChannelType::Main, addr };
    let sockets = [
        SocketAddress::Inet { host: "h".into(), port: "1".into() },
        SocketAddress::Unix { path: "/p".into() },
        SocketAddress::Fd { str: "f".into() },
    ];
    let channels: Vec<_> = sockets.map(|socket| channel(MigrationAddress::Socket(socket))).into();
    let capabilities = MigrationCapability::KNOWN
        .iter()
        .map(|name| MigrationCapabilityStatus { capability: (*name).into(), state: true })
        .collect();
    let model = |name: &str| CpuModel { name: name.into(), props: [("x".into(), json!(true))].into() };
    let expand = |kind| QueryCpuModelExpansion { kind, model: model("max") };
    let creds = |endpoint| AddTlsCreds {
        id: "i".into(),
        endpoint,
        dir: "/d".into(),
        verify_peer: true,
        priority: Some("NORMAL".into()),
    };
    let others = vec![
        sent(QueryQmpSchema),
        sent(QueryVersion),
        sent(QueryMachines),
        sent(QueryCpuDefinitions),
        sent(expand(CpuExpansion::Static)),
        sent(expand(CpuExpansion::Full)),
        sent(QueryCpusFast),
        sent(QomListTypes { implements: Some("device".into()) }),
        sent(QomGet { path: "/".into(), property: "type".into() }),
        sent(QomList { path: "/".into() }),
        sent(QomSet { path: "/".into(), property: "p", value: json!(1) }),
        sent(QueryBalloon),
        sent(QueryStatus),
        sent(Cont),
        sent(Stop),
        sent(SystemPowerdown),
        sent(SystemReset),
        sent(SetAction::PAUSE),
        sent(Quit),
        sent(QueryName),
        sent(QueryUuid),
        sent(QueryKvm),
        sent(QueryBlockstats),
        sent(QueryChardev),
        sent(QueryVnc),
        sent(Screendump { filename: "/run/a.png".into(), format: Some(ImageFormat::Png) }),
        sent(SetLink { name: "n".into(), up: false }),
        sent(Balloon { value: 1 }),
        sent(GetFd { fdname: "f".into() }),
        sent(CloseFd { fdname: "f".into() }),
        sent(creds(TlsEndpoint::Server)),
        sent(creds(TlsEndpoint::Client)),
        sent(AddAuthzSimple { id: "i".into(), identity: "CN=a".into() }),
        sent(ObjectDel { id: "i".into() }),
        sent(Yank {
            instances: vec![
                YankInstance::Migration,
                YankInstance::Chardev { id: "c".into() },
                YankInstance::BlockNode { node_name: "n".into() },
            ],
        }),
        sent(QueryYank),
        sent(QueryMigrate),
        sent(QueryMigrateCapabilities),
        sent(MigrateSetCapabilities { capabilities }),
        sent(QueryMigrateParameters),
        sent(MigrateSetParameters { parameters: all_parameters() }),
        sent(Migrate { uri: Some("tcp:h:1".into()), channels: Some(channels.clone()), resume: Some(true) }),
        sent(MigrateIncoming { uri: Some("u".into()), channels: Some(channels), exit_on_error: Some(false) }),
        sent(MigrateContinue { state: MigrationStatus::PreSwitchover }),
        sent(MigrateCancel),
        sent(MigrateStartPostcopy),
        sent(MigratePause),
        sent(MigrateRecover { uri: "u".into() }),
        sent(AnnounceSelf { initial: 1, max: 1, rounds: 1, step: 1 }),
    ];
    [plugging(), mirroring(), measuring(), others].concat()
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn all_parameters() -> MigrationParameters {
    MigrationParameters {
        max_bandwidth: Some(1),
        max_postcopy_bandwidth: Some(1),
        avail_switchover_bandwidth: Some(1),
        downtime_limit: Some(1),
        multifd_channels: Some(1),
        multifd_compression: Some("zstd".into()),
        cpu_throttle_initial: Some(1),
        cpu_throttle_increment: Some(1),
        max_cpu_throttle: Some(1),
        throttle_trigger_threshold: Some(1),
        xbzrle_cache_size: Some(1),
        tls_creds: Some("t".into()),
        tls_hostname: Some("h".into()),
        tls_authz: Some("a".into()),
        announce_rounds: Some(1),
        announce_initial: Some(1),
        announce_max: Some(1),
        announce_step: Some(1),
    }
}

#[tokio::test]
async fn everything_that_is_sent_is_in_the_schema() {
    let schema = installed().await.schema;
    let mismatches: Vec<_> =
        everything().iter().flat_map(|(name, value)| schema.mismatches(name, value)).collect();
    assert_eq!(mismatches, Vec::<String>::new());
    for name in [
        "MIGRATION",
        "MIGRATION_PASS",
        "STOP",
        "RESUME",
        "SUSPEND",
        "WAKEUP",
        "SHUTDOWN",
        "RESET",
        "POWERDOWN",
        "GUEST_PANICKED",
        "GUEST_CRASHLOADED",
        "WATCHDOG",
        "BLOCK_IO_ERROR",
        "DEVICE_DELETED",
        "DEVICE_UNPLUG_GUEST_ERROR",
        "DEVICE_TRAY_MOVED",
        "BALLOON_CHANGE",
        "BLOCK_JOB_READY",
        "BLOCK_JOB_COMPLETED",
        "BLOCK_JOB_CANCELLED",
    ] {
        assert!(schema.has_event(name), "{name}");
    }
}

#[tokio::test]
async fn every_command_of_this_crate_is_in_that_list() {
    let sources = [
        include_str!("../command.rs"),
        include_str!("../command/dirty.rs"),
        include_str!("../command/run.rs"),
        include_str!("../command/look.rs"),
        include_str!("../command/machine.rs"),
        include_str!("../command/migration.rs"),
        include_str!("../command/mirror.rs"),
        include_str!("../command/plug.rs"),
    ];
    let listed: BTreeSet<_> = everything().into_iter().map(|(name, _)| name.to_owned()).collect();
    let declared: BTreeSet<_> = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| Some(line.strip_prefix("command!(")?.split('"').nth(1)?.to_owned()))
        .collect();
    assert!(declared.len() > 30);
    assert_eq!(declared, listed);
}

#[tokio::test]
async fn known_values_of_open_enums_are_qemus() {
    let schema = installed().await.schema;
    let check = |command: &str, reply: bool, path: &[&str], known: &[&str]| {
        let values = schema.enum_values(command, reply, path).unwrap();
        let unknown: Vec<_> = known.iter().filter(|name| !values.contains(**name)).collect();
        assert!(unknown.is_empty(), "{command}: {unknown:?}");
    };
    check("query-status", true, &["status"], RunState::KNOWN);
    check("query-migrate", true, &["status"], MigrationStatus::KNOWN);
    check("query-dirty-rate", true, &["status"], DirtyRateStatus::KNOWN);
    check("query-dirty-rate", true, &["mode"], DirtyRateMode::KNOWN);
    check("migrate-set-capabilities", false, &["capabilities", "capability"], MigrationCapability::KNOWN);
}

#[tokio::test]
async fn a_mismatch_is_found() {
    let schema = installed().await.schema;
    let check = |command: &str, arguments: Value, expect: &[&str]| {
        assert_eq!(schema.mismatches(command, &arguments), expect);
    };
    check("warp", Value::Null, &["there is no command warp"]);
    check("getfd", Value::Null, &["getfd: fdname is missing"]);
    check("getfd", json!({"fdname": 1}), &["getfd.fdname: 1 is no string"]);
    check("getfd", json!({"fdname": "a", "speed": 9}), &["getfd: there is no speed"]);
    check(
        "migrate-continue",
        json!({"state": "hover"}),
        &["migrate-continue.state: \"hover\" is none of its values"],
    );
    check(
        "object-add",
        json!({"qom-type": "tls-creds-x509", "id": "i", "verify-pear": true}),
        &["object-add: there is no verify-pear"],
    );
}

#[tokio::test]
async fn the_installed_qemu_is_described() {
    let qemu = installed().await;
    assert_eq!(qemu.accelerator, Accelerator::Tcg);
    assert!(qemu.has_command("migrate") && !qemu.has_command("warp"));
    assert!(qemu.has_parameter("migrate-set-parameters", "announce-rounds"));
    assert!(qemu.has_parameter("object-add", "verify-peer"));
    assert!(!qemu.has_parameter("migrate", "warp"));
    assert!(qemu.has_migrate_capability(&MigrationCapability::ReturnPath));
    assert!(!qemu.has_migrate_capability(&MigrationCapability::Other("warp".into())));
    assert!(qemu.has_device("virtio-net-pci") && !qemu.has_device("warp-drive"));
    let versioned = qemu.resolve_machine("q35").unwrap();
    assert!(versioned.starts_with("pc-q35-"));
    assert_eq!(qemu.resolve_machine(versioned), Some(versioned));
    assert_eq!(qemu.resolve_machine("warp"), None);
}

#[tokio::test]
async fn an_emulator_that_cannot_be_asked_is_an_error() {
    let missing = probe(Path::new("/nowhere/qemu"), Accelerator::Tcg).await;
    assert!(matches!(missing, Err(ProbeError::Start(SpawnError::Execute { .. }))));
    let wrong = probe(Path::new("/bin/false"), Accelerator::Tcg).await;
    assert!(matches!(wrong, Err(ProbeError::Start(SpawnError::Died { .. }))), "{wrong:?}");
}

#[tokio::test]
async fn host_model_gives_the_guest_the_host_s_features() {
    let emulator = Path::new(EMULATOR);
    let model = expand_host_model(emulator, Accelerator::Tcg).await.unwrap();
    let value = model.to_string();
    assert_eq!(
        check_cpu(emulator, Accelerator::Tcg, "q35", &value).await.unwrap(),
        Vec::<String>::new(),
        "{value}"
    );
    let words = async |cpu: &str| {
        let line = CommandLine::probe("q35", Accelerator::Tcg, Some(cpu));
        let probe = Probe::start(emulator, &line).await.unwrap();
        let words = cpu_property(probe.qmp(), "feature-words").await.unwrap();
        probe.end().await;
        words
    };
    assert_eq!(words(&value).await, words("max").await, "{value}");
}

#[tokio::test]
async fn features_that_the_host_lacks_are_named() {
    let emulator = Path::new(EMULATOR);
    let check = async |cpu: &str| check_cpu(emulator, Accelerator::Tcg, "q35", cpu).await;
    assert_eq!(check("qemu64").await.unwrap(), Vec::<String>::new());
    assert_eq!(check("qemu64,+avx512f,+xsaves").await.unwrap(), ["avx512f", "xsaves"]);
    let unknown = check("warp9").await.unwrap_err();
    let ProbeError::Start(SpawnError::Died { log_tail, .. }) = unknown else { panic!("{unknown:?}") };
    assert!(log_tail.contains("unable to find CPU model 'warp9'"), "{log_tail}");
}
