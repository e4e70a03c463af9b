//! Hosts that join each other, with real agents, TLS and clocks: what they learn of each other, and everything that is
//! refused.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use client::{Client, tls};
use serde_json::Value;

use crate::agent::Agent;

#[test]
fn three_hosts_learn_of_each_other_and_none_is_restarted() {
    let [kvm1, mut kvm2, kvm3] = ["kvm1", "kvm2", "kvm3"].map(Agent::bare);
    assert_eq!(kvm1.hosts(), [("kvm1".into(), "here".into())]);
    let made = kvm1.done(&["host", "token", "--listen", &kvm1.address]);
    assert_eq!((&made["ca_made"], &made["issuer"]), (&true.into(), &"kvm1".into()), "{made}");
    let joined = kvm2.join(made["token"].as_str().expect("a token"));
    assert_eq!(
        (&joined["issuer"], &joined["hosts"][0]["name"]),
        (&"kvm1".into(), &"kvm1".into()),
        "{joined}"
    );
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "joined")]);
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined")]);

    // A host that is not there when a third one joins learns of it when it is back.
    kvm2.stop();
    kvm3.join(&kvm1.token(&[]));
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "unreachable"), ("kvm3", "joined")]);
    kvm2.start();
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined"), ("kvm3", "joined")]);
    kvm3.will_say(&[("kvm3", "here"), ("kvm1", "joined"), ("kvm2", "joined")]);

    let list = kvm3.done(&["host", "list"]);
    assert_eq!((&list[1]["issuer"], &list[2]["issuer"]), (&true.into(), &false.into()), "{list:#}");
    assert!(list[2]["certificate_until"].is_string() && list[2]["ferry"].is_string(), "{list:#}");
    let key = std::fs::metadata(kvm1.path("state/ca/ca-key.pem")).expect("the CA's key").permissions();
    assert_eq!(key.mode() & 0o777, 0o600);
    for joined in [&kvm2, &kvm3] {
        assert!(!joined.path("state/ca").exists(), "the CA's key stays where it is");
        for (name, _) in ::agent::identity::QEMU_NAMES {
            assert!(joined.path("tls").join(name).exists(), "QEMU finds {name}");
        }
    }
}

#[test]
fn what_is_said_of_a_host_outlives_its_agent() {
    let [mut kvm1, kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    let pid = kvm1.pid();
    kvm1.stop();
    kvm1.start();
    assert_ne!(kvm1.pid(), pid);
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "joined")]);
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined")]);
    // It still lets hosts in. No list of processes shows a token that is typed.
    let kvm3 = Agent::bare("kvm3");
    kvm3.ask_typing(&kvm3.joining("-"), &format!("{}\n", kvm1.token(&[]))).expect("it joins");
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined"), ("kvm3", "joined")]);
}

/// A token with another value in it.
fn with(token: &str, key: &str, value: impl Into<Value>) -> String {
    let json = BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64");
    let mut json: Value = serde_json::from_slice(&json).expect("JSON");
    json[key] = value.into();
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key].as_str().unwrap_or_else(|| panic!("no {key} in {answer}"))
}

fn said(token: &str, key: &str) -> String {
    let json = BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64");
    text(&serde_json::from_slice(&json).expect("JSON"), key).to_owned()
}

