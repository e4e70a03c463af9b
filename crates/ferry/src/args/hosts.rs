//! What is typed after `host`.

use clap::{Args as Arguments, Subcommand};
use jiff::SignedDuration;

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Show facts about the host: processors, memory, accelerators, hosts it knows
    Info,
    /// Make a token that lets one host join, once
    ///
    /// The first token of all makes a CA on this host, whose agent then holds its key: it lets hosts in, renews their
    /// certificates and removes them. Others join at this host, too.
    Token(HostToken),
    /// Join the host that made a token, and with it all others
    ///
    /// The key of this host's certificate is made here and never leaves it. The other host is trusted by the fingerprint
    /// in the token. Nothing has to be restarted, on no host.
    Join(HostJoin),
    /// List hosts, and ask each whether it is there
    List,
    /// Remove a host: no other one trusts its certificate from now on
    ///
    /// Said on the host that holds the CA's key, and refused while a migration between both is under way. Domains that run on
    /// the removed host go on there. Certificates that `ferry ca issue` made for it stay good.
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Arguments)]
pub(crate) struct HostToken {
    /// How long it lets a host in: 15m, 1h, 48h; at most 168h
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) expires: SignedDuration,
    /// The one host that it lets in, by its name; without it, any
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where other hosts reach this one, where agent.toml has no `listen`
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Arguments)]
pub(crate) struct HostJoin {
    /// Where the other host is reached; without it, where the token says
    pub(crate) address: Option<String>,
    /// What `ferry host token` printed there; - reads it from standard input
    #[arg(long)]
    pub(crate) token: String,
    /// Where other hosts reach this one, where agent.toml has no `listen`; without it, the address from which it talks to
    /// the other host
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub(crate) listen: Option<String>,
    /// Give up the certificate that this host has, usable or not, for the new one
    #[arg(long)]
    pub(crate) replace: bool,
}
