//! `GET /agent/migrations/{id}/disks`: a disk comes in while its guest works.

use std::sync::Arc;

use api::{DISK_PROTOCOL, Role};
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::UnixStream;
use uuid::Uuid;

use super::party;
use crate::drive::mirror::socket;
use crate::failure::{CarryFailure, Failure};
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::limits::DISK_WAY_BYTES;
use crate::node::Node;

/// One connection to where this host's QEMU takes the disks of a guest in that still works elsewhere. From the answer on it is
/// NBD between the two QEMUs.
#[utoipa::path(get, path = "/agent/migrations/{id}/disks", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 101, description = "NBD"), (status = "4XX", body = api::Problem)))]
pub(crate) async fn disks(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let (domain, _) = party(&node, &asker, id, Role::Target)?;
    // QEMU listens there as long as it takes disks in, and no longer.
    let mut qemu = UnixStream::connect(socket(&node, domain))
        .await
        .map_err(|_| Failure::from(CarryFailure::NotLanding))?;
    let turned = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let carried = async {
            let mut way = TokioIo::new(turned.await.map_err(std::io::Error::other)?);
            copy_bidirectional_with_sizes(&mut way, &mut qemu, DISK_WAY_BYTES, DISK_WAY_BYTES).await
        };
        match carried.await {
            Ok((came, _)) => tracing::debug!(migration = %id, came, "a disk's way has ended"),
            Err(error) => tracing::debug!(migration = %id, %error, "a disk's way broke"),
        }
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, DISK_PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