#[test]
fn a_token_that_is_not_right_lets_nobody_in() {
    let [kvm1, kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    let refused = |token: &str, code: &str, says: &[&str]| kvm2.refused(&kvm2.joining(token), code, says);
    refused("no-token", "token-malformed", &["this is no token"]);
    let token = kvm1.token(&["--name", "kvm3"]);
    refused(&token, "token-for-another", &["host kvm1 refuses", "for host kvm3", "this is host kvm2"]);
    refused(
        &with(&token, "id", uuid::Uuid::nil().to_string()),
        "token-unknown",
        &["host kvm1 knows no such"],
    );

    let token = kvm1.token(&[]);
    let wrong = with(&token, "secret", "00".repeat(32));
    for _ in 0..5 {
        refused(&wrong, "token-wrong", &["the token's secret is wrong"]);
    }
    refused(&token, "token-void", &["5 times"]);

    let short = kvm1.done(&["host", "token", "--expires", "1s"]);
    let end: jiff::Timestamp = text(&short, "expires_at").parse().expect("a time");
    // Both agents have this machine's clock.
    std::thread::sleep(end.duration_since(jiff::Timestamp::now()).try_into().unwrap_or_default());
    refused(text(&short, "token"), "token-expired", &["expired at 20", "the clock of host kvm1 says 20"]);
    kvm1.refused(&["host", "token", "--expires", "720h"], "token-validity", &["at most"]);

    let token = kvm1.token(&[]);
    kvm2.join(&token);
    let kvm3 = Agent::bare("kvm3");
    kvm3.refused(&kvm3.joining(&token), "token-used", &["host kvm2 has joined with it"]);
    for agent in [&kvm1, &kvm2, &kvm3] {
        assert!(!agent.log().contains(&said(&token, "secret")), "{} logged the secret", agent.name);
        assert!(!agent.log().contains(&token), "{} logged the token", agent.name);
    }
    let state = std::fs::read_to_string(kvm1.path("state/hosts.json")).expect("is there");
    assert!(!state.contains(&said(&token, "secret")), "the issuer keeps a hash only");
}

#[test]
fn a_host_joins_where_it_should_and_once() {
    let [kvm1, kvm2, other] = ["kvm1", "kvm2", "other"].map(Agent::bare);
    kvm1.refused(&["host", "token"], "listen-unknown", &["nothing says where"]);
    kvm1.refused(&["host", "token", "--listen", "0.0.0.0"], "listen-invalid", &["0.0.0.0"]);
    kvm1.refused(&["host", "token", "--listen", "192.0.2.1"], "listen-unusable", &["192.0.2.1:7700"]);
    assert!(!kvm1.path("state/ca").exists(), "nothing was made");
    let (token, stranger) = (kvm1.token(&[]), other.token(&[]));

    // Somebody with another CA answers in the place of the one that made the token.
    let at = |address: &str| -> Vec<String> {
        ["host", "join", address, "--token", &token, "--listen", &kvm2.address].map(str::to_owned).to_vec()
    };
    let refused = |words: Vec<String>, code: &str, says: &[&str]| {
        kvm2.refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), code, says);
    };
    refused(at(&other.address), "ca-differs", &["another CA than the token", &said(&stranger, "ca")]);
    refused(at("127.0.0.1:1"), "host-unreachable", &["cannot connect", "Connection refused"]);
    refused(at("kvm 1"), "address-invalid", &["kvm 1"]);
    // A host of the right CA that did not make the token is not the one that made it.
    refused(
        [&["host", "join", "--token", &with(&token, "issuer", "kvm7")].map(str::to_owned)[..], &at("")[5..]]
            .concat(),
        "host-unreachable",
        &["kvm7"],
    );
    assert_eq!(kvm2.hosts(), [("kvm2".into(), "here".into())], "nothing has changed");

    kvm2.join(&token);
    kvm2.refused(&kvm2.joining(&kvm1.token(&[])), "already-joined", &["on host kvm1", &said(&token, "ca")]);
    kvm2.refused(&kvm2.joining(&stranger), "already-joined", &["on host kvm1"]);
    kvm2.refused(&["host", "token"], "not-issuer", &["host kvm1 does"]);
    kvm2.refused(&["host", "remove", "kvm1"], "not-issuer", &["host kvm1 does"]);
    kvm1.refused(&kvm1.joining(&kvm1.token(&[])), "own-token", &["made the token"]);
    kvm1.refused(&kvm1.joining(&stranger), "holds-ca", &["state/ca"]);
    kvm1.refused(&["host", "remove", "kvm1"], "remove-issuer", &["cannot be removed"]);
    kvm1.refused(&["host", "remove", "kvm9"], "host-unknown", &["knows no host kvm9"]);
    let twin = Agent::bare("kvm2");
    twin.refused(&twin.joining(&kvm1.token(&[])), "host-name-taken", &["kvm2", &kvm2.address]);
    // TLS would take the one for the other, or for an address.
    for name in ["KVM1", "1"] {
        let named = Agent::bare(name);
        named.refused(&named.joining(&kvm1.token(&[])), "host-name-invalid", &[name]);
    }
    // It did not use the token up for nothing: kvm2 may give up what it has for the other hosts.
    kvm2.done(&[&kvm2.joining(&stranger)[..], &["--replace"]].concat());
    kvm2.will_say(&[("kvm2", "here"), ("other", "joined")]);
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "unreachable")]);
}

/// A connection that a host's agent has to another one, with its own certificate.
fn as_host(host: &Agent, to: &Agent) -> Client {
    let read = |name: &str| std::fs::read(host.path("tls").join(name)).expect("is there");
    let (ca, certificate, key) = (read("ca.pem"), read("host.pem"), read("host-key.pem"));
    let papers = tls::Papers { ca: &ca, revocations: None, certificate: &certificate, key: &key };
    let config = tls::client_config(papers).expect("a configuration");
    Client::tls(to.address.clone(), to.name, config).expect("a client")
}

