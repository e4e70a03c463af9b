//! This host joins another one: it asks with a token, trusting the CA of the token's fingerprint alone, and gets a
//! certificate for a key that never leaves it. Until the answer is there, nothing on this host has changed. Main function:
//! [`join`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{Admission, Admitted, JoinRequest, Joined, Version};
use client::tls::{Fingerprint, joining_config};
use client::{Client, ClientError};
use tokio::net::{TcpListener, UdpSocket, lookup_host};
use tokio::time::timeout;
use uuid::Uuid;

use super::hosts::Hosts;
use super::token::JoinToken;
use super::{has_no_migration, now_s, with_files, written};
use crate::ca;
use crate::failure::{Failure, JoinFailure};
use crate::identity::Identity;
use crate::limits::{JOIN_SKEW_MAX, LOOKUP_TIMEOUT};
use crate::node::Node;
use crate::serve;

/// The port of agents where none is said.
const PORT: u16 = 7700;

/// Joins the host that made the token.
pub(crate) async fn join(node: &Arc<Node>, request: JoinRequest) -> Result<Joined, Failure> {
    let mut change = node.neighbours.change.lock().await;
    let (token, ca) = JoinToken::read(&request.token)?;
    // Who was not told the answer asks the same again: the token is used up, and the name taken.
    let unanswered = change.clone().filter(|asked| asked.token == token.id);
    let asked = match unanswered {
        Some(asked) => asked,
        None => {
            let token = token.clone();
            with_files(node, move |node| prepare(node, &token, request.replace)).await?
        }
    };
    let address = with_port(request.address.as_deref().unwrap_or(&token.address))?;
    let issuer = Issuer { name: token.issuer.clone(), client: issuer_client(&token, ca, &address)? };
    let there = issuer.client.version().await.map_err(|error| issuer.failed(error))?;
    compare_clocks(&token.issuer, &there)?;
    let listen = own_address(node, request.listen.as_deref(), Some(&address)).await?;
    let listener = open(node, listen).await?;
    let admission = Admission {
        id: token.id,
        secret: token.secret.clone(),
        host: node.config.host.clone(),
        address: listen.to_string(),
        request: asked.request.clone(),
    };
    *change = Some(asked.clone());
    let admitted = issuer.client.admit(&admission).await.map_err(|error| issuer.failed(error))?;
    let name = issuer.name.clone();
    with_files(node, move |node| install(node, &name, ca, asked.key, listen, admitted)).await?;
    *change = None;
    if let Some(listener) = listener {
        listener.serve(node);
    }
    tracing::info!(issuer = issuer.name, %listen, "this host has joined");
    let until_s = node.neighbours.certificate().map_or(0, |certificate| certificate.until_s);
    Ok(Joined {
        host: node.config.host.clone(),
        address: listen.to_string(),
        issuer: issuer.name,
        certificate_until: written(until_s),
        hosts: node.neighbours.list(),
    })
}

/// What this host says with a token, and the key that it says it for.
#[derive(Clone)]
pub(crate) struct Asked {
    /// Which token.
    token: Uuid,
    /// PEM; it never leaves this host.
    key: String,
    /// PEM.
    request: String,
}

/// The host that is asked to let this one in.
struct Issuer {
    name: String,
    client: Client,
}

impl Issuer {
    fn failed(&self, error: ClientError) -> Failure {
        let host = self.name.clone();
        match error {
            ClientError::Problem(problem) => JoinFailure::Refused { host, problem: Box::new(problem) }.into(),
            error => Failure::Neighbour { host, source: Box::new(error) },
        }
    }
}

fn issuer_client(token: &JoinToken, ca: Fingerprint, address: &str) -> Result<Client, Failure> {
    let answer = |source| JoinFailure::Answer { host: token.issuer.clone(), source };
    let config = joining_config(ca).map_err(answer)?;
    let client = Client::tls(address, &token.issuer, config);
    client.map_err(|source| Failure::Neighbour { host: token.issuer.clone(), source: Box::new(source) })
}

