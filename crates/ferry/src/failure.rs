//! How a command fails: what is said and which code the process ends with. Main types: [`Failure`], [`Exit`].

use api::{Outcome, Problem};
use client::ClientError;

use crate::resolve::ResolveError;

/// Exit codes; see the crate's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    Kept = 5,
    InDoubt = 6,
    Lost = 7,
    Interrupted = 130,
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Moved | Outcome::Copied => Self::Done,
            Outcome::Kept => Self::Kept,
            Outcome::InDoubt => Self::InDoubt,
            Outcome::Lost => Self::Lost,
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The agent refused, or could not be asked.
    Client(Box<ClientError>),
    /// The agent refused a definition.
    Definition { problem: Box<Problem>, path: String, xml: String },
    /// What was typed means nothing.
    Resolve(ResolveError),
    /// It must be asked differently, or a person must confirm it.
    Usage { message: String, mend: String },
    /// The operation did not come to its end.
    Unfinished { message: String, mend: String },
    /// Something on this machine went wrong.
    Here(anyhow::Error),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        Self::Resolve(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Here(error)
    }
}

impl Failure {
    /// The code the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => match error.as_ref() {
                ClientError::Problem(problem) => refused(problem.status),
                ClientError::Connect { .. }
                | ClientError::Tls { .. }
                | ClientError::Ssh { .. }
                | ClientError::ServerName { .. }
                | ClientError::Io { sent: false, .. } => Exit::Unreachable,
                ClientError::Io { sent: true, .. }
                | ClientError::Protocol { .. }
                | ClientError::ProtocolVersion { .. }
                | ClientError::TimedOut { .. }
                | ClientError::EventsCut { .. } => Exit::Failed,
            },
            Self::Definition { problem, .. } => refused(problem.status),
            Self::Resolve(_) | Self::Usage { .. } => Exit::Usage,
            Self::Unfinished { .. } | Self::Here(_) => Exit::Failed,
        }
    }

    /// The failure in the form in which agents report theirs. Status 0: no agent said it.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Client(error) => match error.as_ref() {
                ClientError::Problem(problem) => problem.clone(),
                ClientError::TimedOut { .. } => told("agent-silent", error),
                ClientError::Protocol { .. } => told("agent-not-understood", error),
                ClientError::ProtocolVersion { .. } => told("protocol-version", error),
                ClientError::EventsCut { .. } | ClientError::Io { sent: true, .. } => {
                    told("connection-broken", error)
                }
                ClientError::Connect { .. }
                | ClientError::Tls { .. }
                | ClientError::Ssh { .. }
                | ClientError::ServerName { .. }
                | ClientError::Io { sent: false, .. } => told("agent-unreachable", error),
            },
            Self::Definition { problem, .. } => (**problem).clone(),
            Self::Resolve(error) => {
                problem("wrong-usage", chain(error), Some("see `ferry --help`".to_owned()))
            }
            Self::Usage { message, mend } => problem("wrong-usage", message.clone(), Some(mend.clone())),
            Self::Unfinished { message, mend } => problem("unfinished", message.clone(), Some(mend.clone())),
            Self::Here(error) => problem("failed-here", format!("{error:#}"), None),
        }
    }
}

/// Every client error (4xx) leaves everything as it was.
fn refused(status: u16) -> Exit {
    if (400..500).contains(&status) { Exit::Refused } else { Exit::Failed }
}

fn told(code: &str, error: &ClientError) -> Problem {
    problem(code, chain(error), error.mend())
}

fn problem(code: &str, detail: String, mend: Option<String>) -> Problem {
    Problem { status: 0, code: code.to_owned(), detail, mend, details: Vec::new() }
}

/// An error and everything that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