#[tokio::test]
async fn a_removed_host_is_refused_by_every_other_and_may_come_back() {
    let [kvm1, kvm2, mut kvm3] = ["kvm1", "kvm2", "kvm3"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    kvm3.join(&kvm1.token(&[]));
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined"), ("kvm3", "joined")]);
    let open = [as_host(&kvm2, &kvm1), as_host(&kvm2, &kvm3)];
    for client in &open {
        client.connect().await.expect("kvm2 is one of them");
    }

    kvm1.done(&["host", "remove", "kvm2"]);
    for other in [&kvm1, &kvm3] {
        other.says("a connection was ended: the host's certificate is revoked");
    }
    for client in open {
        let error = client.version().await.expect_err("refused");
        assert_eq!(error.distrust(), Some(tls::Distrust::RevokedHere), "{error:?}");
    }
    kvm1.will_say(&[("kvm1", "here"), ("kvm3", "joined"), ("kvm2", "revoked")]);
    kvm3.will_say(&[("kvm3", "here"), ("kvm1", "joined"), ("kvm2", "revoked")]);
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "unreachable"), ("kvm3", "unreachable")]);
    let list = kvm2.done(&["host", "list"]);
    let reason = list[1]["reason"].as_str().expect("a reason");
    assert!(reason.contains("this host has been removed"), "{reason}");
    kvm1.refused(&["host", "remove", "kvm2"], "host-unknown", &["knows no host kvm2"]);
    // An older list that was put back counts no more than none.
    let list = kvm3.path("tls/ca-crl.pem");
    let whole = std::fs::read(&list).expect("is there");
    kvm3.stop();
    std::fs::remove_file(&list).expect("removes");
    kvm3.start();
    assert_eq!(std::fs::read(&list).expect("is there again"), whole);
    let error = as_host(&kvm2, &kvm3).version().await.expect_err("refused");
    assert_eq!(error.distrust(), Some(tls::Distrust::RevokedHere), "{error:?}");

    kvm2.done(&[&kvm2.joining(&kvm1.token(&[]))[..], &["--replace"]].concat());
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined"), ("kvm3", "joined")]);
    kvm3.will_say(&[("kvm3", "here"), ("kvm1", "joined"), ("kvm2", "joined")]);
}

#[test]
fn hosts_of_the_configuration_stay_beside_those_that_have_joined() {
    let [mut kvm1, kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    kvm1.stop();
    kvm1.configure("[hosts.kvm8]\naddress = \"127.0.0.1:1\"\n");
    kvm1.start();
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "joined"), ("kvm8", "unreachable")]);
    let kvm8 = Agent::bare("kvm8");
    kvm8.refused(&kvm8.joining(&kvm1.token(&[])), "host-name-taken", &["kvm8", "127.0.0.1:1"]);
    kvm1.refused(&["host", "remove", "kvm8"], "host-configured", &["configuration of host kvm1"]);
}

#[test]
fn clocks_that_differ_are_both_said() {
    let [kvm1, mut kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    let token = kvm1.token(&[]);
    kvm2.stop();
    kvm2.start_at("+2h");
    kvm2.refused(
        &kvm2.joining(&token),
        "clock-skew",
        &["the clock of this host says 20", "of host kvm1 says 20"],
    );
    kvm2.stop();
    kvm2.start();
    kvm2.join(&token);

    // Once it has joined, a host with a wrong clock finds the certificates of others expired.
    kvm2.stop();
    kvm2.start_at("+400d");
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "unreachable")]);
    let reason = kvm2.done(&["host", "list"])[1]["reason"].clone();
    assert!(reason.as_str().is_some_and(|said| said.contains("by the clock of this host")), "{reason}");
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let [mut kvm1, mut kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    let read = |agent: &Agent, name: &str| std::fs::read(agent.path("tls").join(name)).expect("is there");
    let before = [&kvm1, &kvm2].map(|agent| (read(agent, "host.pem"), read(agent, "host-key.pem")));
    // A host whose clock is wrong gets none, as often as it asks.
    kvm2.stop();
    kvm2.start_at("+300d");
    kvm2.says("not by that of host kvm1, which gives no other one yet");
    kvm1.stop();
    kvm1.start_at("+300d");
    kvm1.says("this host's certificate was renewed");
    kvm2.stop();
    kvm2.start_at("+300d");
    kvm2.says("this host's certificate was renewed");
    for (agent, (certificate, key)) in [&kvm1, &kvm2].into_iter().zip(before) {
        assert_ne!(read(agent, "host.pem"), certificate);
        assert_eq!(read(agent, "host-key.pem"), key, "no QEMU finds a certificate and a key that do not fit");
    }
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined")]);
    // Removing it revokes the old certificate too.
    kvm1.done(&["host", "remove", "kvm2"]);
    let list = std::fs::read(kvm1.path("tls/ca-crl.pem")).expect("is there");
    assert_eq!(tls::revoked(&list).expect("a list").len(), 2);
}

