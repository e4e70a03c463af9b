//! `POST /agent/certificates`.

use std::sync::Arc;

use api::{Renewal, Renewed};
use axum::extract::State;
use axum::{Extension, Json};

use super::member;
use crate::http::asker::Asker;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::join::issue;
use crate::node::Node;

/// The next certificate of the host that asks, which shows the present one; the same as before where that does not end soon.
#[utoipa::path(post, path = "/agent/certificates", tag = "agents", request_body = Renewal,
    responses((status = 200, body = Renewed), (status = "4XX", body = api::Problem)))]
pub(crate) async fn renew(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Json(renewal): Json<Renewal>,
) -> Result<Json<Renewed>, Refusal> {
    let host = member(&node, &asker)?;
    Ok(Json(finish(async move { issue::renew(&node, host, renewal).await }).await?))
}
