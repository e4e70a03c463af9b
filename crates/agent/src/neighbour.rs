//! Other agents: who they are, their addresses, this host's certificate and what the CA has revoked. Hosts stand in the
//! configuration or have joined. Main type: [`Neighbours`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use client::Client;
use client::tls::{self, Described, Strangers};
use tokio::sync::watch;

use crate::ca;
use crate::config::{Config, HostConfig};
use crate::failure::{Failure, JoinFailure};
use crate::identity::{Identity, IdentityError};
use crate::join::enter::Asked;
use crate::join::hosts::Hosts;
use crate::store::{self, StoreError};

/// The other hosts, and how to reach them.
pub(crate) struct Neighbours {
    here: String,
    configured: BTreeMap<String, HostConfig>,
    configured_listen: Option<SocketAddr>,
    tls_dir: PathBuf,
    ca_dir: PathBuf,
    file: PathBuf,
    /// Held by whoever changes what is known, from reading to writing. What was asked to join and is not known to be answered.
    pub(crate) change: tokio::sync::Mutex<Option<Asked>>,
    known: RwLock<Known>,
    /// Serial numbers that the CA no longer stands for.
    revoked: watch::Sender<BTreeSet<String>>,
}

#[derive(Default)]
struct Known {
    hosts: Hosts,
    tls: Option<Tls>,
    /// Where this agent listens for the others.
    listening: Option<SocketAddr>,
}

/// What is made of this host's certificate.
struct Tls {
    client: Arc<rustls::ClientConfig>,
    server: Arc<rustls::ServerConfig>,
    certificate: Option<Described>,
}

impl Neighbours {
    /// Reads what this host remembers; not yet its certificate.
    pub(crate) fn open(config: &Config) -> Result<Neighbours, StoreError> {
        let file = config.state_dir.join("hosts.json");
        let hosts: Hosts = store::read_json(&file)?.unwrap_or_default();
        Ok(Neighbours {
            here: config.host.clone(),
            configured: config.hosts.clone(),
            configured_listen: config.listen,
            tls_dir: config.tls_dir.clone(),
            ca_dir: config.state_dir.join("ca"),
            file,
            change: tokio::sync::Mutex::default(),
            known: RwLock::new(Known { hosts, ..Known::default() }),
            revoked: watch::Sender::default(),
        })
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, update: impl FnOnce(&mut Known)) {
        update(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes up the certificates that another agent left here, and has their files say what is revoked as this host
    /// remembers it: an older one may have been put back.
    pub(crate) fn take_up(&self) -> Result<(), IdentityError> {
        Identity::revoke(&self.tls_dir, &self.hosts().roster.revocations)?;
        self.reload()
    }

    /// Reads the certificates again, where this host has any and an address for others. Connections that are open stay, but
    /// for those of hosts that are revoked now.
    pub(crate) fn reload(&self) -> Result<(), IdentityError> {
        if self.listen().is_none() {
            return Ok(());
        }
        let fault = |source| IdentityError::Tls { directory: self.tls_dir.clone(), source };
        let strangers = if self.issues() { Strangers::Admitted } else { Strangers::Refused };
        let mut revoked = BTreeSet::new();
        let mut made = None;
        if let Some(identity) = self.identity()? {
            if let Some(list) = &identity.revocations {
                revoked = tls::revoked(list.as_bytes()).map_err(fault)?;
            }
            made = Some(Tls {
                client: identity.client().map_err(fault)?,
                server: identity.server(strangers).map_err(fault)?,
                certificate: tls::describe(identity.certificate.as_bytes()),
            });
        }
        self.update(|known| known.tls = made);
        self.revoked.send_replace(revoked);
        Ok(())
    }

    /// The certificates as they are on disk; `None` where there are none.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        Identity::load(&self.tls_dir)
    }

    /// Where the files of this host's identity lie.
    pub(crate) fn tls_dir(&self) -> &std::path::Path {
        &self.tls_dir
    }

    /// Where the CA lies, on the host that has it.
    pub(crate) fn ca_dir(&self) -> &std::path::Path {
        &self.ca_dir
    }

    /// Whether this host holds the CA's key: it lets hosts in that have no certificate yet.
    pub(crate) fn issues(&self) -> bool {
        self.ca_dir.join(ca::KEY).exists()
    }

    /// Where other hosts reach this one.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        self.configured_listen.or_else(|| self.known().hosts.listen)
    }

