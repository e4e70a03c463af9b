//! `POST /domains`.

use std::sync::Arc;

use api::DefineRequest;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::Definition;

use crate::allocate::Allocator;
use crate::failure::Failure;
use crate::guest::{check_paths, frozen_uuid};
use crate::http::problem::Refusal;
use crate::keeper::{self, Ask, Begin};
use crate::node::Node;
use crate::store::DomainRecord;

/// Defines a domain, or defines it anew under the same name and UUID.
#[utoipa::path(post, path = "/domains", tag = "domains", request_body = DefineRequest,
    responses((status = 201, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn define(
    State(node): State<Arc<Node>>,
    Json(request): Json<DefineRequest>,
) -> Result<(StatusCode, Json<api::Domain>), Refusal> {
    let domain = define_xml(&node, &request.xml).await?;
    Ok((StatusCode::CREATED, Json(domain)))
}

async fn define_xml(node: &Arc<Node>, xml: &str) -> Result<api::Domain, Failure> {
    let written = Definition::parse(xml).map_err(Failure::Definition)?;
    check_paths(node, written.domain())?;
    let capabilities = node.capabilities(node.emulator(written.domain())?).await?;
    let definition =
        written.freeze(&mut Allocator { capabilities: &capabilities }).map_err(Failure::Definition)?;
    let (uuid, name) = (frozen_uuid(definition.domain()), definition.domain().name.clone());
    let fresh = DomainRecord::default();
    let handle = node.admit(uuid, &name, || {
        keeper::begin(node, uuid, name.clone(), Some(definition.clone()), Begin::ShutOff(fresh))
    })?;
    let defined = handle.ask(|reply| Ask::Redefine(Box::new(definition), reply)).await;
    defined.unwrap_or(Err(Failure::DomainNotFound { domain: name, host: node.config.host.clone() }))
}
