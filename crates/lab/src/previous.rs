//! The release before this one: which it is, and where its program lies once `cargo xtask previous` has built it. It
//! builds nothing. Main type: [`Previous`].

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The one place that says which release it is: a tag or a commit.
const REVISION: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/previous-version"));

/// The release before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its tag or commit.
    pub revision: &'static str,
    /// Where it is built.
    pub directory: PathBuf,
}

impl Previous {
    /// Where it is built below a target directory.
    pub fn below(target: &Path) -> Previous {
        let revision = REVISION.trim();
        Previous { revision, directory: target.join("previous").join(revision) }
    }

    /// Its files, as they are in that revision.
    pub fn source(&self) -> PathBuf {
        self.directory.join("source")
    }

    /// Cargo's directory for it.
    pub fn build(&self) -> PathBuf {
        self.directory.join("build")
    }

    /// Its program `ferry`.
    pub fn ferry(&self) -> PathBuf {
        self.build().join("debug/ferry")
    }

    /// Its program in this workspace.
    ///
    /// # Errors
    /// When it is not built yet.
    pub fn find() -> Result<PathBuf> {
        let ferry = Previous::below(&crate::target()).ferry();
        ensure!(ferry.exists(), "{} is not there: run cargo xtask previous", ferry.display());
        Ok(ferry)
    }
}
