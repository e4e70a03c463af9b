//! What a domain has on this host, and what it becomes on another: gathers what `migration::placement` decides about, and
//! writes that decision into the definition. It copies nothing. Main functions: [`belongings`], [`place`]; on the target
//! [`older_copies`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use api::{CopyStorage, DomainState, Identity, Maps, Pool};
use domain::{Definition, Domain, Elsewhere, InterfaceSource};
use futures_util::future::join_all;
use migration::placement::{self, Belongings, Disk, Image, Placed, StoredFile, Wish};
use storage::{ImageFormat, below};
use tokio::time::timeout;
use uuid::Uuid;

use crate::allocate::Allocator;
use crate::disks::{image_format, path_of};
use crate::failure::Failure;
use crate::guest::{descriptions, frozen_uuid, read_owner};
use crate::keeper::Ask;
use crate::limits::FACT_TIMEOUT;
use crate::node::Node;
use crate::nonvolatile;
use crate::pools;
use crate::store::blocking;

/// How a domain is to go.
pub(crate) struct Wanted<'a> {
    pub(crate) live: bool,
    pub(crate) copy: Option<&'a CopyStorage>,
    pub(crate) maps: &'a Maps,
    /// The target's pools, where pools are mapped.
    pub(crate) pools_there: &'a [Pool],
    /// Paths of files here that the target sees as well.
    pub(crate) shared: &'a BTreeSet<String>,
}

/// A domain as it is to be on the target.
#[derive(Debug, Clone)]
pub(crate) struct Placing {
    /// Its definition there.
    pub(crate) definition: Definition,
    /// What is called otherwise there.
    pub(crate) elsewhere: Elsewhere,
    /// What is copied, numbered by its place here.
    pub(crate) files: Vec<Placed>,
}

impl Placing {
    /// Every file that has another path there, by its path here.
    pub(crate) fn moved(&self) -> BTreeMap<String, String> {
        let text = |path: &PathBuf| path.display().to_string();
        self.elsewhere.files.iter().map(|(from, to)| (text(from), text(to))).collect()
    }
}

/// What a domain has, as far as it can be looked at: what is wrong with it, the preflight says.
pub(crate) async fn belongings(node: &Node, domain: &Domain) -> Belongings {
    let disks = domain.disks.iter().filter_map(|disk| Some((disk, path_of(disk)?)));
    let disks = join_all(disks.map(|(disk, path)| async move {
        let top = || Image { file: named(path), format: image_format(disk).to_string(), ..Image::default() };
        let images = timeout(FACT_TIMEOUT, images(node, disk, path)).await;
        let images = images.ok().filter(|images| !images.is_empty()).unwrap_or_else(|| vec![top()]);
        Disk { name: disk.target.clone(), medium: disk.is_cdrom(), images }
    }));
    let bridges = domain.interfaces.iter().filter_map(|interface| match &interface.source {
        InterfaceSource::Bridge(name) | InterfaceSource::Network(name) => Some(name.clone()),
        InterfaceSource::User { .. } => None,
    });
    Belongings {
        disks: disks.await,
        variables: match nonvolatile::variables(domain) {
            Some((path, _)) => stored(path).await,
            None => None,
        },
        tpm: if domain.tpms.is_empty() { Vec::new() } else { tpm(node, frozen_uuid(domain)).await },
        bridges: bridges.collect(),
    }
}

/// A chain of images, the uppermost first, down to the first that cannot be read.
async fn images(node: &Node, disk: &domain::Disk, path: &Path) -> Vec<Image> {
    if !node.allows(path) {
        return Vec::new();
    }
    let Ok(chain) = below(path, image_format(disk), |file| node.allows(file)).await else {
        return Vec::new();
    };
    let files = std::iter::once(path).chain(chain.backing.iter().map(PathBuf::as_path));
    let mut images = Vec::new();
    for (index, file) in files.enumerate() {
        let Some(stored) = stored(file).await.filter(|_| node.allows(file)) else { break };
        let header = chain.headers.get(index);
        let text = |path: &PathBuf| path.display().to_string();
        images.push(Image {
            format: header.map_or(ImageFormat::Raw, |header| header.format).to_string(),
            virtual_bytes: header.map_or(stored.length_bytes, |header| header.virtual_size),
            backing: header.and_then(|header| header.backing.as_ref()).map(text),
            data_file: header.and_then(|header| header.data_file.as_ref()).map(text),
            file: stored,
        });
    }
    images
}

