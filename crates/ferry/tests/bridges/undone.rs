//! Bridges that do not stay: nobody confirms them, their agent dies, or the kernel refuses a part of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, Monitor, Sshd, everything, ip, on_a_host, wait_until};

/// How long an unconfirmed bridge stays in a test that waits for that: half of it is enough for making it.
const STAYS: Duration = Duration::from_secs(20);

/// Whoever asked is cut off by what they asked for: the answer comes when the uplink is back.
#[test]
fn an_uplink_whose_far_side_is_cut_is_back_in_time() {
    on_a_host(|host| {
        let before = everything();
        let monitor = Monitor::start();
        let sshd = Sshd::start(&host, true);
        let asked = sshd.ferry(&host, "bridge create br0 --uplink up0 --confirm-within 20s");
        let made = monitor.address_on("br0");
        host.far_away("ip link set far0 down");
        sshd.release.send(()).expect("it waits");
        let back = monitor.address_on("up0");
        let took = back - made;
        assert!(took >= STAYS / 2, "{took:?}");
        wait_until(|| host.json("bridge list") == json!([]));

        host.far_away("ip link set far0 up");
        let output = asked.wait_with_output().expect("ends");
        let said: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(
            (output.status.code(), &said["error"]["code"]),
            (Some(4), &"bridge-not-pending".into()),
            "{said}"
        );
        wait_until(|| !ip("link").contains("NO-CARRIER"));
        assert_eq!(everything(), before);
    });
}

/// Milliseconds since this machine was booted.
fn uptime_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("reads");
    let seconds: f64 = text.split(' ').next().expect("a word").parse().expect("a number");
    Duration::from_secs_f64(seconds).as_millis().try_into().expect("it fits")
}

/// The bridge has this time left.
fn leave(host: &Host, left: Duration) {
    let left: u64 = left.as_millis().try_into().expect("it fits");
    host.rewrite(|record| record["confirm_by"]["uptime_ms"] = (uptime_ms() + left).into());
}

#[test]
fn a_killed_agent_s_bridge_is_undone_by_the_next_one_when_its_time_is_over() {
    on_a_host(|mut host| {
        let before = everything();
        let made = host.json("bridge create br0 --uplink up0 --confirm-within 10min");
        host.kill_agent();
        leave(&host, STAYS);
        host.start_agent();
        let found = host.json("bridge list");
        assert_eq!(found[0]["undone_at"], made["undone_at"], "{found}");
        wait_until(|| host.json("bridge list") == json!([]));
        assert_eq!(everything(), before);
    });
}

/// It is undone before the agent is ready, so that it can be reached where it listens.
#[test]
fn an_agent_that_comes_too_late_undoes_it_at_once() {
    on_a_host(|mut host| {
        let before = everything();
        host.json("bridge create br0 --uplink up0 --confirm-within 10min");
        host.kill_agent();
        leave(&host, Duration::ZERO);
        assert!(ip("addr show dev br0").contains("192.0.2.1/24"), "nobody was there to undo it");
        host.start_agent();
        assert_eq!(everything(), before);
        assert!(!host.record().exists());
    });
}

/// Also where it needs not be confirmed; and a record that cannot be read stands in no other's way.
#[test]
fn what_a_killed_agent_left_half_made_is_undone_at_once() {
    on_a_host(|mut host| {
        let before = everything();
        host.json("bridge create br0 --uplink up0 --confirm-within 0");
        host.kill_agent();
        host.rewrite(|record| record["unfinished"] = true.into());
        ip("route del default");
        std::fs::write(host.record().with_file_name("br1.json"), "{").expect("writes");
        host.start_agent();
        assert_eq!(everything(), before);
        assert_eq!(host.json("bridge list"), json!([]));
    });
}

#[test]
fn an_agent_that_cannot_listen_undoes_it_before_it_ends() {
    on_a_host(|mut host| {
        let before = everything();
        host.json("bridge create br0 --uplink up0 --confirm-within 10min");
        host.kill_agent();
        let mut agent = host.agent("metrics_listen = \"198.51.100.9:9100\"\n");
        assert!(!agent.0.wait().expect("ends").success());
        assert_eq!(everything(), before);
    });
}

