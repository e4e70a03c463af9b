//! The NFS servers that a domain's disks lie on, as they answer this host. Main function: [`look`].

use std::path::Path;

use api::{NfsFacts, Pool};
use domain::{Disk, DiskSource, Domain};
use futures_util::future::join_all;

use crate::failure::chain;

/// Every server with what is needed of it, each once.
pub(super) async fn look(domain: &Domain, pools: &[Pool]) -> Vec<NfsFacts> {
    let mut needed: Vec<NfsFacts> = Vec::new();
    for facts in domain.disks.iter().filter_map(|disk| of(disk, pools)) {
        if !needed.contains(&facts) {
            needed.push(facts);
        }
    }
    join_all(needed.into_iter().map(asked)).await
}

/// Where a disk lies on a server: QEMU's own client speaks version 3, a pool's mount speaks what the pool says.
fn of(disk: &Disk, pools: &[Pool]) -> Option<NfsFacts> {
    match disk.source.as_ref()? {
        DiskSource::Nfs { host, path } => {
            let directory = Path::new(path).parent()?.display().to_string();
            let server = host.clone();
            Some(NfsFacts { server, path: directory, version3: true, ..NfsFacts::default() })
        }
        DiskSource::File(file) => {
            let pool = pools.iter().find(|pool| file.starts_with(&pool.path))?;
            let (server, path) = domain::Netfs::split_device(pool.source.as_deref()?)?;
            let version3 =
                pool.mounted_version.as_ref().or(pool.nfs_version.as_ref()).is_some_and(|it| it == "3");
            Some(NfsFacts {
                server: server.to_owned(),
                path: path.to_owned(),
                version3,
                ..NfsFacts::default()
            })
        }
        DiskSource::Block(_) => None,
    }
}

async fn asked(facts: NfsFacts) -> NfsFacts {
    let answers = storage::nfs_server(&facts.server).await;
    let nfs_fault = answers.nfs.err().map(|error| chain(&error));
    match answers.exports {
        Ok(exports) => NfsFacts { nfs_fault, exports: Some(exports), ..facts },
        Err(error) => NfsFacts { nfs_fault, rpc_fault: Some(chain(&error)), ..facts },
    }
}
