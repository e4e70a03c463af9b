//! Who asks: root of this host over the Unix socket, another agent over mutual TLS, or over TLS somebody without a
//! certificate. Main type: [`Asker`].

use std::sync::Arc;

use api::{PROTOCOL_HEADER, Protocols};
use axum::Extension;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::failure::{Failure, RequestFailure};
use crate::http::problem::Refusal;

/// Who made a request.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    /// Root of this host: the socket's directory and mode let nobody else in.
    Local,
    /// An agent; the names that its certificate carries.
    Agent(Arc<[String]>),
    /// Somebody over TLS who showed no certificate.
    Stranger,
}

impl Asker {
    /// What an agent's certificate calls it first; empty for others.
    pub(crate) fn name(&self) -> &str {
        match self {
            Asker::Local | Asker::Stranger => "",
            Asker::Agent(names) => names.first().map_or("", String::as_str),
        }
    }

    /// Whether it is that host's agent.
    pub(crate) fn is_host(&self, host: &str) -> bool {
        match self {
            Asker::Local | Asker::Stranger => false,
            Asker::Agent(names) => names.iter().any(|name| name == host),
        }
    }
}

/// Lets only this host's root through.
pub(crate) async fn only_local(Extension(asker): Extension<Asker>, request: Request, next: Next) -> Response {
    match asker {
        Asker::Local => next.run(request).await,
        Asker::Agent(_) | Asker::Stranger => refused(RequestFailure::NotLocal),
    }
}

/// Lets only agents through that speak a version of ours, and answers in it; another one is told what we speak.
pub(crate) async fn only_agents(
    Extension(asker): Extension<Asker>,
    request: Request,
    next: Next,
) -> Response {
    speak(matches!(asker, Asker::Agent(_)), request, next).await
}

/// As [`only_agents`], and lets agents through that have no certificate yet.
pub(crate) async fn agents_and_strangers(
    Extension(asker): Extension<Asker>,
    request: Request,
    next: Next,
) -> Response {
    speak(matches!(asker, Asker::Agent(_) | Asker::Stranger), request, next).await
}

async fn speak(may_ask: bool, request: Request, next: Next) -> Response {
    let said = request.headers().get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    let spoken = said.and_then(|said| said.parse::<u32>().ok());
    let spoken = spoken.filter(|version| Protocols::OURS.include(*version));
    let mut response = match spoken {
        _ if !may_ask => refused(RequestFailure::NotAnAgent),
        Some(_) => next.run(request).await,
        None => {
            let theirs = said.unwrap_or("none").to_owned();
            refused(RequestFailure::Protocol { ours: Protocols::OURS, theirs })
        }
    };
    let version = HeaderValue::from(spoken.unwrap_or(Protocols::OURS.newest));
    response.headers_mut().insert(PROTOCOL_HEADER, version);
    response
}

fn refused(failure: RequestFailure) -> Response {
    Refusal::from(Failure::from(failure)).into_response()
}