fn named(path: &Path) -> StoredFile {
    StoredFile { path: path.display().to_string(), ..StoredFile::default() }
}

/// A file or device with what it takes; none where it cannot be opened.
async fn stored(path: &Path) -> Option<StoredFile> {
    let opened = storage::open_check(path, false).await.ok()?;
    let taken = storage::image(path, ImageFormat::Raw).await.ok().and_then(|image| image.actual_size);
    // A device takes all that it has.
    let allocated_bytes = taken.filter(|_| opened.kind == storage::DiskKind::File).unwrap_or(opened.size);
    Some(StoredFile { length_bytes: opened.size, allocated_bytes, ..named(path) })
}

/// The files of a TPM's state; its lock is the running swtpm's.
async fn tpm(node: &Node, uuid: Uuid) -> Vec<StoredFile> {
    let directory = node.store.tpm_directory(uuid);
    let listed = directory.clone();
    let names = blocking(move || -> std::io::Result<Vec<String>> {
        let names =
            std::fs::read_dir(listed)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    });
    let mut files = Vec::new();
    for name in names.await.unwrap_or_default().into_iter().filter(|name| !name.starts_with('.')) {
        let file = stored(&directory.join(&name)).await;
        files.extend(file.map(|file| StoredFile { path: name, ..file }));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// The domain as it is to be there, its paths and bridges excepted: under another name, another UUID, with cards of its own.
pub(crate) async fn identified(
    node: &Node,
    definition: &Definition,
    identity: &Identity,
) -> Result<Definition, Failure> {
    let mut identified = definition.clone();
    if let Some(name) = &identity.name {
        identified = identified.with_name(name).map_err(Failure::Definition)?;
    }
    if identity.new_uuid || identity.keep_source {
        identified = identified.with_uuid(Uuid::new_v4()).map_err(Failure::Definition)?;
    }
    if identity.keep_source {
        let without = identified.without_macs().map_err(Failure::Definition)?;
        let capabilities = node.capabilities(node.default_emulator()).await?;
        let mut allocator = Allocator { capabilities: &capabilities, firmware: descriptions(), mac: None };
        identified = without.freeze(&mut allocator).map_err(Failure::Definition)?;
    }
    Ok(identified)
}

/// Where everything of a domain goes, and what it is there. `definition` has the identity that it has there.
pub(crate) async fn place(
    node: &Node,
    definition: &Definition,
    belongings: &Belongings,
    wanted: &Wanted<'_>,
) -> Result<Placing, Failure> {
    let &Wanted { live, copy, maps, pools_there, shared } = wanted;
    let pools_here = if maps.pools.is_empty() { Vec::new() } else { pools::list(node).await };
    let wish = Wish { live, copy, maps, pools_here: &pools_here, pools_there, shared };
    let placed = placement::place(belongings, &wish)?;
    let elsewhere = Elsewhere {
        files: placed.paths.into_iter().map(|(from, to)| (from.into(), to.into())).collect(),
        bridges: maps.bridges.clone(),
        flattened: placed.flattened,
    };
    let definition = definition.mapped(&elsewhere).map_err(Failure::Definition)?;
    Ok(Placing { definition, elsewhere, files: placed.files })
}

/// Files on this host that an earlier stay of the domain has left: the images that its tombstone's definition names to be
/// written, with all below them, and those whose owner record names the domain and another host.
pub(crate) async fn older_copies(node: &Node, uuid: Uuid, paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut older = BTreeSet::new();
    if let Ok(shown) = node.ask(&uuid.to_string(), Ask::Show).await
        && shown.state == DomainState::Moved
    {
        for disk in shown.disks.iter().filter(|disk| !disk.readonly) {
            let format = if disk.format == "qcow2" { ImageFormat::Qcow2 } else { ImageFormat::Raw };
            let path = PathBuf::from(&disk.source);
            if let Ok(chain) = below(&path, format, |file| node.allows(file)).await {
                older.extend(chain.backing);
            }
            older.insert(path);
        }
    }
    for path in paths {
        let record = read_owner(&storage::owner_path(path)).await.ok().flatten();
        if record.is_some_and(|record| record.domain == uuid && record.host != node.config.host) {
            older.insert(path.clone());
        }
    }
    older
}
