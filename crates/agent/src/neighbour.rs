//! Other agents: their addresses and this host's certificate. Main type: [`Neighbours`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use client::Client;

use crate::config::{Config, HostConfig};
use crate::failure::Failure;

/// The files of this host's identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{path} cannot be read; `ferry ca issue` makes it")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the certificates in {directory} cannot be used")]
    Tls {
        directory: PathBuf,
        #[source]
        source: client::tls::TlsError,
    },
}

/// The PEM files of this host.
pub(crate) struct Identity {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
    directory: PathBuf,
}

impl Identity {
    /// Reads `ca.pem`, `host.pem` and `host-key.pem`.
    pub(crate) fn load(config: &Config) -> Result<Identity, IdentityError> {
        let read = |name: &str| {
            let path = config.tls_dir.join(name);
            std::fs::read(&path).map_err(|source| IdentityError::Read { path, source })
        };
        Ok(Identity {
            ca: read("ca.pem")?,
            certificate: read("host.pem")?,
            key: read("host-key.pem")?,
            directory: config.tls_dir.clone(),
        })
    }

    fn fault(&self, source: client::tls::TlsError) -> IdentityError {
        IdentityError::Tls { directory: self.directory.clone(), source }
    }

    /// To be reached by other agents.
    pub(crate) fn server(&self) -> Result<Arc<rustls::ServerConfig>, IdentityError> {
        client::tls::server_config(&self.ca, &self.certificate, &self.key)
            .map_err(|source| self.fault(source))
    }

    /// To reach other agents.
    pub(crate) fn client(&self) -> Result<Arc<rustls::ClientConfig>, IdentityError> {
        client::tls::client_config(&self.ca, &self.certificate, &self.key)
            .map_err(|source| self.fault(source))
    }
}

/// The hosts in the configuration, and how to reach them.
pub(crate) struct Neighbours {
    here: String,
    hosts: BTreeMap<String, HostConfig>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Neighbours {
    pub(crate) fn new(config: &Config, tls: Option<Arc<rustls::ClientConfig>>) -> Neighbours {
        Neighbours { here: config.host.clone(), hosts: config.hosts.clone(), tls }
    }

    /// A connection of its own to another agent; nothing is sent yet.
    pub(crate) fn client(&self, host: &str) -> Result<Client, Failure> {
        let tls = self.tls.as_ref().ok_or(Failure::NotListening)?;
        let Some(known) = self.hosts.get(host) else {
            return Err(Failure::HostUnknown {
                host: host.to_owned(),
                here: self.here.clone(),
                known: self.hosts.keys().cloned().collect(),
            });
        };
        Client::tls(known.address.clone(), host, Arc::clone(tls))
            .map_err(|source| Failure::Neighbour { host: host.to_owned(), source: Box::new(source) })
    }

    pub(crate) fn knows(&self, host: &str) -> bool {
        self.hosts.contains_key(host)
    }

    pub(crate) fn list(&self) -> Vec<api::Neighbour> {
        let neighbour = |(name, host): (&String, &HostConfig)| api::Neighbour {
            name: name.clone(),
            address: host.address.clone(),
        };
        self.hosts.iter().map(neighbour).collect()
    }
}
