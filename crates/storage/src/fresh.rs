//! A file that is being made. It lies under a hidden name in its own directory until it is complete, and never takes the
//! place of one that is there. Main type: [`Fresh`].
//!
//! ```text
//! <dir>/.<name>.XXXXXX  is filled, fsynced  ──link(2) or renameat2(2), which fail where <name> exists──▶  <dir>/<name>
//! ```

use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::bounded::{self, NoResult};
use crate::disk::{DiskError, check_absolute};
use crate::image::ImageError;
use crate::limits::DISK_TIMEOUT;
use crate::record::{directory_of, sync_directory};

/// A file without its name. It is removed when this is dropped unfinished.
#[derive(Debug)]
pub(crate) struct Fresh {
    /// None only while a file operation has it.
    file: Option<NamedTempFile>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Removing it may hang on a dead mount, and nobody must wait for that.
            drop(std::thread::Builder::new().name("file-operation".to_owned()).spawn(move || drop(file)));
        }
    }
}

impl Fresh {
    /// Begins a file that will be `path`, mode 0600.
    pub(crate) async fn begin(path: &Path) -> Result<Fresh, ImageError> {
        check_absolute(path)?;
        let owned = path.to_owned();
        let file = file_operation("create", path, move || {
            if owned.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let mut prefix = std::ffi::OsString::from(".");
            prefix.push(owned.file_name().unwrap_or_default());
            prefix.push(".");
            tempfile::Builder::new().prefix(&prefix).tempfile_in(directory_of(&owned))
        });
        let file = file.await?;
        Ok(Fresh { temporary: file.path().to_owned(), file: Some(file), path: path.to_owned() })
    }

    /// Where it lies until it is finished.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Works on the file. What fails leaves nothing behind.
    pub(crate) async fn work<T: Send + 'static>(
        &mut self,
        step: &'static str,
        operation: impl FnOnce(&mut NamedTempFile) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ImageError> {
        let mut file = self.file.take().expect("an operation that failed or was given up is the last");
        let (file, value) = file_operation(step, &self.path, move || {
            let value = operation(&mut file)?;
            Ok((file, value))
        })
        .await?;
        self.file = Some(file);
        Ok(value)
    }

    /// Gives it its name, durably.
    pub(crate) async fn finish(mut self) -> Result<(), ImageError> {
        let file = self.file.take().expect("an operation that failed or was given up is the last");
        let path = self.path.clone();
        file_operation("create", &self.path, move || {
            file.as_file().sync_all()?;
            file.persist_noclobber(&path).map_err(|error| error.error)?;
            sync_directory(&path)
        })
        .await
    }

    /// Gives it its name if what filled it went well; else removes it.
    pub(crate) async fn finish_if(mut self, filled: Result<(), ImageError>) -> Result<(), ImageError> {
        match filled {
            Ok(()) => self.finish().await,
            Err(error) => {
                // The first error is the one to tell.
                if let Some(file) = self.file.take() {
                    let _ = file_operation("remove", &self.path, move || file.close()).await;
                }
                Err(error)
            }
        }
    }
}

/// A file operation on an image, within its time.
pub(crate) async fn file_operation<T: Send + 'static>(
    step: &'static str,
    path: &Path,
    operation: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ImageError> {
    told(step, path, bounded::run(DISK_TIMEOUT, operation).await)
}

/// What came of a file operation on an image.
pub(crate) fn told<T>(
    step: &'static str,
    path: &Path,
    done: Result<io::Result<T>, NoResult>,
) -> Result<T, ImageError> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(ImageError::Exists { path: path.to_owned() })
        }
        Ok(Err(source)) | Err(NoResult::NoThread(source)) => {
            Err(DiskError::Io { step, path: path.to_owned(), source }.into())
        }
        Err(NoResult::TimedOut) => {
            Err(ImageError::TimedOut { step, path: path.to_owned(), after: DISK_TIMEOUT })
        }
    }
}
