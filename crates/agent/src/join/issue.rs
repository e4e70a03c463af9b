//! What the host does that holds the CA's key: tokens, letting hosts in, their next certificates, removing them. Main
//! functions: [`token`], [`admit`], [`renew`], [`relocate`], [`remove`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{Admission, Admitted, Certificate, Renewal, Renewed, Roster, Token, TokenRequest};
use client::tls::{self, Fingerprint};
use uuid::Uuid;

use super::enter::{is_reachable, open, own_address};
use super::hosts::{Given, Hosts};
use super::token::{JoinToken, make_secret};
use super::{has_no_migration, keep, now_s, with_files, written};
use crate::ca::{self, Ca, can_join};
use crate::failure::{Failure, JoinFailure};
use crate::identity::Identity;
use crate::limits::{TOKEN_VALID, TOKEN_VALID_MAX};
use crate::node::Node;

/// Makes a token, and where this host has neither CA nor certificate, both of them first.
pub(crate) async fn token(node: &Arc<Node>, request: TokenRequest) -> Result<Token, Failure> {
    let valid = request.valid_s.map_or(TOKEN_VALID, Duration::from_secs);
    if valid.is_zero() || valid > TOKEN_VALID_MAX {
        return Err(JoinFailure::TokenValidity { asked: valid, max: TOKEN_VALID_MAX }.into());
    }
    if let Some(name) = request.host.as_ref().filter(|name| !can_join(name)) {
        return Err(JoinFailure::NameInvalid { name: name.clone() }.into());
    }
    let _change = node.neighbours.change.lock().await;
    let listen = own_address(node, request.listen.as_deref(), None).await?;
    // An address that is not this host's shows before anything is made.
    let listener = open(node, listen).await?;
    let token = with_files(node, move |node| make_token(node, listen, valid, request.host)).await?;
    if let Some(listener) = listener {
        listener.serve(node);
    }
    Ok(token)
}

fn make_token(
    node: &Node,
    listen: SocketAddr,
    valid: Duration,
    host: Option<String>,
) -> Result<Token, Failure> {
    let (ca, ca_made) = make_ready(node, listen)?;
    let fingerprint = fingerprint(&ca);
    let (id, secret, now_s) = (Uuid::new_v4(), make_secret(), now_s());
    let until_s = now_s.saturating_add(i64::try_from(valid.as_secs()).unwrap_or(i64::MAX));
    let mut hosts = node.neighbours.hosts();
    hosts.add_token(id, &secret, until_s, host, now_s)?;
    node.neighbours.put(hosts)?;
    let (issuer, address) = (node.config.host.clone(), listen.to_string());
    let token =
        JoinToken { issuer: issuer.clone(), address: address.clone(), ca: fingerprint.clone(), id, secret };
    tracing::info!(%id, "a token was made; it expires at {}", written(until_s));
    Ok(Token {
        token: token.text(),
        issuer,
        address,
        expires_at: written(until_s),
        ca_fingerprint: fingerprint,
        ca_made,
    })
}

fn fingerprint(ca: &Ca) -> String {
    Fingerprint::of_pem(ca.certificate().as_bytes()).map(|known| known.to_string()).unwrap_or_default()
}

