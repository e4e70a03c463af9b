//! What keeps hosts that have joined up to date: the issuer tells of changes, the others also ask for themselves and say
//! where they are reached, and certificates are renewed before they end. Main functions: [`keep_up`], [`tell`], [`take`].

use std::sync::Arc;

use api::{AgentAddress, Renewal, Roster};
use client::tls;

use super::{issue, now_s, with_files, written};
use crate::ca;
use crate::failure::{Failure, JoinFailure};
use crate::identity::{CERTIFICATE, Identity};
use crate::limits::{RENEW_BEFORE, ROSTER_EVERY};
use crate::node::Node;

/// Asks the issuer from time to time, as long as the agent runs.
pub(crate) async fn keep_up(node: Arc<Node>) {
    let mut failures = [None, None, None];
    loop {
        let done = [ask(&node).await, relocate(&node).await, renew(&node).await];
        for (done, before) in done.into_iter().zip(&mut failures) {
            let failure = done.err().map(|failure| failure.chain());
            if let Some(failure) = &failure {
                // An issuer may be away for months, and who was removed is refused for ever.
                match *before == Some(failure.clone()) {
                    true => tracing::debug!("this host is still not up to date about the others: {failure}"),
                    false => tracing::warn!("this host is not up to date about the others: {failure}"),
                }
            }
            *before = failure;
        }
        tokio::time::sleep(ROSTER_EVERY).await;
    }
}

/// The issuer, where it is another host.
fn issuer(node: &Node) -> Option<String> {
    let hosts = node.neighbours.hosts();
    hosts.issuer().filter(|issuer| *issuer != node.config.host).map(str::to_owned)
}

fn unasked(host: &str) -> impl FnOnce(client::ClientError) -> Failure {
    move |source| Failure::Neighbour { host: host.to_owned(), source: Box::new(source) }
}

/// Asks the issuer who is there, and who is revoked.
async fn ask(node: &Arc<Node>) -> Result<(), Failure> {
    let Some(issuer) = issuer(node) else { return Ok(()) };
    let known = node.neighbours.hosts().roster.version;
    let roster = node.neighbours.client(&issuer)?.roster().await.map_err(unasked(&issuer))?;
    take(node, roster, Some(known)).await
}

/// Takes over what the issuer knows, unless this host knows it already. What was asked while this host knew the version `asked`
/// counts also where it is older: the issuer may have been put back from a copy.
pub(crate) async fn take(node: &Arc<Node>, roster: Roster, asked: Option<u64>) -> Result<(), Failure> {
    let _change = node.neighbours.change.lock().await;
    let mut hosts = node.neighbours.hosts();
    if roster.issuer != hosts.roster.issuer {
        return Err(JoinFailure::NotFromIssuer { issuer: hosts.roster.issuer }.into());
    }
    let is_older = roster.version <= hosts.roster.version && asked != Some(hosts.roster.version);
    if is_older || roster == hosts.roster {
        return Ok(());
    }
    let issuer = || roster.issuer.clone();
    tls::revoked(roster.revocations.as_bytes())
        .map_err(|source| JoinFailure::Answer { host: issuer(), source })?;
    tracing::info!(version = roster.version, "the list of hosts has changed");
    hosts.roster = roster;
    with_files(node, move |node| node.neighbours.put(hosts)).await
}

/// Tells every other host, without waiting: who is not there asks later.
pub(super) fn tell(node: &Arc<Node>) {
    let hosts = node.neighbours.hosts();
    for member in hosts.members().filter(|member| member.name != node.config.host) {
        let (node, host, roster) = (Arc::clone(node), member.name.clone(), hosts.roster.clone());
        tokio::spawn(async move {
            let told = match node.neighbours.client(&host) {
                Ok(client) => client.hand_roster(&roster).await.map_err(unasked(&host)),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = told {
                tracing::info!(host, "it learns later who is there: {}", failure.chain());
            }
        });
    }
}

/// Has the others know where this host is reached, where they know it elsewhere.
async fn relocate(node: &Arc<Node>) -> Result<(), Failure> {
    let (here, neighbours) = (&node.config.host, &node.neighbours);
    let Some(listening) = neighbours.listening() else { return Ok(()) };
    let (hosts, address) = (neighbours.hosts(), listening.to_string());
    if hosts.member(here).is_none_or(|member| member.address == address) {
        return Ok(());
    }
    match issuer(node) {
        Some(issuer) => {
            let told = neighbours.client(&issuer)?.relocate(&AgentAddress { address }).await;
            told.map_err(unasked(&issuer))
        }
        None => issue::relocate(node, here.clone(), listening).await,
    }
}

/// Gets this host's next certificate for the same key, where the present one ends soon.
async fn renew(node: &Arc<Node>) -> Result<(), Failure> {
    let (here, neighbours) = (&node.config.host, &node.neighbours);
    let Some(certificate) = neighbours.certificate() else { return Ok(()) };
    let before_s = i64::try_from(RENEW_BEFORE.as_secs()).unwrap_or(i64::MAX);
    if neighbours.hosts().member(here).is_none() || certificate.until_s - now_s() > before_s {
        return Ok(());
    }
    let Some(identity) = with_files(node, identity).await? else { return Ok(()) };
    let renewal = Renewal { request: ca::request(&identity.key, here).map_err(JoinFailure::from)? };
    let renewed = match issuer(node) {
        Some(issuer) => neighbours.client(&issuer)?.renew(&renewal).await.map_err(unasked(&issuer))?,
        None => issue::renew(node, here.clone(), renewal).await?,
    };
    let _change = neighbours.change.lock().await;
    with_files(node, move |node| replace(node, &identity, renewed.certificate)).await
}

fn identity(node: &Node) -> Result<Option<Identity>, Failure> {
    Ok(node.neighbours.identity().map_err(JoinFailure::from)?)
}

/// Puts this host's next certificate in the place of the one it had when it asked.
fn replace(node: &Node, before: &Identity, certificate: String) -> Result<(), Failure> {
    let (here, neighbours) = (&node.config.host, &node.neighbours);
    let Some(present) = identity(node)? else { return Ok(()) };
    if (&present.ca, &present.key) != (&before.ca, &before.key) {
        // It has joined others meanwhile.
        return Ok(());
    }
    if present.certificate == certificate {
        let host = issuer(node).unwrap_or_else(|| here.clone());
        return Err(JoinFailure::NotDue { host }.into());
    }
    let renewed = Identity { certificate, ..present };
    renewed.client().map_err(|source| JoinFailure::Answer { host: here.clone(), source })?;
    // The key stays, so that no QEMU finds a certificate and a key that do not fit.
    let written_down = Identity::replace(neighbours.tls_dir(), CERTIFICATE, &renewed.certificate);
    written_down.and_then(|()| neighbours.reload()).map_err(JoinFailure::from)?;
    let until_s = neighbours.certificate().map_or(0, |certificate| certificate.until_s);
    tracing::info!("this host's certificate was renewed; it ends at {}", written(until_s));
    Ok(())
}