/// Something in the way of a file that an agent is about to write; it is gone when this is dropped.
struct InTheWay(std::path::PathBuf);

impl InTheWay {
    fn of(agent: &Agent, name: &str) -> InTheWay {
        let path = agent.path("tls").join(name).with_extension("pem.new");
        std::fs::create_dir_all(&path).expect("a directory");
        InTheWay(path)
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).expect("is empty");
    }
}

#[test]
fn a_removal_that_is_not_written_down_is_not_done_and_can_be_repeated() {
    let [kvm1, kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    let in_the_way = InTheWay::of(&kvm1, "ca-crl.pem");
    kvm1.refused(&["host", "remove", "kvm2"], "ca-failed", &["ca-crl.pem cannot be written"]);
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "joined")]);
    drop(in_the_way);
    kvm1.done(&["host", "remove", "kvm2"]);
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "revoked")]);
}

#[test]
fn a_host_that_did_not_keep_the_answer_asks_again() {
    let [kvm1, kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    let token = kvm1.token(&[]);
    let in_the_way = InTheWay::of(&kvm2, "host.pem");
    kvm2.refused(&kvm2.joining(&token), "ca-failed", &["host.pem cannot be written"]);
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "unreachable")]);
    drop(in_the_way);
    kvm2.join(&token);
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "joined")]);
    // Nobody else can say the same, under the same name neither.
    let twin = Agent::bare("kvm2");
    twin.refused(&twin.joining(&token), "token-used", &["host kvm2 has joined with it"]);
}

#[test]
fn a_host_that_is_reached_elsewhere_says_so() {
    let [mut kvm1, mut kvm2, kvm3] = ["kvm1", "kvm2", "kvm3"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    kvm3.join(&kvm1.token(&[]));
    // First one of the others, then the one that keeps the list.
    for agent in [&mut kvm2, &mut kvm1] {
        agent.stop();
        agent.address = crate::agent::address();
        agent.configure(&format!("listen = {:?}\n", agent.address));
        agent.start();
        let (name, address) = (agent.name, agent.address.clone());
        kvm3.will_list(&|hosts| hosts.iter().any(|host| host["name"] == name && host["address"] == *address));
    }
    for agent in [&kvm1, &kvm2] {
        let others = ["kvm1", "kvm2"].into_iter().filter(|name| *name != agent.name);
        let others = others.chain(["kvm3"]).map(|name| (name, "joined"));
        agent.will_say(&[(agent.name, "here")].into_iter().chain(others).collect::<Vec<_>>());
    }
}

#[test]
fn what_the_issuer_was_put_back_to_counts() {
    let [mut kvm1, mut kvm2, kvm3] = ["kvm1", "kvm2", "kvm3"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    let known = kvm1.path("state/hosts.json");
    let copy = std::fs::read(&known).expect("is there");
    kvm3.join(&kvm1.token(&[]));
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined"), ("kvm3", "joined")]);
    kvm1.stop();
    std::fs::write(&known, copy).expect("writes");
    kvm1.start();
    // It asks when it starts.
    kvm2.stop();
    kvm2.start();
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined")]);
}

#[test]
fn a_host_whose_certificate_is_lost_runs_and_joins_again() {
    let [kvm1, mut kvm2] = ["kvm1", "kvm2"].map(Agent::bare);
    kvm2.join(&kvm1.token(&[]));
    kvm2.stop();
    std::fs::remove_file(kvm2.path("tls/host.pem")).expect("removes");
    kvm2.start();
    kvm2.says("no other host reaches this one");
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "unreachable")]);
    kvm2.stop();
    std::fs::remove_dir_all(kvm2.path("tls")).expect("removes");
    kvm2.start();
    // It does not make a CA of its own and forget the others.
    kvm2.refused(&["host", "token"], "not-issuer", &["host kvm1 does"]);
    kvm1.done(&["host", "remove", "kvm2"]);
    kvm2.done(&[&kvm2.joining(&kvm1.token(&[]))[..], &["--replace"]].concat());
    kvm2.will_say(&[("kvm2", "here"), ("kvm1", "joined")]);
    kvm1.will_say(&[("kvm1", "here"), ("kvm2", "joined")]);
}
