//! Serialized forms that QAPI is strict about.

use serde_json::{Value, json};

use super::*;

fn check<C: Command>(command: C, expect: Value) {
    assert_eq!(serde_json::to_value(command).unwrap(), expect);
}

#[test]
fn arguments_have_qapi_form() {
    check(QueryStatus, Value::Null);
    let creds = AddTlsCreds {
        id: "tls0".into(),
        endpoint: TlsEndpoint::Server,
        dir: "/etc/pki".into(),
        verify_peer: true,
        priority: None,
    };
    check(
        creds,
        json!({"qom-type": "tls-creds-x509", "id": "tls0", "endpoint": "server", "dir": "/etc/pki", "verify-peer": true}),
    );
    check(Yank { instances: vec![YankInstance::Migration] }, json!({"instances": [{"type": "migration"}]}));
    let channel = MigrationChannel {
        channel_type: ChannelType::Main,
        addr: MigrationAddress::Socket(SocketAddress::Inet { host: "::1".into(), port: "5".into() }),
    };
    check(
        Migrate { channels: Some(vec![channel]), ..Migrate::default() },
        json!({"channels": [{"channel-type": "main", "addr": {"transport": "socket", "type": "inet", "host": "::1", "port": "5"}}]}),
    );
    let parameters = MigrationParameters { downtime_limit: Some(30), ..MigrationParameters::default() };
    check(MigrateSetParameters { parameters }, json!({"downtime-limit": 30}));
}

#[test]
fn replies_take_what_is_unknown() {
    let info: MigrationInfo = serde_json::from_value(json!({
        "status": "warp", "new": 1,
        "socket-address": [{"type": "teleport", "x": 1}, {"type": "inet", "host": "h", "port": "1", "ipv4": true}],
        "ram": {"transferred": 1, "remaining": 2, "total": 3, "mbps": 1.5, "new": []},
    }))
    .unwrap();
    assert_eq!(info.status, Some(MigrationStatus::Other("warp".into())));
    let inet = SocketAddress::Inet { host: "h".into(), port: "1".into() };
    assert_eq!(info.socket_address, Some(vec![SocketAddress::Other, inet]));
    assert_eq!(info.ram.unwrap().mbps, Some(1.5));
}
