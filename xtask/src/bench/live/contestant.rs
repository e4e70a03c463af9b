//! Who moves the guest, and with which command. Main type: [`Contestant`]. One more is a variant, with a line in
//! [`Contestant::name`] and one in [`Contestant::means`].

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Everyone who moves a guest. What needs libvirt takes part only with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contestant {
    /// ferry migrate
    Ferry,
    /// ferry migrate --plaintext
    FerryPlaintext,
    /// QMP, by hand: a blackout of 30 ms, no limit on bandwidth
    Qemu,
    /// virsh migrate --live, over plain TCP, as all of virsh's but the last
    Virsh,
    /// --parallel
    VirshParallel,
    /// --parallel --comp-methods zstd
    VirshParallelZstd,
    /// --comp-methods xbzrle
    VirshXbzrle,
    /// --comp-methods xbzrle with a cache that holds what is rewritten
    VirshXbzrleLarge,
    /// --auto-converge
    VirshAutoConverge,
    /// --postcopy --postcopy-after-precopy
    VirshPostcopy,
    /// --tls
    VirshTls,
}

/// What moves a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// `ferry migrate`, with these flags.
    Ferry(&'static [&'static str]),
    /// A QEMU that nobody manages.
    ByHand,
    /// `virsh migrate --live`, with these flags.
    Virsh(&'static [&'static str]),
}

impl Contestant {
    /// What it is called in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::Ferry => "ferry",
            Contestant::FerryPlaintext => "ferry --plaintext",
            Contestant::Qemu => "QEMU by hand",
            Contestant::Virsh => "virsh",
            Contestant::VirshParallel => "virsh --parallel",
            Contestant::VirshParallelZstd => "virsh --parallel, zstd",
            Contestant::VirshXbzrle => "virsh, xbzrle",
            Contestant::VirshXbzrleLarge => "virsh, xbzrle 512 MiB",
            Contestant::VirshAutoConverge => "virsh --auto-converge",
            Contestant::VirshPostcopy => "virsh --postcopy",
            Contestant::VirshTls => "virsh --tls",
        }
    }

    /// How it moves a guest.
    pub(crate) fn means(self) -> Means {
        match self {
            Contestant::Ferry => Means::Ferry(&[]),
            Contestant::FerryPlaintext => Means::Ferry(&["--plaintext"]),
            Contestant::Qemu => Means::ByHand,
            Contestant::Virsh => Means::Virsh(&[]),
            Contestant::VirshParallel => Means::Virsh(&["--parallel"]),
            Contestant::VirshParallelZstd => Means::Virsh(&["--parallel", "--comp-methods", "zstd"]),
            Contestant::VirshXbzrle => Means::Virsh(&["--comp-methods", "xbzrle"]),
            Contestant::VirshXbzrleLarge => {
                Means::Virsh(&["--comp-methods", "xbzrle", "--comp-xbzrle-cache", "536870912"])
            }
            Contestant::VirshAutoConverge => Means::Virsh(&["--auto-converge"]),
            Contestant::VirshPostcopy => Means::Virsh(&["--postcopy", "--postcopy-after-precopy"]),
            Contestant::VirshTls => Means::Virsh(&["--tls"]),
        }
    }

    /// Whether it needs libvirt.
    pub(crate) fn is_virsh(self) -> bool {
        matches!(self.means(), Means::Virsh(_))
    }
}