/// This host is free to join, and has a key.
fn prepare(node: &Node, token: &JoinToken, replace: bool) -> Result<Asked, Failure> {
    is_free(node, token, replace)?;
    let key = ca::make_key().map_err(JoinFailure::from)?;
    let request = ca::request(&key, &node.config.host).map_err(JoinFailure::from)?;
    Ok(Asked { token: token.id, key, request })
}

/// This host belongs to no other hosts yet, or gives that up.
fn is_free(node: &Node, token: &JoinToken, replace: bool) -> Result<(), JoinFailure> {
    let host = node.config.host.clone();
    let neighbours = &node.neighbours;
    if neighbours.issues() {
        if neighbours.hosts().issuer() == Some(token.issuer.as_str()) && token.issuer == host {
            return Err(JoinFailure::OwnToken);
        }
        return Err(JoinFailure::HoldsCa { host, directory: neighbours.ca_dir().to_owned() });
    }
    if replace {
        // Whatever is wrong with the certificate that it has.
        return has_no_migration(node, None);
    }
    match neighbours.identity()? {
        Some(identity) => Err(JoinFailure::AlreadyJoined {
            host,
            issuer: neighbours.hosts().issuer().map(str::to_owned),
            fingerprint: Fingerprint::of_pem(identity.ca.as_bytes())
                .map_or_else(|| "of no certificate".to_owned(), |known| known.to_string()),
        }),
        None => Ok(()),
    }
}

/// A certificate that is given now must be valid now on both hosts. Said here, since TLS could name only one clock.
fn compare_clocks(issuer: &str, there: &Version) -> Result<(), JoinFailure> {
    let Some(there_s) = there.now_ms.and_then(|now_ms| i64::try_from(now_ms / 1000).ok()) else {
        return Ok(());
    };
    let here_s = now_s();
    if there_s.abs_diff(here_s) <= JOIN_SKEW_MAX.as_secs() {
        return Ok(());
    }
    let (here, there) = (written(here_s), written(there_s));
    Err(JoinFailure::ClockSkew { host: issuer.to_owned(), here, there })
}

/// Takes over what the issuer answered; from here on this host is one of them.
fn install(
    node: &Node,
    issuer: &str,
    ca: Fingerprint,
    key: String,
    listen: SocketAddr,
    admitted: Admitted,
) -> Result<(), Failure> {
    let answer = |source| JoinFailure::Answer { host: issuer.to_owned(), source };
    if Fingerprint::of_pem(admitted.ca.as_bytes()) != Some(ca) {
        return Err(JoinFailure::AnswerCa { host: issuer.to_owned() }.into());
    }
    let identity = Identity {
        ca: admitted.ca,
        revocations: Some(admitted.roster.revocations.clone()),
        certificate: admitted.certificate,
        key,
    };
    identity.client().map_err(answer)?;
    let neighbours = &node.neighbours;
    let listen = (!neighbours.listen_is_configured()).then_some(listen);
    identity.save(neighbours.tls_dir()).map_err(JoinFailure::from)?;
    neighbours.put(Hosts::joined(listen, admitted.roster))?;
    Ok(neighbours.reload().map_err(JoinFailure::from)?)
}

/// Where other hosts reach this one: as the configuration says, as somebody says now, or at the address that it has
/// `toward` the one that it talks to.
pub(super) async fn own_address(
    node: &Node,
    said: Option<&str>,
    toward: Option<&str>,
) -> Result<SocketAddr, JoinFailure> {
    let said = said.map(|said| with_port(said).and_then(|said| is_reachable(&said))).transpose()?;
    let fixed =
        node.neighbours.listening().or(node.config.listen).or_else(|| said.or(node.neighbours.listen()));
    match (fixed, said, toward) {
        (Some(address), Some(said), _) if said != address => Err(JoinFailure::ListenFixed { address }),
        (Some(address), _, _) => Ok(address),
        (None, _, Some(toward)) => {
            // A tunnel's end on this host says nothing of where others reach it.
            let ip = local_ip(toward).await.filter(|ip| !ip.is_loopback());
            let ip = ip.ok_or(JoinFailure::ListenUnknown)?;
            Ok(SocketAddr::new(ip, PORT))
        }
        (None, _, None) => Err(JoinFailure::ListenUnknown),
    }
}