    /// Whether the configuration says where other hosts reach this one.
    pub(crate) fn listen_is_configured(&self) -> bool {
        self.configured_listen.is_some()
    }

    /// Where this agent listens now.
    pub(crate) fn listening(&self) -> Option<SocketAddr> {
        self.known().listening
    }

    /// It listens.
    pub(crate) fn opened(&self, address: SocketAddr) {
        self.update(|known| known.listening = Some(address));
    }

    /// To be reached by other agents; `None` without a certificate.
    pub(crate) fn server(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.known().tls.as_ref().map(|tls| Arc::clone(&tls.server))
    }

    /// What this host's certificate says of itself.
    pub(crate) fn certificate(&self) -> Option<Described> {
        self.known().tls.as_ref().and_then(|tls| tls.certificate.clone())
    }

    /// Serial numbers that the CA no longer stands for, as they come.
    pub(crate) fn revoked(&self) -> watch::Receiver<BTreeSet<String>> {
        self.revoked.subscribe()
    }

    /// What this host remembers of the others.
    pub(crate) fn hosts(&self) -> Hosts {
        self.known().hosts.clone()
    }

    /// Remembers it, and refuses from now on what is revoked. That is written first: where a step fails, this host may refuse
    /// more than it remembers, and is told again; never less. For whoever holds [`Neighbours::change`].
    pub(crate) fn put(&self, hosts: Hosts) -> Result<(), Failure> {
        let before = self.hosts();
        if hosts == before {
            return Ok(());
        }
        let is_news = hosts.roster.revocations != before.roster.revocations;
        if is_news {
            Identity::revoke(&self.tls_dir, &hosts.roster.revocations).map_err(JoinFailure::from)?;
        }
        store::write_json(&self.file, &hosts)?;
        if is_news && self.server().is_some() {
            self.reload().map_err(JoinFailure::from)?;
        }
        self.update(|known| known.hosts = hosts);
        Ok(())
    }

    /// A connection of its own to another agent; nothing is sent yet.
    pub(crate) fn client(&self, host: &str) -> Result<Client, Failure> {
        let known = self.known();
        let tls = known.tls.as_ref().ok_or(Failure::NotListening)?;
        let Some(address) = self.address(&known.hosts, host) else {
            return Err(Failure::HostUnknown {
                host: host.to_owned(),
                here: self.here.clone(),
                known: self.names(&known.hosts).into_iter().collect(),
            });
        };
        Client::tls(address, host, Arc::clone(&tls.client))
            .map_err(|source| Failure::Neighbour { host: host.to_owned(), source: Box::new(source) })
    }

    /// What the configuration says goes before what the host said when it joined.
    fn address(&self, hosts: &Hosts, host: &str) -> Option<String> {
        let configured = self.configured.get(host).map(|host| host.address.clone());
        let joined = || hosts.member(host).filter(|_| host != self.here).map(|member| member.address.clone());
        configured.or_else(joined)
    }

    fn names(&self, hosts: &Hosts) -> BTreeSet<String> {
        let joined = hosts.members().map(|member| &member.name).filter(|name| **name != self.here);
        self.configured.keys().chain(joined).cloned().collect()
    }

    pub(crate) fn knows(&self, host: &str) -> bool {
        self.address(&self.known().hosts, host).is_some()
    }

    /// Whether the host stands in the configuration.
    pub(crate) fn is_configured(&self, host: &str) -> bool {
        self.configured.contains_key(host)
    }

    pub(crate) fn list(&self) -> Vec<api::Neighbour> {
        let hosts = self.hosts();
        let neighbour = |name: String| {
            let address = self.address(&hosts, &name).unwrap_or_default();
            api::Neighbour { name, address }
        };
        self.names(&hosts).into_iter().map(neighbour).collect()
    }
}
