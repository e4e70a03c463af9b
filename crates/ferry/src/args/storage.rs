//! What is typed after `migrate` and `check` about a domain's disks, and about what is called otherwise on the target.
//! Main type: [`Storage`].

use clap::{Args as Arguments, ValueEnum};

/// Disks that go with the domain, other names, another identity.
#[derive(Debug, Arguments)]
#[command(next_help_heading = "Storage and names")]
pub(crate) struct Storage {
    /// Copy the disks: for hosts that do not see the same storage
    #[arg(long)]
    pub(crate) copy_storage: bool,
    /// Make one image of each chain of images
    #[arg(long, requires = "copy_storage")]
    pub(crate) flatten: bool,
    /// Copy the images in CD drives, too
    #[arg(long, requires = "copy_storage")]
    pub(crate) copy_media: bool,
    /// Where a disk, by its name or path, lies on the target, as in vda=/srv/web1.qcow2; may be repeated
    #[arg(long, value_name = "DISK=PATH", value_parser = disk)]
    pub(crate) map_disk: Vec<(String, String)>,
    /// What the pool that disks lie in is called on the target; may be repeated
    #[arg(long, value_name = "POOL=POOL", value_parser = names)]
    pub(crate) map_pool: Vec<(String, String)>,
    /// What a bridge or a network is called on the target; may be repeated
    #[arg(long, value_name = "BRIDGE=BRIDGE", value_parser = names)]
    pub(crate) map_bridge: Vec<(String, String)>,
    /// Give it a new UUID on the target; shut off only, for a guest that runs has seen its UUID
    #[arg(long, requires = "offline")]
    pub(crate) new_uuid: bool,
    /// Give it another name on the target; shut off only
    #[arg(long, value_name = "NAME", requires = "offline")]
    pub(crate) rename: Option<String>,
    /// Leave the domain where it is as well: the copy gets a UUID and MAC addresses of its own
    #[arg(long, requires_all = ["offline", "copy_storage"])]
    pub(crate) keep_source: bool,
}

/// How a copy is proven to be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyWord {
    /// The target reads what it has written once, past its cache
    Disk,
    /// What came over the network is compared, and not what the target's disk made of it
    Wire,
}

/// What becomes of the disks on the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceDisksWord {
    /// They stay; a way back sends only what differs
    Keep,
    /// They are removed once the domain is the target's
    Delete,
}

fn disk(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((disk, path)) if !disk.is_empty() && path.starts_with('/') => Ok((disk.into(), path.into())),
        Some(_) | None => Err("write a disk and an absolute path, as in vda=/srv/web1.qcow2"),
    }
}

fn names(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((here, there)) if !here.is_empty() && !there.is_empty() => Ok((here.into(), there.into())),
        Some(_) | None => Err("write the name here and the name there, as in images=fast"),
    }
}
