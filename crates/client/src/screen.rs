//! Endpoints of an agent about what a domain shows and what happens to it. One method an endpoint, no decisions.

use api::{DomainEvent, Vnc};
use bytes::Bytes;
use futures_util::stream::Stream;

use crate::client::{Call, segment};
use crate::domains::path;
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `GET /domains/{domain}/vnc`: where its VNC server listens.
    pub async fn vnc(&self, domain: &str) -> Result<Vnc, ClientError> {
        self.json(Call::get(path(domain, "/vnc"))).await
    }

    /// `GET /domains/{domain}/screenshot`: a picture of its screen, PNG or a portable pixmap.
    pub async fn screenshot(&self, domain: &str) -> Result<Bytes, ClientError> {
        self.bytes(Call::get(path(domain, "/screenshot"))).await
    }

    /// `GET /events`: what happens to the domains of a host, or to one of them, from now on; with `since`, a time in
    /// RFC 3339, first what happened after it. It ends only with an error.
    pub fn domain_events(
        &self,
        domain: Option<&str>,
        since: Option<&str>,
    ) -> impl Stream<Item = Result<DomainEvent, ClientError>> + Send + use<> {
        let wanted = [("domain", domain), ("since", since)];
        let wanted = wanted.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment((*value)?))));
        let query = wanted.collect::<Vec<_>>().join("&");
        let question = if query.is_empty() { "" } else { "?" };
        self.events(format!("/events{question}{query}"), |_| false)
    }
}
