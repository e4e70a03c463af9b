//! `GET /host`.

use std::sync::Arc;

use api::{Accelerator, Cpu, Host};
use axum::Json;
use axum::extract::State;

use crate::failure::Failure;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Facts about this host. The first answer takes a few seconds where KVM has to be tried out.
#[utoipa::path(get, path = "/host", tag = "host",
    responses((status = 200, body = Host), (status = "5XX", body = api::Problem)))]
pub(crate) async fn host(State(node): State<Arc<Node>>) -> Result<Json<Host>, Refusal> {
    Ok(Json(facts(&node).await?))
}

async fn facts(node: &Node) -> Result<Host, Failure> {
    let facts = host::Facts::read()?;
    let capabilities = node.capabilities(node.default_emulator()).await?;
    let kvm = node.kvm().await;
    let domains_active = node.domains().await.iter().filter(|domain| domain.pid.is_some()).count();
    Ok(Host {
        name: node.config.host.clone(),
        kernel: facts.kernel,
        cpu: Cpu {
            arch: facts.machine_arch,
            vendor: facts.cpu_vendor,
            model: facts.cpu_model,
            count: facts.cpus,
            nx: facts.nx,
        },
        memory_total_bytes: facts.memory_total,
        memory_available_bytes: facts.memory_available,
        qemu_version: capabilities.version.clone(),
        emulator: node.default_emulator().display().to_string(),
        accelerators: vec![
            Accelerator { name: "kvm".into(), usable: kvm.is_ok(), reason: kvm.err() },
            Accelerator { name: "tcg".into(), usable: true, reason: None },
        ],
        neighbours: node.neighbours.list(),
        domains_active: u32::try_from(domains_active).unwrap_or(u32::MAX),
    })
}
