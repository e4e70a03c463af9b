//! Small files on an NFS server, where no host has mounted it: QEMU reaches its `nfs://` disks by a client of its own, and
//! what belongs beside such a disk is reached in the same way. NFS version 3 (RFC 1813), as root, from a privileged port,
//! one connection for each file. It bounds no time; whoever calls it does. Main functions: [`read`], [`write`], [`remove`].

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use nfs3_client::io::{AsyncRead, AsyncWrite};
use nfs3_client::net::Connector;
use nfs3_client::nfs3_types::mount::mountstat3;
use nfs3_client::nfs3_types::nfs3::{
    CREATE3args, LINK3args, LOOKUP3args, Nfs3Option, Nfs3Result, READ3args, REMOVE3args, RENAME3args,
    WRITE3args, createhow3, diropargs3, filename3, nfs_fh3, nfsstat3, sattr3, stable_how,
};
use nfs3_client::nfs3_types::rpc::{auth_unix, fragment_header, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::{ConnectError, MountError, Nfs3Connection, Nfs3ConnectionBuilder, PortmapError, RpcError};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::limits::{NFS_REPLY_BYTES_MAX, RECORD_BYTES_MAX};
use crate::record::Replace;

/// Mode of a file that is made.
const MODE: u32 = 0o600;

/// What a file on a server is written as: QEMU's own form of it.
const SCHEME: &str = "nfs://";

/// Whether a disk is named as one that QEMU reaches by its own NFS client, `nfs://HOST/PATH`: no file of this host.
#[must_use]
pub fn is_over_nfs(disk: &Path) -> bool {
    split(disk).is_some()
}

/// Server and path of a file that is written as `nfs://HOST/PATH`; none for a path of this host, which begins with `/`.
pub(crate) fn split(file: &Path) -> Option<(&str, &str)> {
    let rest = file.to_str()?.strip_prefix(SCHEME)?;
    Some(rest.split_at(rest.find('/')?))
}

/// A connection to a server that may answer anything, and may end at any time.
pub(crate) struct Stream(pub(crate) TcpStream);

impl AsyncRead for Stream {
    async fn async_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes).await
    }

    /// The crate's own goes on for ever at the end of a stream, and takes as much memory as a reply says that it has: the
    /// four bytes before a reply are read alone (RFC 5531, section 11), so its length is looked at here.
    async fn async_read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(bytes).await?;
        match <[u8; 4]>::try_from(&*bytes) {
            Ok(mark) if fragment_header::from(mark).fragment_length() > NFS_REPLY_BYTES_MAX => {
                let said = "the server announces a reply that is too long to be one";
                Err(io::Error::new(io::ErrorKind::InvalidData, said))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl AsyncWrite for Stream {
    async fn async_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).await
    }

    async fn async_write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }
}

/// Makes such connections.
struct Dial;

impl Connector for Dial {
    type Connection = Stream;

    async fn connect(&self, server: SocketAddr) -> io::Result<Stream> {
        TcpStream::connect(server).await.map(Stream)
    }

    async fn connect_with_port(&self, server: SocketAddr, port: u16) -> io::Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
        socket.connect(server).await.map(Stream)
    }
}

/// A directory on a server.
struct Directory {
    connection: Nfs3Connection<Stream>,
    handle: nfs_fh3,
}

/// The bytes of a file, at most one more than [`RECORD_BYTES_MAX`]; none where there is no such file in a directory that
/// exists.
pub(crate) async fn read(host: &str, path: &str) -> io::Result<Option<Vec<u8>>> {
    let (mut directory, name) = open(host, path).await?;
    let args = LOOKUP3args { what: directory.named(name) };
    let file = match directory.connection.lookup(&args).await.map_err(rpc)? {
        Nfs3Result::Ok(found) => found.object,
        Nfs3Result::Err((nfsstat3::NFS3ERR_NOENT, _)) => return Ok(None),
        Nfs3Result::Err((status, _)) => return Err(refused(status)),
    };
    let mut bytes = Vec::new();
    while (bytes.len() as u64) <= RECORD_BYTES_MAX {
        let count = u32::try_from(RECORD_BYTES_MAX + 1 - bytes.len() as u64).unwrap_or(u32::MAX);
        let args = READ3args { file: file.clone(), offset: bytes.len() as u64, count };
        let read = answer(directory.connection.read(&args).await)?;
        bytes.extend_from_slice(&read.data);
        if read.eof || read.data.is_empty() {
            break;
        }
    }
    Ok(Some(bytes))
}

/// Writes a file, durably: under another name first, which then becomes its own.
pub(crate) async fn write(host: &str, path: &str, bytes: &[u8], replace: Replace) -> io::Result<()> {
    let (mut directory, name) = open(host, path).await?;
    let fresh = format!(".{name}.{:016x}", RandomState::new().hash_one(name));
    let file = directory.create(&fresh).await?;
    let written = directory.fill(file, &fresh, name, bytes, replace).await;
    if written.is_err() || matches!(replace, Replace::No) {
        // The first error is the one to tell; a name that stays is one that nothing reads.
        let _ = directory.remove(&fresh).await;
    }
    written
}

