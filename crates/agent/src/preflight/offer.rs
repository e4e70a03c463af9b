//! A target's own judgement of an offer: it takes nobody's word that the domain can come. Main function: [`take_in`].

use std::path::{Path, PathBuf};

use api::{CopyFile, DiskFacts, HostFacts, Offer, Severity};
use domain::{Definition, Domain};
use migration::placement::{Placed, is_kept};
use migration::preflight::{Between, DomainFacts, Facts, GuestFacts, Selection, judge, permits};

use super::{domain::wants, target};
use crate::disks::location;
use crate::drive::target::Coming;
use crate::failure::Failure;
use crate::guest::{owner_path, read_owner};
use crate::node::Node;

/// Checks an offer against this host: what to take in, or every reason not to, at once.
pub(crate) async fn take_in(node: &Node, offer: &Offer) -> Result<Coming, Failure> {
    let definition = Definition::parse(&offer.xml).map_err(Failure::Definition)?;
    let domain = definition.domain();
    let inactive =
        offer.inactive_xml.as_deref().map(Definition::parse).transpose().map_err(Failure::Definition)?;
    let other = |kept: &Definition| kept.domain().uuid != domain.uuid || kept.domain().name != domain.name;
    if domain.uuid.is_none() || inactive.as_ref().is_some_and(other) {
        return Err(Failure::NotFrozen);
    }
    let selection = Selection::offered(&offer.skip);
    let mut found = target::gather(node, domain, offer.formerly, &offer.files).await?;
    if offer.offline {
        found.host.chain_unshown = target::chain_unshown(node, &offer.files).await;
    }
    for disk in &mut found.host.disks {
        disk.owned_by_source = owned_by_source(domain, disk, offer).await;
    }
    let older = found.places.iter().filter(|place| place.older_copy).map(|place| PathBuf::from(&place.path));
    let older = older.collect();
    let kept = offer.files.iter().filter_map(|file| {
        let place = found.places.iter().find(|place| place.path == file.path)?;
        is_kept(file, place).then(|| (PathBuf::from(&place.path), place.users.clone()))
    });
    let kept = kept.collect();
    let facts = Facts {
        domain: DomainFacts {
            copies: offer.files.iter().map(copied).collect(),
            postcopy: offer.postcopy,
            ..wants(domain, !offer.offline, offer.channels, offer.encrypted)
        },
        source: source(offer),
        guest: GuestFacts::default(),
        target: Ok(found),
        target_name: node.config.host.clone(),
        between: Between::default(),
    };
    let checked = judge(&facts, &selection);
    let permitted = permits(&checked);
    let told = checked.into_iter().filter(|checked| checked.severity > Severity::Pass);
    let findings = told.map(api::Finding::from).collect();
    if !permitted {
        return Err(Failure::Preflight { host: node.config.host.clone(), findings });
    }
    Ok(Coming { live: definition, inactive, warnings: findings, older, kept })
}

/// A file of an offer. Where it lies on the source, and whether somebody chose its place, the source has judged.
fn copied(file: &CopyFile) -> Placed {
    Placed { from: file.path.clone(), file: file.clone(), chosen: true }
}

/// What the offer says about the source.
fn source(offer: &Offer) -> HostFacts {
    let facts = &offer.source_facts;
    HostFacts {
        host: offer.source.clone(),
        arch: Some(facts.arch.clone()),
        cpu_vendor: Some(facts.cpu_vendor.clone()),
        nx: Some(facts.nx),
        migrate_capabilities: Some(facts.migrate_capabilities.clone()),
        cpu_unavailable: facts.cpu_unavailable.clone(),
        ..HostFacts::default()
    }
}

/// Whether the owner record beside a disk is the one that the source has; none where the disk carries none.
async fn owned_by_source(domain: &Domain, facts: &DiskFacts, offer: &Offer) -> Option<bool> {
    let disk = domain.disks.iter().find(|disk| disk.target == facts.disk)?;
    let beside = storage::owner_path(&location(disk)?);
    let record_path = owner_path(domain).filter(|path| *path == beside && !disk.readonly)?;
    Some(is_source(&record_path, domain, offer).await)
}

async fn is_source(record_path: &Path, domain: &Domain, offer: &Offer) -> bool {
    let record = read_owner(record_path).await.ok().flatten();
    record.is_some_and(|record| {
        Some(record.domain) == offer.formerly.or(domain.uuid)
            && record.host == offer.source
            && record.generation + 1 == offer.generation
    })
}
