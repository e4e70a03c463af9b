//! Where everything that a domain has on its source's storage is on the target, and what of it is copied. It looks at no
//! file: a domain's images are told with what stands in them. Main function: [`place`].
//!
//! ```text
//! a disk that is named by --map-disk      → where that says; what it stands on stays where it is
//! a file in a pool named by --map-pool    → the same place in the other pool
//! anything else                           → the same path
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use api::{CopyFile, CopyRole, CopyStorage, Maps, PlaceFacts, Pool};

/// What a domain has on its source's storage, and where its cards lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belongings {
    /// Its disks and media, without those that QEMU reaches over the network (`nfs://…`).
    pub disks: Vec<Disk>,
    /// The variables of its firmware, where there are some.
    pub variables: Option<StoredFile>,
    /// The files of its TPM's state, by their names below its directory.
    pub tpm: Vec<StoredFile>,
    /// The bridges and networks of its interfaces, by name.
    pub bridges: Vec<String>,
}

/// A disk or a medium.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// The guest's name for it, as in `vda`.
    pub name: String,
    /// Whether it is in a drive.
    pub medium: bool,
    /// Its images, the uppermost first, as far as they are files or devices of the source.
    pub images: Vec<Image>,
}

/// One image of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Its file or device.
    pub file: StoredFile,
    /// Its format, as in `qcow2`.
    pub format: String,
    /// Bytes that the guest sees.
    pub virtual_bytes: u64,
    /// The image below, as its name stands in this one.
    pub backing: Option<String>,
    /// The file that holds its blocks, where that is not its own, as its name stands in it.
    pub data_file: Option<String>,
}

/// A file or device of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredFile {
    /// Its path; of a TPM's state the name below its directory.
    pub path: String,
    /// Bytes in it.
    pub length_bytes: u64,
    /// Bytes that it takes, holes not counted.
    pub allocated_bytes: u64,
}

/// How the domain is to go.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// While its guest works. QEMU itself carries variables and TPM then.
    pub live: bool,
    /// Whether and how its disks go with it.
    pub copy: Option<&'a CopyStorage>,
    /// What is called otherwise on the target.
    pub maps: &'a Maps,
    /// The source's pools.
    pub pools_here: &'a [Pool],
    /// The target's pools; needed where pools are mapped.
    pub pools_there: &'a [Pool],
    /// Files here, by path, that the target sees as well: they are not copied.
    pub shared: &'a BTreeSet<String>,
}

/// Where everything is on the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Every file that has another path there, by its path here.
    pub paths: BTreeMap<String, String>,
    /// What is copied: each disk's images from the lowest upwards, then variables, then the TPM's state.
    pub files: Vec<Placed>,
    /// Disks, by the guest's names, whose chain becomes one image.
    pub flattened: BTreeSet<String>,
}

/// A file that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its path on the source.
    pub from: String,
    /// The same for the target.
    pub file: CopyFile,
    /// Whether somebody named its place, or its pool.
    pub chosen: bool,
}

/// Why a domain cannot be placed as somebody wishes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A map names no disk of the domain.
    #[error("the domain has no disk {disk}: it has {}", or_nothing(.known))]
    UnknownDisk {
        /// What was named.
        disk: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A map names no pool of a host, or none that holds something of the domain.
    #[error("there is no pool {pool} on the {side} that could be meant: there is {}", or_nothing(.known))]
    UnknownPool {
        /// What was named.
        pool: String,
        /// `source` or `target`.
        side: &'static str,
        /// The source's pools that hold something of the domain, or all of the target's.
        known: Vec<String>,
    },
    /// A map names no bridge of the domain.
    #[error("the domain is on no bridge or network {bridge}: it is on {}", or_nothing(.known))]
    UnknownBridge {
        /// What was named.
        bridge: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A place is no whole path.
    #[error("the place {path:?} for {disk} is not a whole path, without `..`")]
    NoPath {
        /// Of what.
        disk: String,
        /// The place.
        path: String,
    },
    /// Two files would lie at one place.
    #[error("{one} and {other} would both become {path} on the target")]
    OnePlace {
        /// A file here.
        one: String,
        /// Another.
        other: String,
        /// The place there.
        path: String,
    },
    /// An image keeps its blocks in another file.
    #[error("the image {path} keeps its blocks in {data_file}, and cannot be copied as one file")]
    DataFile {
        /// The image.
        path: String,
        /// That file.
        data_file: String,
    },
    /// An image names one below it that has another path on the target, and nobody writes that into it.
    #[error(
        "the image {path} stands on {backing}, which would be {to} on the target, and names it by another path"
    )]
    BackingStays {
        /// The image.
        path: String,
        /// The one below.
        backing: String,
        /// Where that is on the target.
        to: String,
    },
}

