//! What is typed after `snapshot`, `clone` and `import`.

use clap::{Args as Arguments, Subcommand};

use super::OneDomain;

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Keep the content of a domain's disks under a name
    ///
    /// Inside each qcow2 disk that the domain alone writes; on all of them or on none.
    Create(OneSnapshot),
    /// List the snapshots of a domain
    List(OneDomain),
    /// Make the content of a domain's disks what it was; what was written since is lost
    Revert(OneSnapshot),
    /// Forget a snapshot
    Delete(OneSnapshot),
}

#[derive(Debug, Arguments)]
pub(crate) struct OneSnapshot {
    /// The domain's name or UUID
    pub(crate) domain: String,
    /// The snapshot's name
    pub(crate) name: String,
}

#[derive(Debug, Arguments)]
pub(crate) struct Clone {
    /// Name or UUID
    pub(crate) domain: String,
    /// The new domain's name
    pub(crate) name: String,
    /// Where the copy of a disk goes, as in vda=/srv/web2.qcow2; may be given more than once
    #[arg(long, value_name = "DISK=PATH", value_parser = file)]
    pub(crate) file: Vec<(String, String)>,
}

#[derive(Debug, Arguments)]
pub(crate) struct Import {
    /// libvirt:NAME, or a file with a definition, or - for standard input
    #[arg(value_name = "libvirt:NAME|FILE")]
    pub(crate) what: String,
}

fn file(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((disk, path)) if !disk.is_empty() && path.starts_with('/') => Ok((disk.into(), path.into())),
        Some(_) | None => Err("write a disk and an absolute path, as in vda=/srv/web2.qcow2"),
    }
}
