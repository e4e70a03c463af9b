//! The API as HTTP: an endpoint a file, and the OpenAPI document that is made from them. It decides nothing. Main
//! function: [`router`].

mod agents;
pub(crate) mod asker;
mod bridges;
mod content;
mod domains;
mod drain;
mod events;
pub(crate) mod finish;
mod host;
mod hosts;
mod import;
mod install;
pub(crate) mod metrics;
mod migrations;
mod pools;
pub(crate) mod problem;
mod report;
pub(crate) mod rows;
mod snapshots;
mod version;
mod volumes;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Json, Router, middleware};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::failure::{Failure, RequestFailure};
use crate::limits::{BODY_BYTES_MAX, STRANGER_BODY_BYTES_MAX};
use crate::node::Node;

#[derive(OpenApi)]
#[openapi(
    info(title = "Ferry", description = "Moves KVM virtual machines between hosts.", license(name = "Apache-2.0 OR MIT")),
    servers((url = "/api/v1"))
)]
struct Document;

fn endpoints() -> OpenApiRouter<Arc<Node>> {
    let local = OpenApiRouter::new()
        .routes(routes!(host::host))
        .routes(routes!(domains::list::list, domains::define::define))
        .routes(routes!(domains::show::show, domains::undefine::undefine))
        .routes(routes!(domains::statistics::statistics))
        .routes(routes!(domains::xml::xml, domains::xml::edit))
        .routes(routes!(domains::start::start))
        .routes(routes!(domains::shutdown::shutdown))
        .routes(routes!(domains::reboot::reboot))
        .routes(routes!(domains::reset::reset))
        .routes(routes!(domains::destroy::destroy))
        .routes(routes!(domains::suspend::suspend))
        .routes(routes!(domains::resume::resume))
        .routes(routes!(domains::autostart::autostart))
        .routes(routes!(domains::size::size))
        .routes(routes!(domains::rename::rename))
        .routes(routes!(domains::devices::attach))
        .routes(routes!(domains::devices::detach))
        .routes(routes!(domains::media::media))
        .routes(routes!(domains::console::console))
        .routes(routes!(domains::vnc::vnc))
        .routes(routes!(domains::screenshot::screenshot))
        .routes(routes!(events::events))
        .routes(routes!(bridges::list::list, bridges::create::create))
        .routes(routes!(bridges::confirm::confirm))
        .routes(routes!(bridges::delete::delete))
        .routes(routes!(domains::clone::clone))
        .routes(routes!(import::import))
        .routes(routes!(install::install))
        .routes(routes!(snapshots::list::list, snapshots::create::create))
        .routes(routes!(snapshots::delete::delete))
        .routes(routes!(snapshots::revert::revert))
        .routes(routes!(domains::check::check))
        .routes(routes!(domains::plan::plan))
        .routes(routes!(report::report))
        .merge(storage())
        .routes(routes!(domains::migrate::migrate))
        .routes(routes!(migrations::list::list))
        .routes(routes!(migrations::show::show))
        .routes(routes!(migrations::events::events))
        .routes(routes!(migrations::cancel::cancel))
        .routes(routes!(migrations::postcopy::postcopy))
        .routes(routes!(migrations::resolve::resolve))
        .routes(routes!(migrations::settings::settings))
        .routes(routes!(migrations::switchover::switchover))
        .routes(routes!(drain::begin::begin, drain::show::show))
        .routes(routes!(drain::events::events))
        .routes(routes!(drain::stop::stop))
        .routes(routes!(hosts::list::list))
        .routes(routes!(hosts::token::token))
        .routes(routes!(hosts::join::join))
        .routes(routes!(hosts::remove::remove))
        .routes(routes!(hosts::fix::fix))
        .route_layer(middleware::map_response(problem::in_form))
        .route_layer(middleware::from_fn(asker::only_local));
    let strangers = OpenApiRouter::new()
        .routes(routes!(agents::admit::admit))
        .route_layer(middleware::map_response(problem::in_form))
        .route_layer(DefaultBodyLimit::max(STRANGER_BODY_BYTES_MAX))
        .route_layer(middleware::from_fn(asker::agents_and_strangers));
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(version::version))
        .merge(local)
        .merge(between_agents())
        .merge(strangers)
}

/// What other agents ask.
fn between_agents() -> OpenApiRouter<Arc<Node>> {
    OpenApiRouter::new()
        .routes(routes!(agents::check::check))
        .routes(routes!(agents::link::link))
        .routes(routes!(agents::offer::offer))
        .routes(routes!(agents::status::status, agents::abandon::abandon))
        .routes(routes!(agents::turn::turn))
        .routes(routes!(agents::room::room))
        .routes(routes!(agents::pledge::pledge))
        .routes(routes!(agents::listen::listen))
        .routes(routes!(agents::disks::disks))
        .routes(routes!(agents::files::held))
        .routes(routes!(agents::files::blocks))
        .routes(routes!(agents::files::complete))
        .routes(routes!(agents::settlement::settlement))
        .routes(routes!(agents::roster::roster, agents::roster::take))
        .routes(routes!(agents::renew::renew))
        .routes(routes!(agents::relocate::relocate))
        .routes(routes!(agents::verified::verified))
        .routes(routes!(agents::pools::pools))
        .routes(routes!(agents::volumes::users))
        .routes(routes!(agents::bridges::bridges))
        .route_layer(middleware::map_response(problem::in_form))
        .route_layer(middleware::from_fn(asker::only_agents))
}

/// Storage pools and their volumes.
fn storage() -> OpenApiRouter<Arc<Node>> {
    OpenApiRouter::new()
        .routes(routes!(pools::list::list, pools::define::define))
        .routes(routes!(pools::orders::everywhere))
        .routes(routes!(pools::show::show, pools::undefine::undefine))
        .routes(routes!(pools::xml::xml))
        .routes(routes!(pools::start::start))
        .routes(routes!(pools::stop::stop))
        .routes(routes!(pools::autostart::autostart))
        .routes(routes!(volumes::list::list, volumes::create::create))
        .routes(routes!(volumes::show::show, volumes::delete::delete))
        .routes(routes!(volumes::resize::resize))
        .routes(routes!(volumes::download::download, volumes::upload::upload))
}

/// The OpenAPI document of `/api/v1`.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    endpoints().split_for_parts().1
}

/// All of `/api/v1`, and the metrics. Each request must carry an [`asker::Asker`] as an extension.
pub(crate) fn router(node: Arc<Node>) -> Router {
    let (router, document) = endpoints().split_for_parts();
    let document = get(move || std::future::ready(Json(document.clone())));
    let versioned = router.route("/openapi.json", document).with_state(Arc::clone(&node));
    let metrics = metrics::alone(node).route_layer(middleware::from_fn(asker::only_local));
    let elsewhere = || async { problem::Refusal::from(Failure::from(RequestFailure::NoEndpoint)) };
    Router::new()
        .merge(metrics)
        .nest(api::BASE, versioned.method_not_allowed_fallback(elsewhere))
        .fallback(elsewhere)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}
