//! From XML that somebody wrote to a domain of this host. Main functions: [`define`] and [`create`].

use std::sync::Arc;

use domain::Definition;

use crate::allocate::Allocator;
use crate::failure::Failure;
use crate::guest::{check_devices, check_paths, descriptions, frozen_uuid};
use crate::keeper::{self, Ask, Begin, Reply};
use crate::node::Node;
use crate::store::DomainRecord;
use crate::volumes;

/// Reads a definition, judges it by this host's rules, and fills in what must not drift.
pub(crate) async fn freeze(node: &Node, xml: &str) -> Result<Definition, Failure> {
    let written = Definition::parse(&volumes::resolved(node, xml)?).map_err(Failure::Definition)?;
    check_paths(node, written.domain())?;
    let capabilities = node.capabilities(node.emulator(written.domain())?).await?;
    let mut allocator = Allocator { capabilities: &capabilities, firmware: descriptions(), mac: None };
    let frozen = written.freeze(&mut allocator).map_err(Failure::Definition)?;
    // The choice of firmware may have brought files that were not in it before.
    check_paths(node, frozen.domain())?;
    check_devices(node, frozen.domain()).await?;
    Ok(frozen)
}

/// Defines a domain, or defines it anew under the same name and UUID.
pub(crate) async fn define(node: &Arc<Node>, xml: &str) -> Result<api::Domain, Failure> {
    let definition = freeze(node, xml).await?;
    let begin = Begin::ShutOff(DomainRecord::default());
    let kept = Some(definition.clone());
    ask(node, &definition, kept, begin, |reply| Ask::Redefine(Box::new(definition.clone()), reply)).await
}

/// Starts a domain whose definition is not kept.
pub(crate) async fn create(node: &Arc<Node>, xml: &str) -> Result<api::Domain, Failure> {
    let definition = freeze(node, xml).await?;
    ask(node, &definition, None, Begin::New, |reply| Ask::Create(Box::new(definition.clone()), reply)).await
}

/// Asks the task of a domain, which begins here where there is none.
async fn ask(
    node: &Arc<Node>,
    definition: &Definition,
    kept: Option<Definition>,
    begin: Begin,
    ask: impl FnOnce(Reply<api::Domain>) -> Ask,
) -> Result<api::Domain, Failure> {
    let (uuid, name) = (frozen_uuid(definition.domain()), definition.domain().name.clone());
    let handle = node.admit(uuid, &name, || keeper::begin(node, uuid, name.clone(), kept, begin))?;
    let answer = handle.ask(ask).await;
    answer.unwrap_or(Err(Failure::DomainNotFound { domain: name, host: node.config.host.clone() }))
}
