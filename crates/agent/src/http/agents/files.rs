//! `GET /agent/migrations/{id}/files/{number}` and what is below it: the files of a domain come in.

use std::sync::Arc;

use api::{FileSent, FileTaken, Role};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::party;
use crate::failure::{CarryFailure, Failure};
use crate::http::asker::Asker;
use crate::http::content::run_out;
use crate::http::problem::Refusal;
use crate::landing::Landing;
use crate::node::Node;

/// Which version of the file the source has.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Version {
    /// 64 hexadecimal digits; another one is another content.
    stamp: String,
}

/// What is held of a file; how it is written is in `docs/storage.md`.
#[utoipa::path(get, path = "/agent/migrations/{id}/files/{number}", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration"), ("number" = usize, Path, description = "the file's place in the offer"),
        Version),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = api::Problem)))]
pub(crate) async fn held(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path((id, number)): Path<(Uuid, usize)>,
    Query(Version { stamp }): Query<Version>,
) -> Result<Bytes, Refusal> {
    let landing = landing(&node, &asker, id)?;
    let held = landing.held(number, digits(&stamp)?).await?;
    Ok(held.encode().into())
}

/// Some of what is lacking, as it comes. Several may come at once.
#[utoipa::path(post, path = "/agent/migrations/{id}/files/{number}/blocks", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration"), ("number" = usize, Path, description = "the file's place in the offer")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "all of it has come"), (status = "4XX", body = api::Problem)))]
pub(crate) async fn blocks(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path((id, number)): Path<(Uuid, usize)>,
    body: Body,
) -> Result<Json<()>, Refusal> {
    let mut frames = body.into_data_stream();
    let taken = match landing(&node, &asker, id) {
        Ok(landing) => landing.take(number, &mut frames).await,
        Err(failure) => Err(failure),
    };
    match taken {
        Ok(()) => Ok(Json(())),
        Err(failure) => {
            run_out(frames);
            Err(failure.into())
        }
    }
}

/// All of a file was sent: is it here, durable and equal?
#[utoipa::path(post, path = "/agent/migrations/{id}/files/{number}/complete", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration"), ("number" = usize, Path, description = "the file's place in the offer")),
    request_body = FileSent,
    responses((status = 200, body = FileTaken), (status = "4XX", body = api::Problem)))]
pub(crate) async fn complete(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path((id, number)): Path<(Uuid, usize)>,
    Json(sent): Json<FileSent>,
) -> Result<Json<FileTaken>, Refusal> {
    let landing = landing(&node, &asker, id)?;
    Ok(Json(landing.complete(number, digits(&sent.blake3)?).await?))
}

fn landing(node: &Node, asker: &Asker, id: Uuid) -> Result<Arc<Landing>, Failure> {
    party(node, asker, id, Role::Target)?;
    Ok(node.landings.find(id).ok_or(CarryFailure::NotLanding)?)
}

fn digits<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| CarryFailure::Digits { text: text.to_owned() }.into())
}
