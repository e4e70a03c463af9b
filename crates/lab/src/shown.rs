//! What tests have seen the preflight's rules find, written down as they see it, for whoever collects it when they have
//! run. Main type: [`Shown`].

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// How a condition came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Made {
    /// On hosts of the lab, by real agents.
    Real,
    /// On facts that were recorded on other hosts.
    Recorded,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Made::Real => "real",
            Made::Recorded => "recorded",
        })
    }
}

/// A rule, the condition that was made, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shown {
    /// The rule's code.
    pub rule: String,
    /// How the condition was made.
    pub made: Made,
    /// The condition, in words.
    pub condition: String,
    /// `warn` or `fail`.
    pub severity: String,
    /// The finding.
    pub message: String,
}

/// A line of JSON each.
fn file(target: &Path) -> PathBuf {
    target.join("preflight.shown")
}

impl Shown {
    /// Writes it down.
    ///
    /// # Errors
    /// When the build's target directory cannot be written.
    pub fn write(&self) -> Result<()> {
        let path = file(&crate::target());
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        // Several tests write at once: one call appends a whole line.
        let opened = File::options().create(true).append(true).open(&path);
        opened.and_then(|mut file| file.write_all(&line)).with_context(|| path.display().to_string())
    }

    /// Forgets what was written before.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(target: &Path) -> Result<()> {
        match fs::remove_file(file(target)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Everything that was written since, sorted, each once.
    ///
    /// # Errors
    /// When nothing was, or somebody else has written there.
    pub fn read(target: &Path) -> Result<Vec<Shown>> {
        let path = file(target);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut all: Vec<Shown> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        all.sort();
        all.dedup();
        Ok(all)
    }
}
