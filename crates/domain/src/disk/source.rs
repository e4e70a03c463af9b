//! `<source>` of a disk: a file, a block device, a file behind QEMU's own NFS client. It never opens it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::reader::{Node, Reader};
use crate::word::words;

/// Where a disk's blocks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// `type='file'`, `<source file=…>`: an absolute path.
    File(PathBuf),
    /// `type='block'`, `<source dev=…>`: a block device of the host, an absolute path.
    Block(PathBuf),
    /// `type='network'`, `<source protocol='nfs' name=…><host name=…/>`: QEMU's own NFS client (its `nfs` driver).
    Nfs {
        /// Name or address of the server.
        host: String,
        /// Path on the server, from the root of what it exports.
        path: String,
    },
}

impl DiskSource {
    /// The file or device on this host; none where the blocks come over the network.
    pub fn path(&self) -> Option<&Path> {
        match self {
            DiskSource::File(path) | DiskSource::Block(path) => Some(path),
            DiskSource::Nfs { host: _, path: _ } => None,
        }
    }

    /// The element's `type`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            DiskSource::File(_) => "file",
            DiskSource::Block(_) => "block",
            DiskSource::Nfs { host: _, path: _ } => "network",
        }
    }
}

impl fmt::Display for DiskSource {
    /// A path, or `nfs://HOST/PATH`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskSource::File(path) | DiskSource::Block(path) => path.display().fmt(formatter),
            DiskSource::Nfs { host, path } => write!(formatter, "nfs://{host}{path}"),
        }
    }
}

words! {
    /// What happens when a medium is not there.
    pub enum StartupPolicy {
        /// The domain does not start. The default.
        Mandatory = "mandatory",
        /// The domain does not start; libvirt would drop it from a domain that moves, Ferry does not.
        Requisite = "requisite",
        /// The drive is empty then.
        Optional = "optional",
    }
}

impl DiskSource {
    /// Reads the disk's `type` and `<source>`. None also where a drive is empty.
    pub(super) fn read<'a>(
        reader: &mut Reader<'a>,
        disk: Node<'a>,
        may_be_empty: bool,
    ) -> Option<DiskSource> {
        reader.required(disk, "type", "write type='file'");
        let kind = disk.attribute("type").unwrap_or("file");
        let Some(attribute) = attribute(kind) else {
            refuse_kind(reader, disk, kind);
            return None;
        };
        let example = format!("add <source {attribute}='…'/>");
        let node = match reader.child(disk, "source") {
            Some(node) => node,
            None if may_be_empty => return None,
            None => reader.required_child(disk, "source", &example)?,
        };
        if kind == "network" {
            return nfs(reader, node);
        }
        reader.vocabulary(node, &[attribute, "index", "startupPolicy"], &["seclabel"]);
        if may_be_empty && !node.has_attribute(attribute) {
            return None;
        }
        let mend = format!("write the path of the image as `{attribute}`");
        let path = reader.required(node, attribute, &mend)?;
        let path = reader.path(node, Some(attribute), path)?;
        Some(if kind == "block" { DiskSource::Block(path) } else { DiskSource::File(path) })
    }
}

/// The attribute of `<source>` that names the blocks.
pub(crate) fn attribute(kind: &str) -> Option<&'static str> {
    match kind {
        "file" => Some("file"),
        "block" => Some("dev"),
        "network" => Some("name"),
        _ => None,
    }
}

fn refuse_kind<'a>(reader: &mut Reader<'a>, disk: Node<'a>, kind: &str) {
    let mend = match kind {
        "volume" => "write type='file' and the path of the volume: <source file='…'/>",
        "dir" => "put the files onto an image, and write type='file'",
        _ => "put the disk into a file and write type='file'",
    };
    let message = format!("`{kind}` is not supported as `type` of <disk>");
    reader.refuse_attribute(disk, "type", message, mend);
}

fn nfs<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<DiskSource> {
    let mend = "mount the storage on every host, and write type='file'";
    let protocol = reader.required(node, "protocol", "write protocol='nfs'")?;
    if protocol != "nfs" {
        let message = format!("protocol `{protocol}` is not supported, only `nfs` is");
        reader.refuse_attribute(node, "protocol", message, mend);
        return None;
    }
    reader.vocabulary(node, &["protocol", "name", "index", "startupPolicy"], &["host", "seclabel"]);
    let name = reader.required(node, "name", "write the path on the server as `name`")?;
    let host = reader.required_child(node, "host", "add <host name='…'/>, the NFS server")?;
    reader.vocabulary(host, &["name"], &[]);
    let server = reader.required(host, "name", "write the server's name or address")?;
    let path = if name.starts_with('/') { name.to_owned() } else { format!("/{name}") };
    if path.contains(['\n', '?']) || server.contains(|c: char| c.is_whitespace() || c == '/') {
        reader.refuse(node, "this is not a file on an NFS server", "write its host and its path");
    }
    Some(DiskSource::Nfs { host: server.to_owned(), path })
}
