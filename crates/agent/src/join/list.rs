//! `GET /hosts`: every host that this one knows, each asked whether it is there. Main function: [`list`].

use api::{HostState, KnownHost, Member, Protocols};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::hosts::Hosts;
use super::written;
use crate::failure::Failure;
use crate::limits::HOST_TIMEOUT;
use crate::node::Node;

/// This host first, then the others by name, then those that were removed.
pub(crate) async fn list(node: &Node) -> Vec<KnownHost> {
    let hosts = node.neighbours.hosts();
    let others = node.neighbours.list();
    let asked = others.iter().map(|other| known(node, &hosts, &other.name, &other.address));
    let mut all = vec![here(node, &hosts)];
    all.extend(join_all(asked).await);
    // Who was removed and is back, or stands in the configuration, is a host like the others.
    let is_back =
        |member: &Member| hosts.member(&member.name).is_some() || node.neighbours.is_configured(&member.name);
    let gone = hosts.roster.hosts.iter().filter(|member| !is_back(member));
    all.extend(gone.filter_map(removed));
    all
}

fn here(node: &Node, hosts: &Hosts) -> KnownHost {
    let certificate = node.neighbours.certificate();
    KnownHost {
        name: node.config.host.clone(),
        address: node.neighbours.listening().map(|address| address.to_string()).unwrap_or_default(),
        state: HostState::Here,
        reason: None,
        issuer: hosts.issuer() == Some(node.config.host.as_str()),
        configured: false,
        certificate_until: certificate.map(|certificate| written(certificate.until_s)),
        ferry: Some(env!("CARGO_PKG_VERSION").to_owned()),
        protocol: Some(Protocols::OURS.newest),
    }
}

async fn known(node: &Node, hosts: &Hosts, name: &str, address: &str) -> KnownHost {
    let asking = async {
        let client = node.neighbours.client(name)?;
        let host = name.to_owned();
        client.version().await.map_err(|source| Failure::Neighbour { host, source: Box::new(source) })
    };
    let answer = match timeout(HOST_TIMEOUT, asking).await {
        Ok(answer) => answer.map_err(|failure| failure.chain()),
        Err(_elapsed) => Err(format!("no answer within {HOST_TIMEOUT:?}")),
    };
    let (version, reason) = match answer {
        Ok(version) => (Some(version), None),
        Err(reason) => (None, Some(reason)),
    };
    KnownHost {
        name: name.to_owned(),
        address: address.to_owned(),
        state: if version.is_some() { HostState::Joined } else { HostState::Unreachable },
        reason,
        issuer: hosts.issuer() == Some(name),
        configured: node.neighbours.is_configured(name) && hosts.member(name).is_none(),
        certificate_until: hosts.member(name).and_then(until),
        protocol: version.as_ref().map(|version| version.protocol),
        ferry: version.map(|version| version.ferry),
    }
}

fn until(member: &Member) -> Option<String> {
    member.certificates.last().map(|certificate| written(certificate.until_s))
}

fn removed(member: &Member) -> Option<KnownHost> {
    let since_s = member.revoked_s?;
    Some(KnownHost {
        name: member.name.clone(),
        address: member.address.clone(),
        state: HostState::Revoked,
        reason: Some(format!("removed at {}", written(since_s))),
        issuer: false,
        configured: false,
        certificate_until: until(member),
        ferry: None,
        protocol: None,
    })
}
