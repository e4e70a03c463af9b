//! The agent's configuration, a TOML file. Main type: [`Config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What an agent must be told.
///
/// ```toml
/// host = "kvm1"                       # this host's name; its certificate carries it
/// listen = "192.0.2.1:7700"           # where other agents reach it
/// tls_dir = "/etc/ferry/tls"          # ca.pem, host.pem, host-key.pem, as `ferry host join` writes them
/// allowed_paths = ["/srv/guests"]     # no path of a definition is opened outside these
///
/// [networks]
/// default = "br0"                     # the bridge of `<source network='default'/>` on this host
///
/// [hosts.kvm2]
/// address = "192.0.2.2:7700"
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This host's name, as other hosts know it.
    pub host: String,
    /// Definitions, journals, reports.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// What lives as long as its QEMU: sockets, pid files.
    #[serde(default = "run_dir")]
    pub run_dir: PathBuf,
    /// QEMU's logs, one a domain.
    #[serde(default = "log_dir")]
    pub log_dir: PathBuf,
    /// The Unix socket for this host's root.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// Address and port for other agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Address and port for Prometheus, unencrypted and open to whoever reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// Directory with `ca.pem`, `host.pem`, `host-key.pem`, `ca-crl.pem` and the names that QEMU wants for the same files.
    #[serde(default = "tls_dir")]
    pub tls_dir: PathBuf,
    /// Emulators that a definition may name; the first is the default.
    #[serde(default = "emulators")]
    pub emulators: Vec<PathBuf>,
    /// Directories below which definitions may name files.
    #[serde(default = "allowed_paths")]
    pub allowed_paths: Vec<PathBuf>,
    /// Where images of new domains are made.
    #[serde(default = "images")]
    pub images: PathBuf,
    /// Bridges of the networks that definitions name, where libvirt's own definition of a network does not say it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, String>,
    /// libvirt's definitions of networks, one file each: read for the bridge of a network that `networks` lacks.
    #[serde(default = "network_dir")]
    pub network_dir: PathBuf,
    /// Domains that may be on their way from this host at the same time.
    #[serde(default = "transfers")]
    pub transfers_out_max: NonZeroUsize,
    /// Domains that may be on their way to this host at the same time.
    #[serde(default = "transfers")]
    pub transfers_in_max: NonZeroUsize,
    /// Domains that may be on their way from this host to any one other at the same time.
    #[serde(default = "transfers")]
    pub transfers_to_host_max: NonZeroUsize,
    /// Other hosts by name, beside those that have joined.
    #[serde(default)]
    pub hosts: BTreeMap<String, HostConfig>,
}

/// Another host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Its agent's address and port.
    pub address: String,
}

fn transfers() -> NonZeroUsize {
    const { NonZeroUsize::new(2).unwrap() }
}
fn state_dir() -> PathBuf {
    "/var/lib/ferry".into()
}
fn run_dir() -> PathBuf {
    "/run/ferry".into()
}
fn log_dir() -> PathBuf {
    "/var/log/ferry".into()
}
fn socket() -> PathBuf {
    "/run/ferry/ferry.sock".into()
}
fn tls_dir() -> PathBuf {
    "/etc/ferry/tls".into()
}
fn emulators() -> Vec<PathBuf> {
    vec!["/usr/bin/qemu-system-x86_64".into(), "/usr/bin/kvm".into()]
}
fn network_dir() -> PathBuf {
    "/etc/libvirt/qemu/networks".into()
}
fn images() -> PathBuf {
    "/var/lib/libvirt/images".into()
}
fn allowed_paths() -> Vec<PathBuf> {
    vec![
        "/var/lib/libvirt/images".into(),
        "/var/lib/libvirt/qemu/nvram".into(),
        "/var/lib/ferry/images".into(),
        "/srv".into(),
    ]
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not the TOML that is wanted.
    #[error("the configuration {path} is not right")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value cannot be.
    #[error("the configuration {path}: {fault}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write.
        fault: &'static str,
    },
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] says which file and where in it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Config = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        let fault = |fault| ConfigError::Value { path: path.to_owned(), fault };
        if config.host.is_empty() {
            return Err(fault("`host` is empty; give this host a name"));
        }
        if config.emulators.is_empty() {
            return Err(fault("`emulators` is empty; name at least one QEMU"));
        }
        if config.listen.is_some_and(|listen| qemu::migrate::is_wildcard(listen.ip())) {
            return Err(fault(
                "`listen` must be an address of this host that other hosts reach, not the wildcard",
            ));
        }
        Ok(config)
    }

    /// Whether a definition may name `path`: absolute, without `..`, below an allowed directory.
    #[must_use]
    pub fn allows(&self, path: &Path) -> bool {
        is_plain(path) && self.allowed_paths.iter().any(|allowed| path.starts_with(allowed))
    }
}

/// Absolute, and without `..`.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::Config;
    use std::path::Path;

    fn check(allowed: &str, path: &str, expect: bool) {
        let config: Config = toml::from_str(&format!("host = \"a\"\nallowed_paths = [{allowed:?}]")).unwrap();
        assert_eq!(config.allows(Path::new(path)), expect, "{path}");
    }

    const SHIPPED: &str = include_str!("../../../packaging/agent.toml");
    const DOCUMENTED: &str = include_str!("../../../docs/configuration.md");

    /// Every option there is, in serde's own words.
    fn options() -> Vec<String> {
        let error = toml::from_str::<Config>("host = \"kvm1\"\nno_such_option = 1").unwrap_err().to_string();
        let (_, expected) = error.split_once("expected one of").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_configuration_that_is_installed_shows_every_option_with_its_default() {
        let said = toml::from_str::<Config>(SHIPPED).unwrap_err().to_string();
        assert!(said.contains("missing field `host`"), "all but the host's name has a default: {said}");
        let uncommented: String = SHIPPED
            .lines()
            .filter_map(|line| {
                line.strip_prefix('#')
                    .filter(|line| line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
            })
            .fold(String::new(), |text, line| text + line + "\n");
        let shown: Config = toml::from_str(&uncommented).unwrap();
        let default: Config = toml::from_str("host = \"kvm1\"").unwrap();
        let table = |config: &Config| toml::Table::try_from(config).unwrap();
        for option in options() {
            let (shown, default) =
                (table(&shown).get(&option).cloned(), table(&default).get(&option).cloned());
            assert!(shown.is_some(), "{option} is not in packaging/agent.toml");
            let has_default = default.is_some() && !["hosts", "networks"].contains(&option.as_str());
            assert!(!has_default || shown == default, "{option}: {shown:?}, and the default is {default:?}");
        }
    }

    #[test]
    fn every_option_is_documented() {
        for option in options() {
            let row = match option.as_str() {
                "hosts" => "hosts.NAME.address",
                "networks" => "networks.NAME",
                plain => plain,
            };
            assert!(DOCUMENTED.contains(&format!("| `{row}` |")), "{row} is not in docs/configuration.md");
        }
    }

    #[test]
    fn only_paths_below_an_allowed_directory() {
        check("/srv/guests", "/srv/guests/web1.qcow2", true);
        check("/srv/guests", "/srv/guests2/web1.qcow2", false);
        check("/srv/guests", "/srv/guests/../../etc/shadow", false);
        check("/srv/guests", "srv/guests/web1.qcow2", false);
        check("/srv/guests", "/etc/shadow", false);
    }
}
