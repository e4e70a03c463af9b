//! The way to other hosts: certificates, the address to listen on, neighbours with their versions and clocks.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use api::{Finding, Protocols};
use client::{Client, tls};

use super::{problem, rules, warning};
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::neighbour::{Identity, Neighbours};
use crate::tracker::unix_ms;

/// What QEMU's tls-creds-x509 wants to find in the directory.
const QEMU_NAMES: [&str; 5] =
    ["ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"];

pub(super) async fn examine(config: &Config, found: &mut Vec<Finding>) {
    let agent = Client::unix(&config.socket).version().await;
    if agent.is_err() {
        let said = format!("no agent answers on {}", config.socket.display());
        found.push(warning("agent-silent", said, "systemctl start ferry-agent"));
    }
    let Some(listen) = config.listen else {
        if !config.hosts.is_empty() {
            let said = "hosts are named, and `listen` is not: no domain comes or goes";
            found.push(problem("not-listening", said, "set `listen` to an address of this host"));
        }
        return;
    };
    address(listen, agent.is_ok(), found);
    let usable = certificates(config, found);
    if let Some(neighbours) = usable {
        for name in config.hosts.keys() {
            neighbour(config, &neighbours, name, found).await;
        }
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

/// The certificates; what is made of them, where they can be used.
fn certificates(config: &Config, found: &mut Vec<Finding>) -> Option<Neighbours> {
    let mend = "ferry ca issue makes them; copy its whole directory here";
    let identity = Identity::load(config).and_then(|identity| {
        identity.server()?;
        identity.client()
    });
    let client = match identity {
        Ok(client) => client,
        Err(error) => {
            found.push(problem("certificate-unusable", chain(&error), mend));
            return None;
        }
    };
    let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
    for (name, host) in [("ca.pem", None), ("host.pem", Some(config.host.as_str()))] {
        let path = config.tls_dir.join(name);
        let described = std::fs::read(&path).ok().and_then(|pem| tls::describe(&pem));
        found.extend(described.and_then(|is| rules::certificate(&path, &is, host, now_s)));
    }
    let key = config.tls_dir.join("host-key.pem");
    if let Ok(metadata) = std::fs::metadata(&key) {
        found.extend(rules::mode(&key, metadata.mode()));
    }
    for name in QEMU_NAMES.into_iter().filter(|name| !config.tls_dir.join(name).exists()) {
        let said =
            format!("{} is not there: QEMU cannot encrypt memory", config.tls_dir.join(name).display());
        found.push(problem("certificate-missing", said, mend));
    }
    let group = config.tls_dir.join("dh-params.pem");
    if !group.exists() {
        let said =
            format!("{} is not there: QEMU computes it anew for each migration to here", group.display());
        found.push(warning("key-exchange-slow", said, mend));
    }
    Some(Neighbours::new(config, Some(client)))
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
