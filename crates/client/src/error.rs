//! What can go wrong between this process and an agent, in words that say what to do. Main type:
//! [`ClientError`].

use std::time::Duration;

use api::Protocols;

use crate::tls::Distrust;

/// Why a request got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing answers at the address. Nothing was sent.
    #[error("cannot connect to the agent at {address}")]
    Connect {
        /// The socket path, or host and port.
        address: String,
        /// Why, by the kernel.
        source: std::io::Error,
    },
    /// The two sides do not trust each other's certificates, or one of them speaks no TLS 1.3. Nothing but a
    /// question for the version was sent.
    #[error("no trusted connection with the agent at {address}")]
    Tls {
        /// Host and port.
        address: String,
        /// What rustls says; often an alert of the other side.
        source: std::io::Error,
    },
    /// The name is no DNS name or IP address, so no certificate can hold it.
    #[error("{name:?} is not a host name that a certificate could carry")]
    ServerName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        source: rustls_pki_types::InvalidDnsNameError,
    },
    /// `ssh` ended before an agent had answered through it. Nothing but a question for the version was sent.
    #[error("no connection to an agent through ssh to {ssh_host}{}", tail(said))]
    Ssh {
        /// The host as given to `ssh`.
        ssh_host: String,
        /// The last lines that `ssh` wrote to its standard error; may be empty.
        said: String,
    },
    /// The connection broke.
    #[error("the connection to the agent at {address} broke {}", if *.sent { "while it worked on the request" } else { "before the request was sent" })]
    Io {
        /// Where.
        address: String,
        /// Whether the agent may have got the request.
        sent: bool,
        /// How it broke.
        source: hyper::Error,
    },
    /// The agent answered that it did not do what was asked.
    #[error("{0}")]
    Problem(api::Problem),
    /// The answer is not one that an agent of Ferry gives.
    #[error("what answers at {address} does not speak as an agent of Ferry")]
    Protocol {
        /// Where.
        address: String,
        /// What is wrong with the answer.
        source: ProtocolError,
    },
    /// The other agent speaks another version of the conversation between agents.
    #[error("the agents have no version of their conversation in common: {ours} here, {theirs} at {address}")]
    ProtocolVersion {
        /// Where.
        address: String,
        /// What this side speaks.
        ours: Protocols,
        /// What the other side speaks, or answered in.
        theirs: Protocols,
    },
    /// No answer came in time. The request may have been done.
    #[error("the agent at {address} gave no answer to {request} within {after:?}")]
    TimedOut {
        /// Where.
        address: String,
        /// The method and path.
        request: String,
        /// How long was waited.
        after: Duration,
    },
    /// A stream of events ended before its last one. Ask again: a migration's is replayed from the beginning.
    #[error("the agent at {address} closed the stream of events before its end")]
    EventsCut {
        /// Where.
        address: String,
    },
}

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// An HTTP status without a problem that says more.
    #[error("HTTP status {status} without a reason")]
    Status {
        /// The status.
        status: u16,
    },
    /// The body is not what this endpoint answers with.
    #[error("the answer to {request} has an unexpected form")]
    Body {
        /// The method and path.
        request: String,
        /// Where in the body, and what was expected.
        source: serde_json::Error,
    },
    /// The body is not text.
    #[error("the answer to {request} is not UTF-8")]
    Utf8 {
        /// The method and path.
        request: String,
        /// Where.
        source: std::string::FromUtf8Error,
    },
    /// The body is longer than [`crate::limits::BODY_BYTES_MAX`], or its transfer is malformed.
    #[error("the body of the answer to {request} could not be read")]
    Unreadable {
        /// The method and path.
        request: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An event is longer than [`crate::limits::EVENT_BYTES_MAX`].
    #[error("an event is longer than {limit} bytes")]
    EventTooLong {
        /// The limit.
        limit: usize,
    },
    /// The header that carries the version of the conversation between agents is absent or not a number.
    #[error("the header {} is missing or not a number", api::PROTOCOL_HEADER)]
    NoVersion,
    /// The other side does not speak HTTP/1.1.
    #[error("it does not speak HTTP/1.1")]
    NotHttp {
        /// What was read instead.
        source: hyper::Error,
    },
}