#[test]
fn a_confirmed_bridge_stays_after_its_time_and_with_the_next_agent() {
    on_a_host(|mut host| {
        let made = host.json("bridge create br0 --uplink up0 --confirm-within 20s");
        let kept = host.json("bridge confirm br0");
        let over: jiff::Timestamp = made["undone_at"].as_str().expect("a time").parse().expect("a time");
        wait_until(|| jiff::Timestamp::now() > over);
        host.kill_agent();
        host.start_agent();
        assert_eq!(host.json("bridge list"), json!([kept]));
        assert_eq!(host.json("bridge delete br0"), json!({"deleted": "br0"}));
    });
}

/// A link that has a macvlan on it can be no port (`netdev_rx_handler_register` of the kernel's net/core/dev.c), which is
/// known only when it is tried.
#[test]
fn what_the_kernel_refuses_in_the_middle_is_undone() {
    on_a_host(|host| {
        ip("link add on-top link up0 type macvlan");
        // The link on top follows its lower one's MTU down, and not up again.
        let here = || everything().into_iter().filter(|line| !line.contains("on-top@")).collect::<Vec<_>>();
        let before = here();
        let words = "bridge create br0 --uplink up0 --mtu 1400";
        assert_eq!(host.fails(words, "bridge-not-made", "everything is as it was"), Some(1));
        assert_eq!(here(), before);
        assert!(!host.record().exists());
    });
}

/// An address that the kernel does not take back: it is tried until it does.
#[test]
fn what_cannot_be_undone_is_tried_again_and_cannot_be_confirmed() {
    on_a_host(|host| {
        ip("addr add 2001:db8::1/64 dev up0");
        let before = everything();
        host.json("bridge create br0 --uplink up0 --confirm-within 10min");
        let disable =
            |word: &str| std::fs::write("/proc/sys/net/ipv6/conf/up0/disable_ipv6", word).expect("writes");
        disable("1");
        host.fails("bridge delete br0", "bridge-not-removed", "tried again every 5 s");
        host.fails("bridge confirm br0", "bridge-not-pending", "no change of br0");
        host.fails("bridge create br1 --uplink up0", "bridge-unconfirmed", "br0");
        disable("0");
        wait_until(|| !host.record().exists());
        let lasting =
            |lines: Vec<String>| lines.into_iter().filter(|line| !line.contains("fe80:")).collect::<Vec<_>>();
        assert_eq!(lasting(everything()), lasting(before));
    });
}

#[test]
fn a_bridge_that_somebody_else_removed_gives_its_uplink_what_it_had() {
    on_a_host(|host| {
        let before = everything();
        host.json("bridge create br0 --uplink up0 --confirm-within 0");
        ip("link del br0");
        assert!(!ip("addr").contains("192.0.2.1/24"), "it went with the bridge");
        host.fails("bridge create br0 --uplink up0", "bridge-differs", "its link has been removed since");
        assert_eq!(host.json("bridge delete br0"), json!({"deleted": "br0"}));
        assert_eq!(everything(), before);
    });
}

/// A card that is pulled out takes what it had with it.
#[test]
fn a_bridge_whose_uplink_is_gone_can_be_removed() {
    on_a_host(|host| {
        host.json("bridge create br0 --uplink up0 --confirm-within 0");
        ip("link del up0");
        assert_eq!(host.json("bridge delete br0"), json!({"deleted": "br0"}));
        assert_eq!(host.json("bridge list"), json!([]));
    });
}

/// A lease of IPv4 ends, and without a client of DHCP nobody renews it.
#[test]
fn an_address_that_nobody_renews_is_told() {
    on_a_host(|host| {
        ip("addr add 203.0.113.5/24 dev up0 valid_lft 3600 preferred_lft 3600");
        let made = host.json("bridge create br0 --uplink up0 --confirm-within 0");
        assert_eq!(made["unrenewed"], json!(["203.0.113.5/24"]), "{made}");
        let list: Value = host.json("bridge list");
        assert_eq!(list[0]["unrenewed"], made["unrenewed"]);
    });
}
