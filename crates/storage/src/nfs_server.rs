//! An NFS server as this host reaches it: whether it answers, and what it exports. It mounts nothing. Main function:
//! [`nfs_server`].
//!
//! ```text
//! port 111    rpcbind (RFC 1833): where are MOUNT and NFS?
//!   └─ MOUNT (RFC 1813, appendix I): EXPORT, as showmount -e asks it
//! port 2049   NFS, or where rpcbind says that it is
//! ```

use std::io;
use std::net::SocketAddr;

use nfs3_client::nfs3_types::portmap::{IPPROTO_TCP, PMAP_PORT};
use nfs3_client::{MountClient, PortmapError, PortmapperClient, RpcError};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::NFS_SERVER_TIMEOUT;
use crate::nfs::Stream;

/// Programs and their version 3, as rpcbind knows them (RFC 1813).
const MOUNT: (u32, u32) = (100_005, 3);
const NFS: (u32, u32) = (100_003, 3);
/// Where NFS is without rpcbind (RFC 7530, section 3.1).
const NFS_PORT: u16 = 2049;

/// What a server answers.
#[derive(Debug)]
pub struct NfsServer {
    /// What it exports, in the order of its list.
    pub exports: Result<Vec<String>, NfsServerError>,
    /// Whether somebody listens where NFS is.
    pub nfs: Result<(), NfsServerError>,
}

/// Why a service of an NFS server does not answer.
#[derive(Debug, thiserror::Error)]
pub enum NfsServerError {
    /// The server has no address.
    #[error("the name {host} has no IPv4 address")]
    Address {
        /// The server.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// Nothing is heard at a port.
    #[error("{service} does not answer at port {port}")]
    Silent {
        /// The service.
        service: &'static str,
        /// Its port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// A service answers, and not what was asked.
    #[error("{service} refuses")]
    Refuses {
        /// The service.
        service: &'static str,
        /// What it says.
        source: RpcError,
    },
    /// rpcbind does not know a service.
    #[error("rpcbind does not know where {service} is")]
    Unknown {
        /// The service.
        service: &'static str,
        /// What it says.
        source: PortmapError,
    },
}

/// Asks a server, by name or address.
pub async fn nfs_server(host: &str) -> NfsServer {
    let address = |error: io::Error| NfsServerError::Address { host: host.to_owned(), source: error };
    let found = match bounded(tokio::net::lookup_host((host, 0))).await {
        Ok(mut found) => found.find(SocketAddr::is_ipv4).ok_or_else(|| io::ErrorKind::NotFound.into()),
        Err(error) => Err(error),
    };
    let server = match found {
        Ok(server) => server,
        Err(error) => {
            let again = io::Error::new(error.kind(), error.to_string());
            return NfsServer { exports: Err(address(error)), nfs: Err(address(again)) };
        }
    };
    let (exports, nfs) = tokio::join!(exports(server), nfs(server));
    NfsServer { exports, nfs }
}

async fn exports(server: SocketAddr) -> Result<Vec<String>, NfsServerError> {
    let port = port_of(server, "mountd", MOUNT).await?;
    let mut mount = MountClient::new(connect(server, "mountd", port).await?);
    let asked = timeout(NFS_SERVER_TIMEOUT, mount.export()).await;
    let listed = asked.map_err(|_elapsed| silent("mountd", port, io::ErrorKind::TimedOut.into()))?;
    let listed = listed.map_err(|source| NfsServerError::Refuses { service: "mountd", source })?;
    let names = listed.0.iter().map(|export| String::from_utf8_lossy(export.ex_dir.0.as_ref()).into_owned());
    Ok(names.collect())
}

async fn nfs(server: SocketAddr) -> Result<(), NfsServerError> {
    // A server of version 4 alone need not tell rpcbind anything.
    let port = port_of(server, "nfs", NFS).await.unwrap_or(NFS_PORT);
    connect(server, "nfs", port).await.map(drop)
}

/// Asks rpcbind where a program listens.
async fn port_of(
    server: SocketAddr,
    service: &'static str,
    (program, version): (u32, u32),
) -> Result<u16, NfsServerError> {
    let mut portmapper = PortmapperClient::new(connect(server, "rpcbind", PMAP_PORT).await?);
    let asked = timeout(NFS_SERVER_TIMEOUT, portmapper.getport(program, version, IPPROTO_TCP)).await;
    let port = asked.map_err(|_elapsed| silent("rpcbind", PMAP_PORT, io::ErrorKind::TimedOut.into()))?;
    port.map_err(|source| NfsServerError::Unknown { service, source })
}

async fn connect(mut server: SocketAddr, service: &'static str, port: u16) -> Result<Stream, NfsServerError> {
    server.set_port(port);
    let connected = bounded(TcpStream::connect(server)).await;
    connected.map(Stream).map_err(|source| silent(service, port, source))
}

fn silent(service: &'static str, port: u16, source: io::Error) -> NfsServerError {
    NfsServerError::Silent { service, port, source }
}

async fn bounded<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(NFS_SERVER_TIMEOUT, asked).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}