impl ClientError {
    /// Whether the agent may have received the request. After a pledge this is what separates "the source still
    /// has the right to run" from "in doubt": `false` is certain, `true` is not.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::Ssh { .. } | Self::ServerName { .. } => false,
            Self::Io { sent, .. } => *sent,
            Self::Problem(_)
            | Self::Protocol { .. }
            | Self::ProtocolVersion { .. }
            | Self::TimedOut { .. }
            | Self::EventsCut { .. } => true,
        }
    }

    /// Whether no agent could be reached at all.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::Ssh { .. } | Self::ServerName { .. } => true,
            Self::Io { sent, .. } => !sent,
            Self::Problem(_)
            | Self::TimedOut { .. }
            | Self::Protocol { .. }
            | Self::ProtocolVersion { .. }
            | Self::EventsCut { .. } => false,
        }
    }

    /// Why two sides do not trust each other's certificates, where that is it and it is known.
    #[must_use]
    pub fn distrust(&self) -> Option<Distrust> {
        match self {
            Self::Tls { source, .. } => Distrust::of(source),
            Self::Connect { .. }
            | Self::ServerName { .. }
            | Self::Ssh { .. }
            | Self::Io { .. }
            | Self::Problem(_)
            | Self::Protocol { .. }
            | Self::ProtocolVersion { .. }
            | Self::TimedOut { .. }
            | Self::EventsCut { .. } => None,
        }
    }

    /// What the person or program at this end can do about it.
    #[must_use]
    pub fn mend(&self) -> Option<String> {
        let mend = match self {
            Self::Connect { address, source } => match source.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "start the agent with `ferry agent --config FILE`, or say where its socket is with --socket; {address} does not exist"
                ),
                std::io::ErrorKind::PermissionDenied => {
                    format!("run as a user who may write to {address}; by default that is root only")
                }
                std::io::ErrorKind::ConnectionRefused => {
                    format!("start the agent: nothing listens at {address}")
                }
                _ => "check the address, and that the agent runs there".to_owned(),
            },
            Self::Tls { address, source } => match Distrust::of(source) {
                Some(Distrust::CaDiffers { .. }) => format!(
                    "make a new token on that host and compare its CA's fingerprint; if this one is new, somebody between this host and {address} answers in its place"
                ),
                Some(Distrust::RevokedHere) => {
                    "to let this host in again: `ferry host token` on the host that holds the CA's key, `ferry host join --replace` here".to_owned()
                }
                Some(Distrust::RevokedThere) => {
                    "to let it in again: `ferry host token` on the host that holds the CA's key, `ferry host join --replace` there".to_owned()
                }
                Some(Distrust::Clock { .. } | Distrust::ClockThere { .. }) => {
                    "compare the clocks of both hosts (`timedatectl`) and set the wrong one".to_owned()
                }
                Some(Distrust::NotIssuer) => {
                    "join at the host that made the token: `ferry host list` on any host names it".to_owned()
                }
                None => format!(
                    "give both hosts certificates of the same CA (`ferry host join`, or `ferry ca issue`), with the name that {address} is known by, and check both clocks"
                ),
            },
            Self::ServerName { .. } => "use the host's name from its certificate".to_owned(),
            Self::Ssh { ssh_host, said } => ssh_mend(ssh_host, said),
            Self::Io { sent: true, .. } | Self::TimedOut { .. } => {
                "look at what the agent did (`ferry list --all`, its log) before asking again".to_owned()
            }
            Self::Io { sent: false, .. } => "ask again; nothing was sent".to_owned(),
            Self::Problem(problem) => return problem.mend.clone(),
            Self::Protocol { .. } => "check that the address is that of a Ferry agent".to_owned(),
            Self::ProtocolVersion { .. } => "update Ferry on the host that speaks the older ones".to_owned(),
            Self::EventsCut { .. } => {
                "ask again when the agent answers; a migration's events are replayed from the beginning"
                    .to_owned()
            }
        };
        Some(mend)
    }
}

/// What to do about the last words of `ssh`, which ends with the same code whatever was wrong, or of what it ran.
fn ssh_mend(ssh_host: &str, said: &str) -> String {
    let mends = [
        // `ferry dial-stdio` at the other end; its own words may hold the ones below.
        (
            "cannot connect to the agent",
            "start the agent there (`systemctl start ferry-agent`), and log in as root, to whom alone its socket belongs",
        ),
        (
            "Host key verification failed",
            "compare the host's key with the one that you know, as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows it there; only if it is right, forget the old one (`ssh-keygen -R`)",
        ),
        ("Permission denied", "let your key in there (`ssh-copy-id`), or name another user: ssh://root@HOST"),
        (
            "not found",
            "install Ferry there, where a login without a terminal finds it: /usr/bin or /usr/local/bin",
        ),
        ("Could not resolve", "check the name, or give it a HostName in ssh_config"),
        ("Connection refused", "check the port, and that sshd runs there"),
    ];
    let known = mends.into_iter().find(|(words, _)| said.contains(words));
    let trial = || format!("try `ssh {ssh_host} ferry version`: it must work by itself");
    known.map_or_else(trial, |(_, mend)| mend.to_owned())
}

fn tail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}
