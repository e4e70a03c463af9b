//! What the agent keeps: its directories, definitions and what they name, journals, owner records of guests that run.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use api::Finding;
use domain::Definition;
use migration::journal;
use migration::phase::Phase;
use network::{Network, NetworkError};

use super::{problem, rules, warning};
use crate::config::Config;
use crate::failure::Failure;
use crate::guest::{GuestRecord, RECORD, read_owner};
use crate::networks::bridge_of;

pub(super) async fn examine(config: &Config, found: &mut Vec<Finding>) {
    for directory in [&config.state_dir, &config.run_dir, &config.log_dir] {
        // The agent makes what is not there.
        let Ok(metadata) = std::fs::metadata(directory) else { continue };
        if metadata.is_dir() {
            found.extend(rules::mode(directory, metadata.mode()));
        } else {
            let said = format!("{} is no directory", directory.display());
            found.push(problem("directory", said, "move it away; the agent makes its directories"));
        }
    }
    if let Ok(free) = host::free_space(&config.state_dir) {
        found.extend(rules::space(&config.state_dir, free));
    }
    definitions(config, found).await;
    journals(config, found);
    owners(config, found).await;
}

fn files(directory: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

/// Each definition can be read, and each bridge that one names is there and up.
async fn definitions(config: &Config, found: &mut Vec<Finding>) {
    let mut bridges = std::collections::BTreeMap::new();
    let mut hugepages = None;
    for path in files(&config.state_dir.join("domains"), "xml") {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        match Definition::parse(&text) {
            Ok(definition) => {
                let domain = definition.domain();
                // A network that this host does not know is said when the domain starts, or comes.
                let bridge =
                    |interface: &domain::Interface| bridge_of(config, &interface.source).ok().flatten();
                let named = domain.interfaces.iter().filter_map(bridge);
                bridges.extend(named.map(|bridge| (bridge, domain.name.clone())));
                if text.contains("<hugepages") {
                    hugepages = Some(domain.name.clone());
                }
            }
            Err(error) => {
                let said = format!("{}: {error}", path.display());
                let mend = "mend the file, or move it away and define the domain anew";
                found.push(problem("definition-unreadable", said, mend));
            }
        }
    }
    let pages = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let reserved = pages
        .lines()
        .any(|line| line.strip_prefix("HugePages_Total:").is_some_and(|count| count.trim() != "0"));
    if let Some(domain) = hugepages.filter(|_| !reserved) {
        let said = format!("domain {domain} wants huge pages, and none are reserved");
        found.push(warning("hugepages-missing", said, "sysctl vm.nr_hugepages=N"));
    }
    let Ok(network) = Network::connect() else { return };
    for (bridge, domain) in bridges {
        let make = format!("ip link add {bridge} type bridge; ip link set {bridge} up");
        match network.bridge(&bridge).await {
            Ok(is) if is.up => {}
            Ok(_) => {
                let said = format!("the bridge {bridge} of domain {domain} is down");
                found.push(problem("bridge-down", said, format!("ip link set {bridge} up")));
            }
            Err(NetworkError::NoSuchLink { .. }) => {
                let said = format!("the bridge {bridge} of domain {domain} is not there");
                found.push(problem("bridge-missing", said, make));
            }
            Err(error) => {
                let said = format!("the bridge {bridge} of domain {domain}: {error}");
                found.push(problem("bridge-unusable", said, make));
            }
        }
    }
}

/// Each journal has a beginning and no junk; none is in doubt.
fn journals(config: &Config, found: &mut Vec<Finding>) {
    for path in files(&config.state_dir.join("migrations"), "journal") {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let decoded = journal::decode(&bytes);
        // A torn tail is what a crash leaves; a record that is whole and not understood is not.
        let Some(opened) = decoded.opened() else {
            if !bytes.is_empty() {
                let said = format!("{} cannot be read: it has no first record", path.display());
                let mend =
                    "keep a copy and move it away while the agent is stopped; then look where the guest runs";
                found.push(problem("journal-unreadable", said, mend));
            }
            continue;
        };
        if decoded.last_phase().is_some_and(|(phase, _)| phase == Phase::InDoubt) {
            let said = format!("the migration of {} to {} is in doubt", opened.name, opened.target);
            let mend = format!(
                "start the agent of {}; or, if you know: ferry migrations resolve {} --as …",
                opened.target, opened.migration
            );
            found.push(problem("in-doubt", said, mend));
        }
    }
}

/// The record beside the disk of each guest that has a QEMU names this host.
async fn owners(config: &Config, found: &mut Vec<Finding>) {
    let entries = std::fs::read_dir(&config.run_dir).into_iter().flatten().flatten();
    for directory in entries.map(|entry| entry.path()) {
        let Ok(text) = std::fs::read(directory.join(RECORD)) else { continue };
        let Ok(guest) = serde_json::from_slice::<GuestRecord>(&text) else {
            let said = format!("{} cannot be read, so no agent starts", directory.join(RECORD).display());
            found.push(problem(
                "guest-record-unreadable",
                said,
                "restore it; while its QEMU runs do not remove it",
            ));
            continue;
        };
        let Some(path) = &guest.owner_record else { continue };
        let path = path.display();
        match read_owner(guest.owner_record.as_deref().unwrap_or(Path::new(""))).await {
            Ok(Some(owner)) if owner.host == config.host => {}
            Ok(Some(owner)) => {
                let said = format!("a QEMU runs here whose owner record {path} names {}", owner.host);
                let mend = "find out where the guest runs before you touch either: it must not run twice";
                found.push(problem("owned-elsewhere", said, mend));
            }
            Ok(None) => {
                let said = format!("a QEMU runs here whose owner record {path} is not there");
                found.push(warning("owner-record-missing", said, "shut the domain down and start it again"));
            }
            Err(error) => found.push(problem(
                "owner-record-unreadable",
                format!("{path}: {}", Failure::chain(&error)),
                "see that the storage is mounted and answers",
            )),
        }
    }
}
