//! Why a host did not join others, and why others do not know it. Main type: [`JoinFailure`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::ca::CaError;
use crate::identity::IdentityError;

/// Why a host did not join, was not let in, or was not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinFailure {
    #[error("this is no token: it is not complete, or was made for another version of Ferry")]
    TokenMalformed,
    #[error("host {host} knows no such token")]
    TokenUnknown { host: String },
    #[error("the token's secret is wrong")]
    TokenWrong,
    #[error("the token came with a wrong secret {attempts} times, and lets nobody in any more")]
    TokenVoid { attempts: u32 },
    #[error("the token was used already: host {by} has joined with it")]
    TokenUsed { by: String },
    #[error("the token expired at {at}; the clock of host {host} says {now}")]
    TokenExpired { at: String, now: String, host: String },
    #[error("the token is for host {bound}, and this is host {host}")]
    TokenForAnother { bound: String, host: String },
    #[error("a token lets a host in for at least a second and at most {max:?}, not for {asked:?}")]
    TokenValidity { asked: Duration, max: Duration },
    #[error("{count} tokens are remembered already")]
    TokensMany { count: usize },
    #[error("there is a host {host} already, at {address}")]
    NameTaken { host: String, address: String },
    #[error("{name:?} cannot be a host's name in a certificate")]
    NameInvalid { name: String },
    #[error("host {host} has joined already{}; its CA has the fingerprint {fingerprint}", .issuer.as_ref().map(|issuer| format!(" (the CA's key is on host {issuer})")).unwrap_or_default())]
    AlreadyJoined { host: String, issuer: Option<String>, fingerprint: String },
    #[error("host {host} holds the key of a CA of its own, in {directory}")]
    HoldsCa { host: String, directory: PathBuf },
    #[error("this host made the token")]
    OwnToken,
    #[error("host {host} does not hold the CA's key{}", .issuer.as_ref().map(|issuer| format!("; host {issuer} does")).unwrap_or_default())]
    NotIssuer { host: String, issuer: Option<String> },
    #[error("the CA in {directory} is not the one that this host's certificate is from")]
    OtherCa { directory: PathBuf },
    #[error(
        "the clock of this host says {here}, that of host {host} says {there}: certificates would seem too young or too old"
    )]
    ClockSkew { host: String, here: String, there: String },
    #[error("nothing says where other hosts reach this one")]
    ListenUnknown,
    #[error("{text:?} is no address with a port that other hosts can reach")]
    ListenInvalid { text: String },
    #[error("this agent cannot listen on {address}")]
    ListenUnusable {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("this agent listens on {address} already")]
    ListenFixed { address: SocketAddr },
    #[error("{address:?} is no address of an agent")]
    Address { address: String },
    #[error("host {host} refuses: {}", .problem.detail)]
    Refused { host: String, problem: Box<api::Problem> },
    #[error("what host {host} answered cannot be used")]
    Answer {
        host: String,
        #[source]
        source: client::tls::TlsError,
    },
    #[error("host {host} answered with another CA than the one in the token")]
    AnswerCa { host: String },
    #[error("the host that holds the CA's key cannot be removed: nobody could be let in or removed any more")]
    RemoveIssuer,
    #[error("host {host} has not joined: it stands in the configuration of host {here}")]
    Configured { host: String, here: String },
    #[error("domain {domain} is on its way between this host and host {host} (migration {migration})")]
    Migrating { host: String, domain: String, migration: Uuid },
    #[error(
        "this host's certificate ends soon by its own clock, and not by that of host {host}, which gives no other one yet"
    )]
    NotDue { host: String },
    #[error("the list of hosts does not come from host {issuer}")]
    NotFromIssuer { issuer: String },
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}