fn or_nothing(known: &[String]) -> String {
    if known.is_empty() { "nothing of the kind".to_owned() } else { known.join(", ") }
}

impl PlacementError {
    /// What to do.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            PlacementError::UnknownDisk { .. } => {
                "name a disk as the guest has it, like vda, or by its path".to_owned()
            }
            PlacementError::UnknownPool { side: "target", .. } => {
                "define the pool there first: ferry --host ssh://HOST pool define FILE.xml".to_owned()
            }
            PlacementError::UnknownPool { .. } => {
                "ferry pool list shows the pools and their paths".to_owned()
            }
            PlacementError::UnknownBridge { .. } => "ferry dumpxml shows the domain's interfaces".to_owned(),
            PlacementError::NoPath { .. } => {
                "write the path from the root on, as in vda=/srv/web1.qcow2".to_owned()
            }
            PlacementError::OnePlace { .. } => "give each a place of its own with --map-disk".to_owned(),
            PlacementError::DataFile { .. } => "copy its content into a plain image: --flatten".to_owned(),
            PlacementError::BackingStays { path, backing, .. } => format!(
                "let the image name it by a path relative to itself: qemu-img rebase -u -b {backing} {path}; or mount \
                 the storage at the same path on both hosts"
            ),
        }
    }
}

/// Places everything that a domain has.
///
/// - Offline and without `copy` only what lies beside no disk is copied: the TPM's state, and such variables.
/// - With `copy` the disks are, a chain as a chain or, flattened, as one converted image; media where asked.
/// - Live nothing else is, and each disk becomes one new image: variables and TPM go through QEMU's own stream.
///
/// # Errors
/// [`PlacementError`], the first one: a map that fits nothing says what there is.
pub fn place(belongings: &Belongings, wish: &Wish<'_>) -> Result<Placement, PlacementError> {
    let places = Places::new(belongings, wish)?;
    let mut placement = Placement { paths: places.moved(belongings), ..Placement::default() };
    for disk in &belongings.disks {
        match wish.copy.filter(|copy| copy.media || !disk.medium) {
            Some(copy) => places.copy(disk, copy.flatten, wish.shared, &mut placement)?,
            None => places.check_names(disk)?,
        }
    }
    if !wish.live {
        let alone = |file: &&StoredFile| wish.copy.is_some() || !lies_beside_a_disk(belongings, file);
        let variables = belongings.variables.iter().filter(alone);
        placement.files.extend(variables.map(|file| places.placed(file, CopyRole::Nvram)));
        for file in &belongings.tpm {
            let mut placed = places.placed(file, CopyRole::Tpm { name: file.path.clone() });
            placed.file.path.clear();
            placement.files.push(placed);
        }
    }
    distinct(&placement)?;
    Ok(placement)
}

/// Files here, by path, of those that are to be copied, that the target sees at their places: its directory there is one of
/// the source's.
#[must_use]
pub fn seen(files: &[Placed], places: &[PlaceFacts]) -> BTreeSet<String> {
    let name = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
    let of_images = files.iter().filter(|placed| placed.file.is_image());
    let seen = of_images.filter(|Placed { from, file, .. }| {
        let place = places.iter().find(|place| place.path == file.path);
        place.is_some_and(|place| place.beside_nonce && place.length_bytes.is_some())
            && name(from) == name(&file.path)
    });
    seen.map(|placed| placed.from.clone()).collect()
}

/// Whether what lies at the place of an image that others stand on is used as it is, where it is equal: it is never written,
/// since more than one domain may stand on it.
#[must_use]
pub fn is_kept(file: &CopyFile, place: &PlaceFacts) -> bool {
    let below =
        matches!(file.role, CopyRole::Backing { .. }) && place.length_bytes == Some(file.length_bytes);
    // What it stands on in turn would have to be written into it.
    below && !place.older_copy && file.backing.is_none() && (!place.block || !place.users.is_empty())
}