/// Removes a file; one that is not there is removed.
pub(crate) async fn remove(host: &str, path: &str) -> io::Result<()> {
    let (mut directory, name) = open(host, path).await?;
    match directory.remove(name).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Mounts the directory of a file, as QEMU's own client does; the rest is the file's name.
async fn open<'a>(host: &str, path: &'a str) -> io::Result<(Directory, &'a str)> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let found = tokio::net::lookup_host((host, 0)).await?.find(|found| found.is_ipv4());
    let no_address = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the server has no IPv4 address");
    let address: IpAddr = found.ok_or_else(no_address)?.ip();
    let root = auth_unix { uid: 0, gid: 0, ..auth_unix::default() };
    let parent = if parent.is_empty() { "/" } else { parent };
    let builder = Nfs3ConnectionBuilder::new(Dial, address.to_string(), parent)
        .credential(opaque_auth::auth_unix(&root));
    let connection = builder.mount().await.map_err(unconnected)?;
    let handle = connection.root_nfs_fh3();
    Ok((Directory { connection, handle }, name))
}

impl Directory {
    fn named<'a>(&self, name: &'a str) -> diropargs3<'a> {
        diropargs3 { dir: self.handle.clone(), name: filename3::from(name.as_bytes()) }
    }

    /// Makes an empty file; one that is there is refused.
    async fn create(&mut self, name: &str) -> io::Result<nfs_fh3> {
        let attributes = sattr3 { mode: Nfs3Option::Some(MODE), ..sattr3::default() };
        let args = CREATE3args { where_: self.named(name), how: createhow3::GUARDED(attributes) };
        let made = answer(self.connection.create(&args).await)?;
        match made.obj {
            Nfs3Option::Some(handle) => Ok(handle),
            Nfs3Option::None => {
                let args = LOOKUP3args { what: self.named(name) };
                Ok(answer(self.connection.lookup(&args).await)?.object)
            }
        }
    }

    /// Writes into a fresh file and gives it its name: over the one that is there, or only where none is.
    async fn fill(
        &mut self,
        file: nfs_fh3,
        fresh: &str,
        name: &str,
        bytes: &[u8],
        replace: Replace,
    ) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            let left = &bytes[written..];
            let args = WRITE3args {
                file: file.clone(),
                offset: written as u64,
                count: u32::try_from(left.len()).unwrap_or(u32::MAX),
                stable: stable_how::FILE_SYNC,
                data: Opaque::borrowed(left),
            };
            match answer(self.connection.write(&args).await)?.count as usize {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => written += count,
            }
        }
        match replace {
            Replace::Yes => {
                let args = RENAME3args { from: self.named(fresh), to: self.named(name) };
                answer(self.connection.rename(&args).await).map(drop)
            }
            Replace::No => {
                let args = LINK3args { file, link: self.named(name) };
                answer(self.connection.link(&args).await).map(drop)
            }
        }
    }

    async fn remove(&mut self, name: &str) -> io::Result<()> {
        let args = REMOVE3args { object: self.named(name) };
        answer(self.connection.remove(&args).await).map(drop)
    }
}

fn answer<T, E>(answer: Result<Nfs3Result<T, E>, RpcError>) -> io::Result<T> {
    match answer.map_err(rpc)? {
        Nfs3Result::Ok(value) => Ok(value),
        Nfs3Result::Err((status, _)) => Err(refused(status)),
    }
}

fn rpc(error: RpcError) -> io::Error {
    match error {
        RpcError::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn unconnected(error: ConnectError) -> io::Error {
    match error {
        ConnectError::Io(error) => error,
        ConnectError::Mount(MountError::Denied(mountstat3::MNT3ERR_NOENT)) => Errno::NOENT.into(),
        ConnectError::Mount(MountError::Denied(mountstat3::MNT3ERR_ACCES | mountstat3::MNT3ERR_PERM)) => {
            Errno::ACCESS.into()
        }
        ConnectError::Mount(MountError::Rpc(error)) | ConnectError::Portmap(PortmapError::Rpc(error)) => {
            rpc(error)
        }
        ConnectError::Mount(MountError::Denied(_)) | ConnectError::Portmap(_) => io::Error::other(error),
    }
}

/// The system's number for a status that means the same: up to 31 they are equal, above they are not.
fn refused(status: nfsstat3) -> io::Error {
    let errno = match status {
        nfsstat3::NFS3ERR_PERM => Errno::PERM,
        nfsstat3::NFS3ERR_NOENT => Errno::NOENT,
        nfsstat3::NFS3ERR_IO => Errno::IO,
        nfsstat3::NFS3ERR_ACCES => Errno::ACCESS,
        nfsstat3::NFS3ERR_EXIST => Errno::EXIST,
        nfsstat3::NFS3ERR_NOTDIR => Errno::NOTDIR,
        nfsstat3::NFS3ERR_ISDIR => Errno::ISDIR,
        nfsstat3::NFS3ERR_NOSPC => Errno::NOSPC,
        nfsstat3::NFS3ERR_ROFS => Errno::ROFS,
        nfsstat3::NFS3ERR_NAMETOOLONG => Errno::NAMETOOLONG,
        nfsstat3::NFS3ERR_DQUOT => Errno::DQUOT,
        nfsstat3::NFS3ERR_STALE => Errno::STALE,
        status => return io::Error::other(status.to_string()),
    };
    errno.into()
}
