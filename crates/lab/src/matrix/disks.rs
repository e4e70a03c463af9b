//! The disks of a guest whose hosts share none: made anew before each migration, so that there is always something to copy,
//! and compared on both hosts after it. Main type: [`Before`].

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Kind;
use crate::guest::Guest;
use crate::host::Host;
use crate::limits::{GIVEN_BACK, LOOK};
use crate::trial::Trial;

/// The guest's second disk: raw, most of it holes.
const DATA: &str = "data.raw";
const DATA_BYTES: u64 = 16 << 20;
/// What is in it.
const NOISE_BYTES: usize = 3 << 20;
/// Where that begins, in turn: a copy of one must make room and give room back to become the next.
const PLACES: [u64; 3] = [0, 5 << 20, 11 << 20];

/// Gives a guest that nobody has defined yet its second disk.
pub(super) fn add(guest: &mut Guest) -> Result<()> {
    let path = guest.disk.with_file_name(DATA);
    renew(&path, 0)?;
    let disk = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='vdb' bus='virtio'/></disk>\n    <interface type='bridge'>",
        path.display()
    );
    guest.xml = guest.changed("<interface type='bridge'>", &disk)?;
    Ok(())
}

/// Fills the second disk with noise that is another one for each number.
fn renew(path: &Path, number: u64) -> Result<()> {
    let mut noise = vec![0_u8; NOISE_BYTES];
    let mut state = number + 1;
    for word in noise.chunks_exact_mut(8) {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    let file = File::options().create(true).write(true).truncate(true).open(path)?;
    file.set_len(DATA_BYTES)?;
    file.write_all_at(&noise, PLACES[(number % PLACES.len() as u64) as usize])?;
    Ok(())
}

/// What there was before a migration.
#[derive(Debug)]
pub(super) struct Before {
    /// Disks that nobody writes meanwhile, by their paths in the definition, with their content.
    contents: Vec<(PathBuf, Vec<u8>)>,
    /// Where the domain was.
    source: String,
    /// The files beside the disks, on `kvm1` and on `kvm2`.
    names: [BTreeSet<String>; 2],
}

impl Before {
    /// Remembers everything where the domain is. A second disk that nobody has open gets new content before.
    pub(super) fn of(trial: &Trial<'_>, source: &Host, kind: Kind, number: u64) -> Result<Before> {
        let [first, second] = disks(trial);
        let unwritten = match kind {
            Kind::Live => vec![],
            Kind::ShutOff => {
                renew(&trial.on(source, &second)?, number)?;
                vec![first, second]
            }
            // The guest writes to its first disk, and not to its second.
            Kind::WithDisks => vec![second],
        };
        let mut contents = Vec::new();
        for path in unwritten {
            let content = fs::read(trial.on(source, &path)?)?;
            contents.push((path, content));
        }
        Ok(Before { contents, source: source.name.to_owned(), names: names_on_both(trial)? })
    }

    /// The domain belongs to `host` now: its disks are there as they were, and neither host has anything half made. `deletes`:
    /// a source that it has left keeps none of them.
    pub(super) fn holds(&self, trial: &Trial<'_>, host: &Host, deletes: bool) -> Result<()> {
        for (path, content) in &self.contents {
            let path = trial.on(host, path)?;
            let now = fs::read(&path).with_context(|| path.display().to_string())?;
            ensure!(now == *content, "{} is another one than before", path.display());
        }
        let other = trial.lab.other(host);
        if let Ok(owner) = trial.owner(other) {
            ensure!(owner.host == host.name, "beside the copy of {} is {owner:?}", other.name);
        }
        let moved = self.source != host.name;
        let expected = trial.lab.hosts().iter().zip(&self.names).map(|(on, names)| {
            let mut names = names.clone();
            let own = disks(trial).into_iter().chain([owner_record(trial)]).filter_map(name_of);
            match (moved, on.name == host.name) {
                (true, true) => names.extend(own),
                (true, false) if deletes => own.for_each(|name| _ = names.remove(&name)),
                (true, false) | (false, _) => {}
            }
            names
        });
        let expected: Vec<_> = expected.collect();
        let end = Instant::now() + GIVEN_BACK;
        loop {
            let (names, half_made) = (names_on_both(trial)?, half_made(trial)?);
            if names.as_slice() == expected && half_made.is_empty() {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "the hosts are to have {expected:?}, and have {names:?}; of copies: {half_made:?}"
            );
            thread::sleep(LOOK);
        }
    }
}

/// Both disks, by their paths in the definition.
fn disks(trial: &Trial<'_>) -> [PathBuf; 2] {
    [trial.guest.disk.clone(), trial.guest.disk.with_file_name(DATA)]
}

/// The owner record beside the first.
fn owner_record(trial: &Trial<'_>) -> PathBuf {
    format!("{}.ferry", trial.guest.disk.display()).into()
}

fn name_of(path: PathBuf) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// The files beside the disks, but for what a start of the guest makes.
fn names_on_both(trial: &Trial<'_>) -> Result<[BTreeSet<String>; 2]> {
    let [kvm1, kvm2] = trial.lab.hosts().each_ref().map(|host| {
        let entries = fs::read_dir(trial.on(host, &trial.lab.shared)?)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: BTreeSet<String> = names.collect::<Result<_>>()?;
        Ok::<_, anyhow::Error>(names.into_iter().filter(|name| !name.ends_with(".console")).collect())
    });
    Ok([kvm1?, kvm2?])
}

/// What agents keep only while something comes: logs of copies, definitions that are arriving.
fn half_made(trial: &Trial<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for host in trial.lab.hosts() {
        for entry in fs::read_dir(host.state().join("migrations"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "copy" || extension == "xml") {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}
