//! Files that begin as a copy of another one: the variables of a guest's firmware. A file that is there is left as it is;
//! one that is made is whole and durable when it appears. Main function: [`copy_template`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::bounded::{self, NoResult};
use crate::limits::DISK_TIMEOUT;

/// Why a file was not made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template cannot be read.
    #[error("the template {template:?} cannot be read; install the firmware that the definition names")]
    Read {
        /// The template.
        template: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("{path:?} cannot be made as a copy of {template:?}; make its directory, and room in it")]
    Write {
        /// The file.
        path: PathBuf,
        /// The template.
        template: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The storage does not answer.
    #[error("{path:?} was not made within {DISK_TIMEOUT:?}: does its storage answer?")]
    TimedOut {
        /// The file.
        path: PathBuf,
    },
}

/// Makes `path` as a copy of `template` where it is not there yet; says whether it did.
///
/// # Errors
/// See [`TemplateError`]; nothing was made then.
pub async fn copy_template(template: &Path, path: &Path) -> Result<bool, TemplateError> {
    let (from, to) = (template.to_owned(), path.to_owned());
    match bounded::run(DISK_TIMEOUT, move || copy(&from, &to)).await {
        Ok(copied) => copied,
        Err(NoResult::TimedOut) => Err(TemplateError::TimedOut { path: path.to_owned() }),
        Err(NoResult::NoThread(source)) => Err(write_error(template, path, source)),
    }
}

fn copy(template: &Path, path: &Path) -> Result<bool, TemplateError> {
    let write = |source| write_error(template, path, source);
    if path.try_exists().map_err(write)? {
        return Ok(false);
    }
    let mut from = File::open(template)
        .map_err(|source| TemplateError::Read { template: template.to_owned(), source })?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(write)?;
    io::copy(&mut from, &mut file).map_err(write)?;
    file.as_file().sync_all().map_err(write)?;
    match file.persist_noclobber(path) {
        Ok(_file) => {}
        // Somebody else made it in this moment.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(write(error.error)),
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(write)?;
    Ok(true)
}

fn write_error(template: &Path, path: &Path, source: io::Error) -> TemplateError {
    TemplateError::Write { path: path.to_owned(), template: template.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_made_once_and_then_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (template, path) = (directory.path().join("template"), directory.path().join("variables"));
        std::fs::write(&template, "new").unwrap();
        assert!(copy_template(&template, &path).await.unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        std::fs::write(&path, "used").unwrap();
        assert!(!copy_template(&template, &path).await.unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"used");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let (template, path) = (directory.path().join("template"), directory.path().join("no/variables"));
        assert!(matches!(copy_template(&template, &path).await, Err(TemplateError::Read { .. })));
        std::fs::write(&template, "new").unwrap();
        assert!(matches!(copy_template(&template, &path).await, Err(TemplateError::Write { .. })));
    }
}