/// Whether a file lies beside a disk: where the disk is found on both hosts, so is the file.
fn lies_beside_a_disk(belongings: &Belongings, file: &StoredFile) -> bool {
    let directory = |path: &str| Path::new(path).parent().map(plain);
    let disks = belongings.disks.iter().filter(|disk| !disk.medium);
    let mut tops = disks.filter_map(|disk| disk.images.first());
    tops.any(|image| directory(&image.file.path) == directory(&file.path))
}

/// No two files become one.
fn distinct(placement: &Placement) -> Result<(), PlacementError> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for Placed { from, file, .. } in placement.files.iter().filter(|placed| !placed.file.path.is_empty()) {
        if let Some(one) = taken.insert(&file.path, from) {
            let (one, other, path) = (one.to_owned(), from.clone(), file.path.clone());
            return Err(PlacementError::OnePlace { one, other, path });
        }
    }
    Ok(())
}

/// The paths of all files that a definition can name.
fn paths(belongings: &Belongings) -> impl Iterator<Item = &str> {
    let images = belongings.disks.iter().flat_map(|disk| &disk.images).map(|image| &image.file);
    images.chain(&belongings.variables).map(|file| file.path.as_str())
}

/// A path without `.` and `..`, as far as that goes without looking.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

/// The maps, each of which fits something.
struct Places<'a> {
    /// Whether the guest works meanwhile: what it sees of a disk goes over, into a new image.
    live: bool,
    /// Files that are named, by path here.
    files: BTreeMap<&'a str, &'a str>,
    /// Directories of pools, here and there; the longest first.
    pools: Vec<(&'a Path, &'a Path)>,
}

