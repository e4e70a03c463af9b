//! `GET /pools/{pool}/volumes/{volume}/content`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream::try_unfold;

use crate::http::problem::Refusal;
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
    let (content, pool) = volumes::download(&node, &pool, &volume).await?;
    let length = content.left();
    // The pool is held until the last byte has gone.
    let pieces = try_unfold((content, pool), |(mut content, pool)| async {
        let piece = content.next().await.inspect_err(|error| tracing::error!("a download broke: {error}"))?;
        Ok::<_, storage::ImageError>(piece.map(|piece| (piece, (content, pool))))
    });
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((head, Body::from_stream(pieces)))
}