/// The address from which this host talks to another one. Nothing is sent: the kernel looks up its route.
async fn local_ip(address: &str) -> Option<IpAddr> {
    let other = timeout(LOOKUP_TIMEOUT, lookup_host(address)).await.ok()?.ok()?.next()?;
    let any: IpAddr = if other.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(other).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// An address with its port, or with that of agents.
fn with_port(address: &str) -> Result<String, JoinFailure> {
    let wrong = || JoinFailure::Address { address: address.to_owned() };
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT).to_string());
    }
    if address.parse::<SocketAddr>().is_ok() {
        return Ok(address.to_owned());
    }
    let (name, port) = match address.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().map_err(|_| wrong())?),
        None => (address, PORT),
    };
    if ca::is_host_name(name) { Ok(format!("{name}:{port}")) } else { Err(wrong()) }
}

/// An address and port of one host that others can connect to.
pub(crate) fn is_reachable(text: &str) -> Result<SocketAddr, JoinFailure> {
    let address = text.parse::<SocketAddr>().ok();
    let address = address.filter(|address| address.port() != 0 && !qemu::migrate::is_wildcard(address.ip()));
    address.ok_or_else(|| JoinFailure::ListenInvalid { text: text.to_owned() })
}

/// An address that is taken, and where nobody is served yet.
pub(super) struct Opened {
    address: SocketAddr,
    listener: TcpListener,
}

impl Opened {
    pub(super) fn serve(self, node: &Arc<Node>) {
        node.neighbours.opened(self.address);
        tokio::spawn(serve::serve_agents(self.listener, Arc::clone(node)));
    }
}

/// Takes the address, unless this agent listens already.
pub(super) async fn open(node: &Node, address: SocketAddr) -> Result<Option<Opened>, JoinFailure> {
    if node.neighbours.listening().is_some() {
        return Ok(None);
    }
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| JoinFailure::ListenUnusable { address, source })?;
    Ok(Some(Opened { address, listener }))
}

#[cfg(test)]
mod tests {
    use super::{is_reachable, local_ip, with_port};

    #[track_caller]
    fn check(typed: &str, expect: Option<&str>) {
        assert_eq!(with_port(typed).ok().as_deref(), expect, "{typed}");
    }

    #[test]
    fn addresses_get_the_port_of_agents() {
        check("192.0.2.1", Some("192.0.2.1:7700"));
        check("192.0.2.1:7701", Some("192.0.2.1:7701"));
        check("fd00::1", Some("[fd00::1]:7700"));
        check("[fd00::1]:7701", Some("[fd00::1]:7701"));
        check("kvm1", Some("kvm1:7700"));
        check("kvm1.example.org:7701", Some("kvm1.example.org:7701"));
        for wrong in ["", "kvm1:port", "kvm 1", "http://kvm1", "kvm1:99999"] {
            check(wrong, None);
        }
    }

    #[tokio::test]
    async fn the_kernel_says_from_where_this_host_talks_to_another() {
        assert_eq!(local_ip("127.0.0.1:7700").await, Some([127, 0, 0, 1].into()));
        assert_eq!(local_ip("no host").await, None);
    }

    #[test]
    fn nobody_reaches_a_wildcard() {
        assert!(is_reachable("192.0.2.1:7700").is_ok());
        for wrong in ["0.0.0.0:7700", "[::]:7700", "192.0.2.1:0", "kvm1:7700"] {
            assert!(is_reachable(wrong).is_err(), "{wrong}");
        }
    }
}