/// The CA, this host's certificate and its place among the hosts are there; says whether the CA was made.
fn make_ready(node: &Node, listen: SocketAddr) -> Result<(Ca, bool), Failure> {
    let (neighbours, here) = (&node.neighbours, &node.config.host);
    if !can_join(here) {
        return Err(JoinFailure::NameInvalid { name: here.clone() }.into());
    }
    let directory = neighbours.ca_dir();
    let identity = neighbours.identity().map_err(JoinFailure::from)?;
    let found = Ca::load(directory).map_err(JoinFailure::from)?;
    let (ca, made) = match (found, &identity) {
        (Some(ca), Some(identity)) => {
            if Fingerprint::of_pem(identity.ca.as_bytes()) != Fingerprint::of_pem(ca.certificate().as_bytes())
            {
                return Err(JoinFailure::OtherCa { directory: directory.to_owned() }.into());
            }
            (ca, false)
        }
        (Some(ca), None) => (ca, false),
        (None, Some(_)) => return Err(not_issuer(node)),
        // It has joined another host, and only its certificate is lost.
        (None, None) if neighbours.hosts().issuer().is_some_and(|issuer| issuer != here) => {
            return Err(not_issuer(node));
        }
        (None, None) => {
            let ca = Ca::make().map_err(JoinFailure::from)?;
            ca.save(directory).map_err(JoinFailure::from)?;
            tracing::info!("a CA was made; its key is in {}", directory.display());
            (ca, true)
        }
    };
    // What this host knew as one of another CA's counts no more.
    let mut hosts = if made { Hosts::default() } else { neighbours.hosts() };
    let is_new = identity.is_none();
    let identity = identity.map_or_else(|| make_identity(&ca, here, listen), Ok)?;
    if is_new || hosts.issuer() != Some(here.as_str()) {
        hosts.found(here, listen, described(&identity.certificate), now_s());
        let list = ca.revoke(&hosts.revoked(), hosts.roster.version);
        hosts.roster.revocations = list.map_err(JoinFailure::from)?;
    }
    if !neighbours.listen_is_configured() {
        hosts.listen = Some(listen);
    }
    let identity = Identity { revocations: Some(hosts.roster.revocations.clone()), ..identity };
    neighbours.put(hosts)?;
    if is_new {
        identity.save(neighbours.tls_dir()).map_err(JoinFailure::from)?;
    }
    // From now on hosts without a certificate may knock.
    neighbours.reload().map_err(JoinFailure::from)?;
    Ok((ca, made))
}

fn make_identity(ca: &Ca, host: &str, listen: SocketAddr) -> Result<Identity, Failure> {
    let making = || {
        let key = ca::make_key()?;
        let certificate = ca.answer(&ca::request(&key, host)?, host, &[listen.ip()])?;
        Ok(Identity { ca: ca.certificate().to_owned(), revocations: None, certificate, key })
    };
    Ok(making().map_err(JoinFailure::Ca)?)
}

fn not_issuer(node: &Node) -> Failure {
    let issuer = node.neighbours.hosts().issuer().map(str::to_owned);
    JoinFailure::NotIssuer { host: node.config.host.clone(), issuer }.into()
}

/// The CA, on the host that holds its key.
fn ca(node: &Node) -> Result<Ca, Failure> {
    let found = Ca::load(node.neighbours.ca_dir()).map_err(JoinFailure::from)?;
    found.ok_or_else(|| not_issuer(node))
}

fn described(certificate: &str) -> Certificate {
    let described = tls::describe(certificate.as_bytes());
    described.map_or(Certificate { serial: String::new(), until_s: 0 }, |is| Certificate {
        serial: is.serial,
        until_s: is.until_s,
    })
}

/// Lets a host in that comes with a token, and tells the others.
pub(crate) async fn admit(node: &Arc<Node>, admission: Admission) -> Result<Admitted, Failure> {
    let _change = node.neighbours.change.lock().await;
    let admitted = with_files(node, move |node| let_in(node, &admission)).await?;
    keep::tell(node);
    Ok(admitted)
}

fn let_in(node: &Node, admission: &Admission) -> Result<Admitted, Failure> {
    let ca = ca(node)?;
    let mut hosts = node.neighbours.hosts();
    let checked = hosts.check(admission, now_s(), &node.config.host);
    // A wrong secret is counted, whatever comes of it.
    node.neighbours.put(hosts.clone())?;
    if let Some(certificate) = checked? {
        tracing::info!(
            host = admission.host,
            "a host that has joined asked again: it did not get the answer"
        );
        return Ok(Admitted { certificate, ca: ca.certificate().to_owned(), roster: hosts.roster });
    }
    // Who is let in under a name of the configuration would be taken for that host.
    let mut known = node.neighbours.list().into_iter();
    if let Some(known) = known.find(|known| known.name.eq_ignore_ascii_case(&admission.host)) {
        return Err(JoinFailure::NameTaken { host: known.name, address: known.address }.into());
    }
    let address = is_reachable(&admission.address)?;
    let given = give(&ca, &admission.request, &admission.host, address)?;
    let certificate = given.pem.clone();
    hosts.admit(admission, given);
    let roster = hosts.roster.clone();
    node.neighbours.put(hosts)?;
    tracing::info!(host = admission.host, %address, "a host has joined");
    Ok(Admitted { certificate, ca: ca.certificate().to_owned(), roster })
}

