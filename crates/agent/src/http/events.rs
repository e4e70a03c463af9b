//! `GET /events`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde::Deserialize;

use crate::failure::Failure;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

#[derive(Deserialize)]
pub(crate) struct Which {
    domain: Option<String>,
    since: Option<String>,
}

/// What happens to this host's domains, or to one of them, as server-sent events without an end. With `since`, first
/// what happened after it, as far as the agent still knows it.
#[utoipa::path(get, path = "/events", tag = "domains",
    params(("domain" = Option<String>, Query, description = "name or UUID"),
        ("since" = Option<String>, Query, description = "a time, RFC 3339")),
    responses((status = 200, body = api::DomainEvent, content_type = "text/event-stream"),
        (status = "4XX", body = api::Problem)))]
pub(crate) async fn events(
    State(node): State<Arc<Node>>,
    Query(which): Query<Which>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let since = which.since.map(|since| match since.parse::<Timestamp>() {
        Ok(since) => Ok(since),
        Err(_) => Err(Failure::NoTime { text: since }),
    });
    let since = since.transpose()?;
    // Listened to first, so that nothing is missed while the domain is looked for.
    let news = node.news.listen(since);
    let only = match which.domain {
        Some(domain) => Some(node.ask(&domain, Ask::Show).await?.uuid),
        None => None,
    };
    let wanted = news.filter(move |event| {
        let wanted = only.is_none_or(|only| event.uuid == only || event.uuid.is_nil());
        std::future::ready(wanted)
    });
    let events = wanted.map(|event| {
        let data = serde_json::to_string(&event).expect("API types are always JSON");
        Ok(Event::default().data(data))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