impl<'a> Places<'a> {
    fn new(belongings: &'a Belongings, wish: &Wish<'a>) -> Result<Places<'a>, PlacementError> {
        let Maps { disks, pools, bridges } = wish.maps;
        if let Some(bridge) = bridges.keys().find(|bridge| !belongings.bridges.contains(bridge)) {
            let known = belongings.bridges.clone();
            return Err(PlacementError::UnknownBridge { bridge: bridge.clone(), known });
        }
        let files = disks.iter().map(|(disk, place)| Places::named(belongings, disk, place));
        let mut places =
            Places { live: wish.live, files: files.collect::<Result<_, _>>()?, pools: Vec::new() };
        let holds = |pool: &&Pool| paths(belongings).any(|path| Path::new(path).starts_with(&pool.path));
        let here: Vec<&Pool> = wish.pools_here.iter().filter(holds).collect();
        let there: Vec<&Pool> = wish.pools_there.iter().collect();
        for (from, to) in pools {
            let (from, to) = (find(&here, from, "source")?, find(&there, to, "target")?);
            places.pools.push((Path::new(&from.path), Path::new(&to.path)));
        }
        places.pools.sort_by_key(|(here, _)| std::cmp::Reverse(here.components().count()));
        Ok(places)
    }

    /// A file by the guest's name for the disk, or by its path.
    fn named(
        belongings: &'a Belongings,
        disk: &str,
        place: &'a str,
    ) -> Result<(&'a str, &'a str), PlacementError> {
        let top = belongings.disks.iter().find(|it| it.name == disk).and_then(|it| it.images.first());
        let path = top.map(|image| image.file.path.as_str());
        let Some(path) = path.or_else(|| paths(belongings).find(|path| *path == disk)) else {
            let disks = belongings.disks.iter().map(|disk| disk.name.clone());
            let known = disks.chain(paths(belongings).map(str::to_owned)).collect();
            return Err(PlacementError::UnknownDisk { disk: disk.to_owned(), known });
        };
        if !Path::new(place).is_absolute() || plain(Path::new(place)) != Path::new(place) {
            return Err(PlacementError::NoPath { disk: disk.to_owned(), path: place.to_owned() });
        }
        Ok((path, place))
    }

    /// Where a file is on the target, if somebody says that it is elsewhere.
    fn chosen(&self, path: &str) -> Option<String> {
        if let Some(place) = self.files.get(path) {
            return Some((*place).to_owned());
        }
        let path = plain(Path::new(path));
        let in_pool = |(here, there): &(&Path, &Path)| Some(there.join(path.strip_prefix(here).ok()?));
        self.pools.iter().find_map(in_pool).map(|place| place.display().to_string())
    }

    /// Where a file is on the target.
    fn there(&self, path: &str) -> String {
        self.chosen(path).unwrap_or_else(|| path.to_owned())
    }

    fn moved(&self, belongings: &Belongings) -> BTreeMap<String, String> {
        let all = paths(belongings).map(|path| (path.to_owned(), self.there(path)));
        all.filter(|(here, there)| here != there).collect()
    }

    fn placed(&self, file: &StoredFile, role: CopyRole) -> Placed {
        let chosen = self.chosen(&file.path);
        Placed {
            from: file.path.clone(),
            chosen: chosen.is_some(),
            file: CopyFile {
                role,
                path: plain(Path::new(chosen.as_ref().unwrap_or(&file.path))).display().to_string(),
                length_bytes: file.length_bytes,
                allocated_bytes: file.allocated_bytes,
                backing: None,
                converted: false,
            },
        }
    }

    /// Copies a disk: the one image that its chain becomes, or all of the chain that the target does not see.
    fn copy(
        &self,
        disk: &Disk,
        flatten: bool,
        shared: &BTreeSet<String>,
        placement: &mut Placement,
    ) -> Result<(), PlacementError> {
        let Some(top) = disk.images.first() else { return Ok(()) };
        let stands_on_more = top.backing.is_some() || top.data_file.is_some();
        if self.live && shared.contains(&top.file.path) {
            return self.check_names(disk);
        }
        if (self.live || flatten && stands_on_more) && !shared.contains(&top.file.path) {
            let role = CopyRole::Disk { disk: disk.name.clone(), format: top.format.clone() };
            let all = StoredFile {
                path: top.file.path.clone(),
                length_bytes: top.virtual_bytes,
                allocated_bytes: disk.images.iter().map(|image| image.file.allocated_bytes).sum(),
            };
            let mut placed = self.placed(&all, role);
            placed.file.converted = true;
            placement.files.push(placed);
            if stands_on_more {
                placement.flattened.insert(disk.name.clone());
            }
            return Ok(());
        }
        for (index, image) in disk.images.iter().enumerate().rev() {
            let path = &image.file.path;
            let backing = disk.images.get(index + 1).and_then(|below| self.renamed(image, below));
            if shared.contains(path) {
                stays(image, backing)?;
                continue;
            }
            if let Some(data_file) = image.data_file.clone() {
                return Err(PlacementError::DataFile { path: path.clone(), data_file });
            }
            // Disks may stand on one image.
            if placement.files.iter().any(|placed| plain(Path::new(&placed.from)) == plain(Path::new(path))) {
                continue;
            }
            let (disk, format) = (disk.name.clone(), image.format.clone());
            let role = match index {
                0 => CopyRole::Disk { disk, format },
                _ => CopyRole::Backing { disk, format },
            };
            let mut placed = self.placed(&image.file, role);
            placed.file.backing = backing;
            placement.files.push(placed);
        }
        Ok(())
    }

    /// A disk that is not copied.
    fn check_names(&self, disk: &Disk) -> Result<(), PlacementError> {
        let mut pairs = disk.images.iter().zip(disk.images.iter().skip(1));
        pairs.try_for_each(|(image, below)| stays(image, self.renamed(image, below)))
    }

    /// The path on the target of the image below another, where the other's own name for it does not lead there.
    fn renamed(&self, image: &Image, below: &Image) -> Option<String> {
        let name = Path::new(image.backing.as_ref()?);
        let place = self.there(&image.file.path);
        // As QEMU does it (`path_combine`): relative to the image.
        let leads = Path::new(&place).parent().unwrap_or(Path::new("/")).join(name);
        let there = plain(Path::new(&self.there(&below.file.path)));
        (plain(&leads) != there).then(|| there.display().to_string())
    }
}

/// No image that stays as it is may name one below it that is elsewhere.
fn stays(image: &Image, renamed: Option<String>) -> Result<(), PlacementError> {
    let Some(to) = renamed else { return Ok(()) };
    let (path, backing) = (image.file.path.clone(), image.backing.clone().unwrap_or_default());
    Err(PlacementError::BackingStays { path, backing, to })
}

fn find<'a>(pools: &[&'a Pool], name: &str, side: &'static str) -> Result<&'a Pool, PlacementError> {
    pools.iter().find(|pool| pool.name == name).copied().ok_or_else(|| PlacementError::UnknownPool {
        pool: name.to_owned(),
        side,
        known: pools.iter().map(|pool| pool.name.clone()).collect(),
    })
}

#[cfg(test)]
mod tests;
