//! The way to other hosts: certificates, the address to listen on, neighbours with their versions and clocks.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use api::{Finding, Protocols};
use client::{Client, tls};

use super::{problem, rules, warning};
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::identity::{GROUP, QEMU_NAMES};
use crate::neighbour::Neighbours;
use crate::tracker::unix_ms;

const JOIN_AGAIN: &str = "ferry host join --replace makes them anew, or ferry ca issue --replace";
const JOIN: &str = "ferry host token makes them on the first host, ferry host join on the others";

pub(super) async fn examine(config: &Config, found: &mut Vec<Finding>) {
    let agent = Client::unix(&config.socket).version().await;
    if agent.is_err() {
        let said = format!("no agent answers on {}", config.socket.display());
        found.push(warning("agent-silent", said, "systemctl start ferry-agent"));
    }
    let neighbours = match Neighbours::open(config) {
        Ok(neighbours) => neighbours,
        Err(error) => {
            let mend =
                "put the file back from a copy; or move it away and let this host join again with --replace";
            found.push(problem("hosts-unreadable", chain(&error), mend));
            return;
        }
    };
    if let Err(error) = neighbours.reload() {
        found.push(problem("certificate-unusable", chain(&error), JOIN_AGAIN));
        return;
    }
    let others = neighbours.list();
    let Some(listen) = neighbours.listen() else {
        if !others.is_empty() {
            let said = "hosts are named, and `listen` is not: no domain comes or goes";
            found.push(problem("not-listening", said, "set `listen` to an address of this host"));
        }
        return;
    };
    address(listen, agent.is_ok(), found);
    if neighbours.certificate().is_none() {
        let said = format!("{} holds no certificate: no domain comes or goes", config.tls_dir.display());
        found.push(problem("not-joined", said, JOIN));
        return;
    }
    certificates(config, neighbours.hosts().member(&config.host).is_some(), found);
    for other in others {
        neighbour(config, &neighbours, &other.name, found).await;
    }
}

/// The address is one of this host, and free or the agent's own.
fn address(listen: SocketAddr, agent_runs: bool, found: &mut Vec<Finding>) {
    let Err(error) = std::net::TcpListener::bind(listen) else { return };
    let finding = match error.kind() {
        std::io::ErrorKind::AddrInUse if agent_runs => return,
        std::io::ErrorKind::AddrInUse => {
            let said = format!("another program listens on {listen}");
            problem(
                "address-taken",
                said,
                format!("ss -ltnp says which; end it, or change `listen` ({listen})"),
            )
        }
        std::io::ErrorKind::AddrNotAvailable => {
            let said = format!("{} is no address of this host", listen.ip());
            problem("address-unknown", said, "set `listen` to an address of this host that others reach")
        }
        _ => problem("address-unusable", format!("{listen}: {error}"), "set `listen` to another address"),
    };
    found.push(finding);
}

/// The certificates, which the agent renews by itself where the host has joined.
fn certificates(config: &Config, has_joined: bool, found: &mut Vec<Finding>) {
    let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
    for (name, host) in [("ca.pem", None), ("host.pem", Some(config.host.as_str()))] {
        let path = config.tls_dir.join(name);
        let described = std::fs::read(&path).ok().and_then(|pem| tls::describe(&pem));
        found.extend(described.and_then(|is| rules::certificate(&path, &is, host, has_joined, now_s)));
    }
    let key = config.tls_dir.join("host-key.pem");
    if let Ok(metadata) = std::fs::metadata(&key) {
        found.extend(rules::mode(&key, metadata.mode()));
    }
    for path in QEMU_NAMES.map(|(name, _)| config.tls_dir.join(name)) {
        if !path.exists() {
            let said = format!("{} is not there: QEMU cannot encrypt memory", path.display());
            let mend = "ferry ca issue makes it; copy its whole directory here, links too";
            found.push(problem("certificate-missing", said, mend));
        }
    }
    let group = config.tls_dir.join(GROUP);
    if !group.exists() {
        let said =
            format!("{} is not there: QEMU computes it anew for each migration to here", group.display());
        let mend = "ferry ca issue makes it, for any host; copy it here";
        found.push(warning("key-exchange-slow", said, mend));
    }
}

/// It answers over TLS by its own name, speaks a version of ours, and its clock is right.
async fn neighbour(config: &Config, neighbours: &Neighbours, name: &str, found: &mut Vec<Finding>) {
    let began = Instant::now();
    let asked = match neighbours.client(name) {
        Ok(client) => {
            client.version().await.map_err(|error| (chain(&error), error.mend().unwrap_or_default()))
        }
        Err(failure) => Err((Failure::chain(&failure), "check its name and address".to_owned())),
    };
    let version = match asked {
        Ok(version) => version,
        Err((said, mend)) => {
            found.push(problem("neighbour-unreachable", format!("host {name}: {said}"), mend));
            return;
        }
    };
    let round_trip = began.elapsed();
    let (ours, theirs) = (Protocols::OURS, version.protocols());
    if ours.common(theirs).is_none() {
        let said = format!("host {name} speaks version {theirs}, this one {ours}: no domain comes or goes");
        found.push(problem("protocol-version", said, "update Ferry on the host that speaks the older ones"));
    }
    if version.host != name {
        let said = format!("host {name} calls itself {}", version.host);
        let mend = format!("write [hosts.{}] in the configuration of {}", version.host, config.host);
        found.push(problem("neighbour-named-otherwise", said, mend));
    }
    if let Some(theirs_ms) = version.now_ms {
        let ahead_ms = i64::try_from(theirs_ms).unwrap_or(0) - i64::try_from(unix_ms()).unwrap_or(0);
        found.extend(rules::skew(name, ahead_ms, round_trip));
    }
}
