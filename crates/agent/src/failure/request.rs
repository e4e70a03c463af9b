//! Why a request is not taken, whatever it is about. Main type: [`RequestFailure`].

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestFailure {
    #[error(
        "the agents have no version of their conversation in common: the one on this host speaks {ours}, the other {theirs}"
    )]
    Protocol { ours: api::Protocols, theirs: String },
    #[error("only an agent with a certificate may ask that, over TLS")]
    NotAnAgent,
    #[error("other agents may not ask that; ask the agent of that host itself")]
    NotLocal,
    #[error("there is no such endpoint")]
    NoEndpoint,
    /// `words` are axum's.
    #[error("the request cannot be taken: {words}")]
    Invalid { status: u16, words: String },
}
