//! What is typed after `ca`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as Arguments, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make a CA: its certificate ca.pem and its key ca-key.pem
    ///
    /// Keep the directory where only the operator reaches it: who has ca-key.pem can be any host.
    Init(CaInit),
    /// Make a host's certificate and key
    ///
    /// Makes ca.pem, host.pem and host-key.pem for the agent, and the names that QEMU's tls-creds-x509 wants for the
    /// same files. Copy the directory to the host; its files are root's.
    Issue(CaIssue),
}

#[derive(Debug, Arguments)]
pub(crate) struct CaInit {
    /// Directory to make the files in; it is created
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Arguments)]
pub(crate) struct CaIssue {
    /// The host's name, as other hosts call it
    pub(crate) name: String,
    /// Directory of the CA
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// An IP address of the host; may be given more than once
    #[arg(long, value_name = "IP")]
    pub(crate) address: Vec<IpAddr>,
    /// Directory to make the files in; it is created
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub(crate) replace: bool,
}
