//! `GET /migrations/{id}/events`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use uuid::Uuid;

use crate::http::problem::Refusal;
use crate::node::Node;

/// What happens to a migration, from its beginning, as server-sent events; the last one is its end.
#[utoipa::path(get, path = "/migrations/{id}/events", tag = "migrations",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 200, body = api::MigrationEvent, content_type = "text/event-stream"),
        (status = "4XX", body = api::Problem)))]
pub(crate) async fn events(
    State(node): State<Arc<Node>>,
    Path(id): Path<Uuid>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let (_domain, tracker) = node.migration(id)?;
    let events = tracker.events().map(|event| {
        let data = serde_json::to_string(&event).expect("API types are always JSON");
        Ok(Event::default().data(data))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
