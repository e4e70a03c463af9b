//! Who asks: root of this host over the Unix socket, or another agent over mutual TLS. Main type: [`Asker`].

use std::sync::Arc;

use api::{PROTOCOL, PROTOCOL_HEADER};
use axum::Extension;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::failure::Failure;
use crate::http::problem::Refusal;

/// Who made a request.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    /// Root of this host: the socket's directory and mode let nobody else in.
    Local,
    /// An agent; the names that its certificate carries.
    Agent(Arc<[String]>),
}

impl Asker {
    /// Whether it is that host's agent.
    pub(crate) fn is_host(&self, host: &str) -> bool {
        match self {
            Asker::Local => false,
            Asker::Agent(names) => names.iter().any(|name| name == host),
        }
    }
}

/// Lets only this host's root through.
pub(crate) async fn only_local(Extension(asker): Extension<Asker>, request: Request, next: Next) -> Response {
    match asker {
        Asker::Local => next.run(request).await,
        Asker::Agent(_) => Refusal::from(Failure::NotLocal).into_response(),
    }
}

/// Lets only agents through that speak the same version, and says ours with every answer.
pub(crate) async fn only_agents(
    Extension(asker): Extension<Asker>,
    request: Request,
    next: Next,
) -> Response {
    let theirs = request.headers().get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    let mut response = match (&asker, theirs.and_then(|theirs| theirs.parse::<u32>().ok())) {
        (Asker::Local, _) => Refusal::from(Failure::NotAnAgent).into_response(),
        (Asker::Agent(_), Some(PROTOCOL)) => next.run(request).await,
        (Asker::Agent(_), _) => {
            let theirs = theirs.unwrap_or("none").to_owned();
            Refusal::from(Failure::Protocol { ours: PROTOCOL, theirs }).into_response()
        }
    };
    response.headers_mut().insert(PROTOCOL_HEADER, HeaderValue::from(PROTOCOL));
    response
}
