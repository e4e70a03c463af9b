//! `POST /agent/hosts`.

use std::sync::Arc;

use api::{Admission, Admitted};
use axum::Json;
use axum::extract::State;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::join::issue;
use crate::node::Node;

/// A host without a certificate comes with a token. The only thing that such a host can ask besides the version and this
/// document.
#[utoipa::path(post, path = "/agent/hosts", tag = "agents", request_body = Admission,
    responses((status = 200, body = Admitted), (status = "4XX", body = api::Problem)))]
pub(crate) async fn admit(
    State(node): State<Arc<Node>>,
    Json(admission): Json<Admission>,
) -> Result<Json<Admitted>, Refusal> {
    Ok(Json(finish(async move { issue::admit(&node, admission).await }).await?))
}
