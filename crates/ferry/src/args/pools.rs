//! What is typed after `pool` and `vol`.

use std::path::PathBuf;

use clap::{Args as Arguments, Subcommand, ValueEnum};

use crate::measure;

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Define a pool from libvirt pool XML or from options, or define one anew that is not started
    ///
    /// Nothing is looked at or mounted before the pool is started.
    Define(DefinePool),
    /// Make a pool ready: mount its export, and find out whether this host can work in it
    ///
    /// A file is written, read back from the server and removed again. Found and named: another mount in that place, an
    /// export with root_squash, a stale export, a server that reads zeros.
    Start(OnePool),
    /// Let go of a pool: unmount its export; volumes stay as they are
    Stop(OnePool),
    /// List pools
    List(EveryHost),
    /// Show one pool, and find out whether it works
    Info(OnePool),
    /// Print a pool's definition
    Dumpxml(OnlyPool),
    /// Forget a pool that is not started; its directory and its volumes stay
    Undefine(OnePool),
    /// Start a pool when its host boots
    Autostart(AutostartPool),
}

#[derive(Debug, Arguments)]
pub(crate) struct EveryHost {
    /// On this host and on every host that it knows
    #[arg(long)]
    pub(crate) all_hosts: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct OnlyPool {
    /// Name or UUID
    pub(crate) pool: String,
}

#[derive(Debug, Arguments)]
pub(crate) struct OnePool {
    /// Name or UUID
    pub(crate) pool: String,
    #[command(flatten)]
    pub(crate) every: EveryHost,
}

#[derive(Debug, Arguments)]
pub(crate) struct AutostartPool {
    #[command(flatten)]
    pub(crate) one: OnePool,
    /// Do not start it any more
    #[arg(long)]
    pub(crate) disable: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct DefinePool {
    /// File with libvirt pool XML, or - for standard input
    #[arg(required_unless_present = "name", conflicts_with_all = ["name", "kind", "path", "source", "nfs_version", "options"])]
    pub(crate) file: Option<PathBuf>,
    /// Its name
    #[arg(long, requires_all = ["kind", "path"])]
    pub(crate) name: Option<String>,
    /// dir: a directory that is there; netfs: where an NFS export is mounted
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<KindWord>,
    /// Where its volumes lie, the same on every host
    #[arg(long)]
    pub(crate) path: Option<PathBuf>,
    /// The NFS server and what it exports, as in nfs:/nfs-share
    #[arg(long, value_name = "HOST:EXPORT")]
    pub(crate) source: Option<String>,
    /// The version of NFS: 3, 4.1 … [default: what client and server agree on]
    #[arg(long, value_name = "VERSION")]
    pub(crate) nfs_version: Option<String>,
    /// Options of mount(8), as in hard,rsize=65536
    #[arg(long, value_name = "OPTIONS", value_delimiter = ',')]
    pub(crate) options: Vec<String>,
    #[command(flatten)]
    pub(crate) every: EveryHost,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KindWord {
    Dir,
    Netfs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vol {
    /// List the volumes of a pool
    List(OnlyPool),
    /// Make an empty volume
    Create(CreateVolume),
    /// Remove a volume that no domain uses, on whatever host
    Delete(OneVolume),
    /// Show one volume: what it stands on, and who uses it
    Info(OneVolume),
    /// Give a volume another size while no guest has it open
    Resize(ResizeVolume),
    /// Make a volume of an image file of this machine
    ///
    /// The bytes are taken as they are; the volume is there when all of them are.
    Upload(Transfer),
    /// Write a volume that no guest writes to into a file of this machine
    Download(Transfer),
}

#[derive(Debug, Arguments)]
pub(crate) struct OneVolume {
    /// The pool's name or UUID
    pub(crate) pool: String,
    /// The volume's name
    pub(crate) volume: String,
}

#[derive(Debug, Arguments)]
pub(crate) struct CreateVolume {
    #[command(flatten)]
    pub(crate) one: OneVolume,
    /// Of the disk that a guest will see, as in 20GiB
    #[arg(value_name = "SIZE", value_parser = measure::size)]
    pub(crate) capacity_bytes: u64,
    /// Its format
    #[arg(long, value_enum, default_value_t = FormatWord::Qcow2)]
    pub(crate) format: FormatWord,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormatWord {
    Qcow2,
    Raw,
}

#[derive(Debug, Arguments)]
pub(crate) struct ResizeVolume {
    #[command(flatten)]
    pub(crate) one: OneVolume,
    /// Of the disk that a guest will see, as in 20GiB
    #[arg(value_name = "SIZE", value_parser = measure::size)]
    pub(crate) capacity_bytes: u64,
    /// It may lose its end
    #[arg(long)]
    pub(crate) shrink: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct Transfer {
    #[command(flatten)]
    pub(crate) one: OneVolume,
    /// File of this machine
    pub(crate) file: PathBuf,
}
