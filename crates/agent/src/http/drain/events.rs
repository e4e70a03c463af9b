//! `GET /drain/events`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use crate::http::problem::Refusal;
use crate::limits::PROGRESS_EVERY;
use crate::node::Node;

/// The whole table now and whenever it has changed, as server-sent events; the last one says that it has ended.
#[utoipa::path(get, path = "/drain/events", tag = "drain",
    responses((status = 200, body = api::Drain, content_type = "text/event-stream"),
        (status = "4XX", body = api::Problem)))]
pub(crate) async fn events(
    State(node): State<Arc<Node>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let mut table = node.drains.last(&node.config.host)?.table.subscribe();
    table.mark_changed();
    let tables = stream::unfold(Some((table, Duration::ZERO)), |next| async move {
        let (mut table, pause) = next?;
        // Several domains may have moved on meanwhile; one event tells of all of them.
        sleep(pause).await;
        table.changed().await.ok()?;
        let shown = table.borrow_and_update().clone();
        let data = serde_json::to_string(&shown).expect("API types are always JSON");
        Some((Ok(Event::default().data(data)), (!shown.ended).then_some((table, PROGRESS_EVERY))))
    });
    Ok(Sse::new(tables).keep_alive(KeepAlive::default()))
}
