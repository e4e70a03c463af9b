//! What lies on this host where a domain's files would be copied to. It makes nothing there. Main function: [`look`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use api::{CopyFile, CopyRole, PlaceFacts};
use futures_util::future::join_all;
use storage::{DiskError, DiskKind, ImageFormat};
use tokio::time::timeout;
use uuid::Uuid;

use super::{disks, no_answer};
use crate::failure::chain;
use crate::limits::FACT_TIMEOUT;
use crate::node::Node;
use crate::placement::older_copies;
use crate::volumes::users::others;

/// Each place that an offer of the domain of this UUID names by its path; those that this host does not allow are only named.
pub(super) async fn look(node: &Node, uuid: Uuid, files: &[CopyFile]) -> Vec<PlaceFacts> {
    let files: Vec<_> = files.iter().filter(|file| !file.path.is_empty()).collect();
    if files.is_empty() {
        return Vec::new();
    }
    let paths: Vec<PathBuf> = files.iter().map(|file| PathBuf::from(&file.path)).collect();
    let older = older_copies(node, uuid, &paths).await;
    join_all(files.into_iter().zip(&paths).map(|(file, path)| bounded(node, uuid, file, path, &older))).await
}

async fn bounded(
    node: &Node,
    uuid: Uuid,
    file: &CopyFile,
    path: &Path,
    older: &BTreeSet<PathBuf>,
) -> PlaceFacts {
    let named = PlaceFacts { path: file.path.clone(), ..PlaceFacts::default() };
    if !node.allows(path) {
        return named;
    }
    let older_copy = older.contains(path);
    let looked = one(node, uuid, file, path, PlaceFacts { older_copy, ..named.clone() });
    let slow = |_elapsed| PlaceFacts { fault: Some(no_answer(FACT_TIMEOUT)), ..named };
    timeout(FACT_TIMEOUT, looked).await.unwrap_or_else(slow)
}

async fn one(node: &Node, uuid: Uuid, file: &CopyFile, path: &Path, named: PlaceFacts) -> PlaceFacts {
    // What others stand on may be used as it is.
    let written = named.older_copy || !matches!(file.role, CopyRole::Backing { .. });
    let opened = match storage::open_check(path, written).await {
        Ok(opened) => Some(opened),
        Err(DiskError::Missing { .. }) => None,
        Err(error) => return PlaceFacts { fault: Some(chain(&error)), ..named },
    };
    let room = match path.parent() {
        Some(directory) => storage::filesystem(directory).await,
        None => storage::filesystem(path).await,
    };
    let room = match room {
        Ok(room) => room,
        Err(error) => return PlaceFacts { fault: Some(chain(&error)), ..named },
    };
    let here = PlaceFacts { filesystem: Some(room.id), free_bytes: Some(room.free_bytes), ..named };
    let Some(opened) = opened else {
        // A file of that name would be lost at the next boot, and none is what the definition would mean.
        let fault = domain::is_device(&file.path).then(|| "there is no such device".to_owned());
        return PlaceFacts { older_copy: false, fault, ..here };
    };
    let users = match others(node, path, uuid).await {
        Ok(users) => users,
        Err(failure) => {
            let fault = format!("which domains use it cannot be found out: {}", failure.chain());
            return PlaceFacts { fault: Some(fault), older_copy: false, ..here };
        }
    };
    let taken = storage::image(path, ImageFormat::Raw).await.ok().and_then(|image| image.actual_size);
    PlaceFacts {
        older_copy: here.older_copy && users.is_empty(),
        users,
        length_bytes: Some(opened.size),
        taken_bytes: taken,
        block: opened.kind == DiskKind::BlockDevice,
        in_use: disks::in_use(path, format(&file.role)).await,
        ..here
    }
}

fn format(role: &CopyRole) -> ImageFormat {
    match role {
        CopyRole::Disk { format, .. } | CopyRole::Backing { format, .. } if format == "qcow2" => {
            ImageFormat::Qcow2
        }
        CopyRole::Disk { .. } | CopyRole::Backing { .. } | CopyRole::Nvram | CopyRole::Tpm { .. } => {
            ImageFormat::Raw
        }
    }
}
