//! `GET /pools/{pool}/volumes/{volume}/content`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;

use crate::http::problem::Refusal;
use crate::limits::CONTENT_QUEUE;
use crate::node::Node;
use crate::volumes;

/// The bytes of a volume that no guest writes to.
#[utoipa::path(get, path = "/pools/{pool}/volumes/{volume}/content", tag = "volumes",
    params(("pool" = String, Path, description = "name or UUID"), ("volume" = String, Path, description = "its name")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = api::Problem)))]
pub(crate) async fn download(
    State(node): State<Arc<Node>>,
    Path((pool, volume)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    let content = volumes::download(&node, &pool, &volume).await?;
    let length = content.length();
    let (sender, mut pieces) = mpsc::channel(CONTENT_QUEUE);
    tokio::spawn(content.hand_over(sender));
    let pieces = poll_fn(move |context| pieces.poll_recv(context));
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((head, Body::from_stream(pieces)))
}
