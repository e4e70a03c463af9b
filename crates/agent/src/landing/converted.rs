//! An image that comes to this host as what its guest sees, and not as the file that it was: QEMU makes it, empty, under a
//! hidden name, and shows it as a file that the copy is written into. The name that it is known by is a second one of the
//! same file until all is settled: so it is always known whether what has that name is this copy. Main type: [`Converted`].

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use backon::{ExponentialBuilder, Retryable};
use storage::{Export, ExportError, ImageFormat, Link, TransferError};

use crate::failure::{CarryFailure, Failure};
use crate::limits::{SHOW_PAUSE_MIN, SHOW_TRIES_MAX};
use crate::store::blocking;

/// A qcow2 image that is made anew.
pub(super) struct Converted {
    path: PathBuf,
    hidden: PathBuf,
    /// Where it is seen as what the guest sees.
    shown: PathBuf,
    /// The log of what is written through that.
    log: PathBuf,
}

impl Converted {
    /// `tag` is part of its hidden name; it, `shown` and `log` are the same over restarts.
    pub(super) fn new(path: &Path, tag: &str, shown: PathBuf, log: PathBuf) -> Converted {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".ferry-{tag}"));
        Converted { path: path.to_owned(), hidden: path.with_file_name(name), shown, log }
    }

    /// Shows it, and makes it first where it is not there yet.
    pub(super) async fn show(&self, length_bytes: u64) -> Result<Export, Failure> {
        let (hidden, path, log) = (self.hidden.clone(), self.path.clone(), self.log.clone());
        let looked = blocking(move || Ok((look(&hidden)?, look(&log)?, look(&path)?)));
        match looked.await.map_err(|source| self.unnamed(source))? {
            (Some(_), Some(_), _) => {}
            (_, _, Some(_)) => {
                return Err(CarryFailure::from(TransferError::Exists { path: self.path.clone() }).into());
            }
            // What is there of one without the other is of no use: a log is of the image that it was begun for.
            (_, _, None) => {
                storage::forget_replica(&self.log).await.map_err(CarryFailure::from)?;
                self.forget().await?;
                storage::create(&self.hidden, length_bytes, ImageFormat::Qcow2).await?;
            }
        }
        let image = Link { path: self.hidden.clone(), format: ImageFormat::Qcow2 };
        let show = || Export::write(&image, &self.shown);
        // The program of an agent that was killed writes what it has before it lets go of the image.
        let tries =
            ExponentialBuilder::default().with_min_delay(SHOW_PAUSE_MIN).with_max_times(SHOW_TRIES_MAX);
        let shown = show.retry(tries).when(|error| matches!(error, ExportError::Refused { .. }));
        Ok(shown.await.map_err(CarryFailure::from)?)
    }

    /// Gives it its name, durably and never over something.
    pub(super) async fn publish(&self) -> Result<(), Failure> {
        let (hidden, path) = (self.hidden.clone(), self.path.clone());
        let linked = blocking(move || match std::fs::hard_link(&hidden, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_same(&hidden, &path)? => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_directory(&path),
        });
        linked.await.map_err(|source| self.unnamed(source))
    }

    /// The copy is wanted: only its hidden name goes.
    pub(super) async fn forget(&self) -> Result<(), Failure> {
        let hidden = self.hidden.clone();
        blocking(move || remove(&hidden)).await.map_err(|source| self.unnamed(source))
    }

    /// The copy is not wanted.
    pub(super) async fn discard(&self) -> Result<(), Failure> {
        let (hidden, path) = (self.hidden.clone(), self.path.clone());
        let removed = blocking(move || {
            if is_same(&hidden, &path)? {
                remove(&path)?;
            }
            remove(&hidden)
        });
        removed.await.map_err(|source| self.unnamed(source))
    }

    fn unnamed(&self, source: io::Error) -> Failure {
        match source.kind() {
            io::ErrorKind::AlreadyExists => {
                CarryFailure::from(TransferError::Exists { path: self.path.clone() }).into()
            }
            _ => CarryFailure::Unnamed { path: self.path.clone(), source }.into(),
        }
    }
}

fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether both are names of one file.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (Some(one), Some(other)) = (look(one)?, look(other)?) else { return Ok(false) };
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_copy_itself_is_named_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web1.qcow2");
        let elsewhere = tempfile::tempdir().unwrap();
        let [shown, log] = ["shown", "log"].map(|name| elsewhere.path().join(name));
        let converted = Converted::new(&path, "7-0", shown, log);
        let left = || std::fs::read_dir(directory.path()).unwrap().count();
        converted.discard().await.unwrap();
        for ends in [true, false] {
            std::fs::write(&converted.hidden, "copy").unwrap();
            converted.publish().await.unwrap();
            // Again, as after a crash.
            converted.publish().await.unwrap();
            match ends {
                true => converted.discard().await.unwrap(),
                false => converted.forget().await.unwrap(),
            }
            assert_eq!(left(), usize::from(!ends));
        }
        // What has the name now is no copy of this migration any more.
        std::fs::write(&converted.hidden, "another").unwrap();
        let refused = converted.publish().await.unwrap_err().to_string();
        assert!(refused.contains("exists already"), "{refused}");
        converted.discard().await.unwrap();
        assert_eq!((left(), std::fs::read(&path).unwrap().as_slice()), (1, b"copy".as_slice()));
        assert!(converted.show(1 << 20).await.is_err(), "it would be written over");
    }
}
