//! `PUT /pools/{pool}/volumes/{volume}/content`.

use std::sync::Arc;

use api::Volume;
use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::failure::{Failure, PoolFailure};
use crate::http::content::run_out;
use crate::http::problem::Refusal;
use crate::limits::CONTENT_SILENCE;
use crate::node::Node;
use crate::volumes;

/// Makes a volume of the bytes of an image. It is there when all of them are; runs of zeros become holes.
#[utoipa::path(put, path = "/pools/{pool}/volumes/{volume}/content", tag = "volumes",
    params(("pool" = String, Path, description = "name or UUID"), ("volume" = String, Path, description = "its name")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = Volume), (status = "4XX", body = api::Problem)))]
pub(crate) async fn upload(
    State(node): State<Arc<Node>>,
    Path((pool, volume)): Path<(String, String)>,
    body: Body,
) -> Result<(StatusCode, Json<Volume>), Refusal> {
    let mut content = body.into_data_stream();
    match take(&node, &pool, &volume, &mut content).await {
        Ok(volume) => Ok((StatusCode::CREATED, Json(volume))),
        Err(failure) => {
            run_out(content);
            Err(failure.into())
        }
    }
}

async fn take(
    node: &Node,
    pool: &str,
    volume: &str,
    content: &mut BodyDataStream,
) -> Result<Volume, Failure> {
    let mut incoming = volumes::upload(node, pool, volume).await?;
    let mut gathered = Vec::new();
    loop {
        let silent =
            |_elapsed| PoolFailure::ContentSilent { volume: volume.to_owned(), after: CONTENT_SILENCE };
        let next = timeout(CONTENT_SILENCE, content.next()).await.map_err(silent)?;
        let Some(piece) = next else { break };
        let cut = |source| PoolFailure::ContentCut { volume: volume.to_owned(), source };
        gathered.extend_from_slice(&piece.map_err(cut)?);
        if gathered.len() >= storage::CONTENT_BYTES {
            incoming.append(std::mem::take(&mut gathered)).await?;
        }
    }
    incoming.append(gathered).await?;
    incoming.finish().await
}
