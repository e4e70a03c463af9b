//! What keeps hosts that have joined up to date: the issuer tells of changes, the others also ask for themselves, and
//! certificates are renewed before they end. Main functions: [`keep_up`], [`tell`], [`take`].

use std::sync::Arc;

use api::{Renewal, Roster};
use client::tls;

use super::{issue, now_s, written};
use crate::ca;
use crate::failure::{Failure, JoinFailure};
use crate::identity::{CERTIFICATE, Identity};
use crate::limits::{RENEW_BEFORE, ROSTER_EVERY};
use crate::node::Node;

/// Asks the issuer from time to time, as long as the agent runs.
pub(crate) async fn keep_up(node: Arc<Node>) {
    loop {
        for done in [ask(&node).await, renew(&node).await] {
            if let Err(failure) = done {
                tracing::warn!("this host is not up to date about the others: {}", failure.chain());
            }
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
async fn ask(node: &Node) -> Result<(), Failure> {
    let Some(issuer) = issuer(node) else { return Ok(()) };
    let roster = node.neighbours.client(&issuer)?.roster().await.map_err(unasked(&issuer))?;
    take(node, roster).await
}

/// Takes over what the issuer knows, unless this host knows it already.
pub(crate) async fn take(node: &Node, roster: Roster) -> Result<(), Failure> {
    let _change = node.neighbours.change.lock().await;
    let mut hosts = node.neighbours.hosts();
    if roster.issuer != hosts.roster.issuer {
        return Err(JoinFailure::NotFromIssuer { issuer: hosts.roster.issuer }.into());
    }
    if roster.version <= hosts.roster.version {
        return Ok(());
    }
    let issuer = || roster.issuer.clone();
    tls::revoked(roster.revocations.as_bytes())
        .map_err(|source| JoinFailure::Answer { host: issuer(), source })?;
    tracing::info!(version = roster.version, "the list of hosts has changed");
    hosts.roster = roster;
    Ok(node.neighbours.put(hosts)?)
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

/// Gets this host's next certificate for the same key, where the present one ends soon.
async fn renew(node: &Node) -> Result<(), Failure> {
    let (here, neighbours) = (&node.config.host, &node.neighbours);
    let Some(certificate) = neighbours.certificate() else { return Ok(()) };
    let before_s = i64::try_from(RENEW_BEFORE.as_secs()).unwrap_or(i64::MAX);
    if neighbours.hosts().member(here).is_none() || certificate.until_s - now_s() > before_s {
        return Ok(());
    }
    let Some(identity) = neighbours.identity().map_err(JoinFailure::from)? else { return Ok(()) };
    let renewal = Renewal { request: ca::request(&identity.key, here).map_err(JoinFailure::from)? };
    let renewed = match issuer(node) {
        Some(issuer) => neighbours.client(&issuer)?.renew(&renewal).await.map_err(unasked(&issuer))?,
        None => issue::renew(node, here, &renewal).await?,
    };
    let identity = Identity { certificate: renewed.certificate, ..identity };
    let answer = |source| JoinFailure::Answer { host: here.clone(), source };
    identity.client().map_err(answer)?;
    // The key stays, so that no QEMU finds a certificate and a key that do not fit.
    Identity::replace(neighbours.tls_dir(), CERTIFICATE, &identity.certificate).map_err(JoinFailure::from)?;
    neighbours.reload().map_err(JoinFailure::from)?;
    let until_s = neighbours.certificate().map_or(0, |certificate| certificate.until_s);
    tracing::info!("this host's certificate was renewed; it ends at {}", written(until_s));
    Ok(())
}
