//! What a guest keeps besides its disks: the variables of its firmware, and the state of its TPM, which a swtpm beside its
//! QEMU holds. Both travel in QEMU's own stream; here their files are made before, and removed where they are of no use
//! any more. It never reads what is in them.
//!
//! ```text
//!                variables: a file as the definition has it    TPM: state_dir/tpm/<uuid>/
//! start          made from their template where missing        made by swtpm where missing
//! arrival        the same; QEMU writes all of them at `cont`   empty; QEMU fills it while it loads
//! moved away     left: the storage may be shared               removed
//! never ran      removed where the arrival made it             removed
//! undefined      left, unless asked                            removed, unless the definition keeps it
//! ```

use std::path::{Path, PathBuf};

use domain::{Domain, Nvram};
use qemu::process::swtpm;
use uuid::Uuid;

use crate::failure::Failure;
use crate::guest::GuestRecord;
use crate::node::Node;

/// Files and directories that a guest's arrival is going to make; they go again if it never runs here.
pub(crate) fn made_by_arrival(node: &Node, domain: &Domain, uuid: Uuid) -> Vec<PathBuf> {
    let variables = variables(domain).map(|(path, _)| path).filter(|path| !path.exists());
    let tpm = domain.tpms.first().map(|_| node.store.tpm_directory(uuid));
    variables.map(ToOwned::to_owned).into_iter().chain(tpm).collect()
}

/// The file with the variables of a domain's firmware, where it has one.
pub(crate) fn variables(domain: &Domain) -> Option<(&Path, &Nvram)> {
    let nvram = domain.os.firmware.nvram.as_ref()?;
    Some((nvram.path.as_deref()?, nvram))
}

/// Makes the files, and starts the TPM.
pub(crate) async fn prepare(
    node: &Node,
    domain: &Domain,
    record: &GuestRecord,
    incoming: bool,
) -> Result<(), Failure> {
    if let Some((path, Nvram { template: Some(template), .. })) = variables(domain)
        && storage::copy_template(template, path).await?
    {
        tracing::info!(domain = domain.name, path = %path.display(), "made the firmware's variables");
    }
    for tpm in &domain.tpms {
        let state = node.store.tpm_directory(record.uuid);
        if incoming {
            // What an earlier stay here left would be another TPM's.
            node.store.remove_tree(&state)?;
        }
        let log = node.store.log_path(&domain.name);
        swtpm::start(*tpm, &node.store.run_directory(record.uuid), &state, &log).await?;
    }
    Ok(())
}

/// A guest that was to arrive never ran here.
pub(crate) fn withdraw(node: &Node, record: &GuestRecord) {
    for path in &record.made {
        remove(node, path);
    }
}

/// The domain runs elsewhere, or is forgotten: its TPM's state here is of no use any more.
pub(crate) fn forget_tpm(node: &Node, uuid: Uuid) {
    remove(node, &node.store.tpm_directory(uuid));
}

fn remove(node: &Node, path: &Path) {
    if let Err(error) = node.store.remove_tree(path) {
        tracing::warn!(path = %path.display(), "a file of a guest was left behind: {error}");
    }
}