fn give(ca: &Ca, request: &str, host: &str, address: SocketAddr) -> Result<Given, Failure> {
    let pem = ca.answer(request, host, &[address.ip()]).map_err(JoinFailure::from)?;
    Ok(Given { request: request.to_owned(), certificate: described(&pem), pem })
}

fn not_joined(node: &Node, host: &str) -> Failure {
    let known = node.neighbours.list().into_iter().map(|known| known.name).collect();
    Failure::HostUnknown { host: host.to_owned(), here: node.config.host.clone(), known }
}

/// The next certificate of a host that has joined, or once more the present one where it does not end soon.
pub(crate) async fn renew(node: &Arc<Node>, host: String, renewal: Renewal) -> Result<Renewed, Failure> {
    let _change = node.neighbours.change.lock().await;
    with_files(node, move |node| {
        let ca = ca(node)?;
        let mut hosts = node.neighbours.hosts();
        let address = hosts.member(&host).and_then(|member| member.address.parse::<SocketAddr>().ok());
        let address = address.ok_or_else(|| not_joined(node, &host))?;
        if let Some(certificate) = hosts.not_due(&host, now_s()) {
            return Ok(Renewed { certificate: certificate.to_owned() });
        }
        let given = give(&ca, &renewal.request, &host, address)?;
        let certificate = given.pem.clone();
        hosts.renewed(&host, given, now_s());
        node.neighbours.put(hosts)?;
        tracing::info!(host, "its certificate was renewed");
        Ok(Renewed { certificate })
    })
    .await
}

/// A host that has joined is reached elsewhere now.
pub(crate) async fn relocate(node: &Arc<Node>, host: String, address: SocketAddr) -> Result<(), Failure> {
    let _change = node.neighbours.change.lock().await;
    let mut hosts = node.neighbours.hosts();
    if hosts.member(&host).is_none() {
        return Err(not_joined(node, &host));
    }
    if hosts.relocate(&host, address) {
        tracing::info!(host, %address, "the host is reached elsewhere now");
        with_files(node, move |node| node.neighbours.put(hosts)).await?;
        keep::tell(node);
    }
    Ok(())
}

/// Removes a host that has joined: nobody trusts its certificates from now on.
pub(crate) async fn remove(node: &Arc<Node>, host: String) -> Result<(), Failure> {
    let _change = node.neighbours.change.lock().await;
    with_files(node, move |node| revoke(node, &host)).await?;
    keep::tell(node);
    Ok(())
}

fn revoke(node: &Node, host: &str) -> Result<(), Failure> {
    let here = &node.config.host;
    let mut hosts = node.neighbours.hosts();
    let is_member = hosts.member(host).is_some();
    if !is_member && node.neighbours.is_configured(host) {
        return Err(JoinFailure::Configured { host: host.to_owned(), here: here.clone() }.into());
    }
    let ca = ca(node)?;
    if host == here {
        return Err(JoinFailure::RemoveIssuer.into());
    }
    if !is_member {
        return Err(not_joined(node, host));
    }
    has_no_migration(node, Some(host))?;
    hosts.remove(host, now_s());
    let list = ca.revoke(&hosts.revoked(), hosts.roster.version);
    hosts.roster.revocations = list.map_err(JoinFailure::from)?;
    node.neighbours.put(hosts)?;
    tracing::info!(host, "the host was removed: its certificates are revoked");
    Ok(())
}

/// All hosts, for one that has joined.
pub(crate) fn roster(node: &Node) -> Result<Roster, Failure> {
    let hosts = node.neighbours.hosts();
    if hosts.issuer() == Some(node.config.host.as_str()) { Ok(hosts.roster) } else { Err(not_issuer(node)) }
}
