//! `ferry bridge`: who confirms, and what is said where nobody does.

use super::*;

const MADE: &str = r#"{"name":"br0","mac":"02:00:00:00:00:01","mtu":1500,"up":true,"ports":["eth0"],"addresses":["192.0.2.1/24"],"uplink":"eth0","undone_at":"2026-01-01T00:00:30Z"}"#;

fn kept() -> String {
    MADE.replace(r#","undone_at":"2026-01-01T00:00:30Z""#, r#","kept_by":"systemd-networkd""#)
}

/// An agent behind a program named `ssh`.
async fn through_ssh(agent: &Agent) -> Output {
    let script = format!("exec {FERRY} --socket {} dial-stdio", agent.socket().display());
    stand_in_for_ssh(agent.directory.path(), &script);
    let mut command = ferry("bridge create br0 --uplink eth0 --host ssh://root@kvm1");
    with_path(&mut command, agent.directory.path());
    command.output().await.expect("runs")
}

#[tokio::test]
async fn where_nobody_can_be_asked_it_says_how_to_keep_it() {
    let agent = Agent::new(|_| answer(201, MADE));
    assert_snapshot!(shown(&agent.ferry("bridge create br0 --uplink eth0").await), @r"
    exit 0
    Bridge br0 is there, with eth0 and 192.0.2.1/24.
    It is gone when the host boots: nothing that Ferry knows configures its uplink.
    It is undone at 2026-01-01T00:00:30Z, unless `ferry bridge confirm br0` keeps
    it.
    --- stderr
    ");
    assert_eq!(agent.asked(), [r#"POST /bridges {"name":"br0","uplink":"eth0","confirm_within_ms":30000}"#]);
}

#[tokio::test]
async fn through_ssh_it_is_confirmed() {
    let agent = Agent::new(|asked| match asked {
        "POST /bridges" => answer(201, MADE),
        _ => answer(200, kept()),
    });
    assert_snapshot!(shown(&through_ssh(&agent).await), @r"
    exit 0
    Bridge br0 is there, with eth0 and 192.0.2.1/24.
    systemd-networkd makes it again when the host boots.
    It stays.
    --- stderr
    ");
    let asked = agent.asked();
    assert_eq!(asked.last().map(String::as_str), Some("POST /bridges/br0/confirm"), "{asked:?}");
}

#[tokio::test]
async fn hosts_that_are_lost_keep_it_from_being_confirmed() {
    let lost = MADE.replace(r#","undone_at""#, r#","lost":["kvm2","kvm3"],"undone_at""#);
    let agent = Agent::new(move |_| answer(201, lost.clone()));
    assert_snapshot!(shown(&through_ssh(&agent).await), @r"
    exit 0
    Bridge br0 is there, with eth0 and 192.0.2.1/24.
    It is gone when the host boots: nothing that Ferry knows configures its uplink.
    Hosts that were reached before and are not now: kvm2, kvm3.
    It is undone at 2026-01-01T00:00:30Z, unless `ferry bridge confirm br0` keeps
    it.
    --- stderr
    ");
    assert!(!agent.asked().iter().any(|asked| asked.ends_with("/confirm")), "{:?}", agent.asked());
}

#[tokio::test]
async fn bridges_are_listed() {
    let other = r#"{"name":"virbr0","mtu":1400,"up":false,"ports":[],"addresses":[]}"#;
    let list = format!("[{MADE},{},{other}]", kept().replace("br0", "br1"));
    let agent = Agent::new(move |_| answer(200, list.clone()));
    assert_snapshot!(shown(&agent.ferry("bridge list").await), @r"
    exit 0
    NAME    MTU   PORTS  ADDRESSES     REMARK
    br0     1500  eth0   192.0.2.1/24  undone at 2026-01-01T00:00:30Z unless
                                       confirmed
    br1     1500  eth0   192.0.2.1/24  kept by systemd-networkd
    virbr0  1400                       down
    --- stderr
    ");
    let agent = Agent::new(|_| answer(200, "[]"));
    assert_snapshot!(shown(&agent.ferry("bridge list").await), @r"
    exit 0
    There is no bridge; `ferry bridge create` makes one.
    --- stderr
    ");
}

#[tokio::test]
async fn a_bridge_is_deleted() {
    let agent = Agent::new(|_| answer(204, ""));
    assert_snapshot!(shown(&agent.ferry("bridge delete br0").await), @r"
    exit 0
    Bridge br0 is removed; its uplink has what it had.
    --- stderr
    ");
    assert_eq!(agent.asked(), ["DELETE /bridges/br0"]);
}
