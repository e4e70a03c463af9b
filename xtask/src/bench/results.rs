//! Where a bench keeps what it measured, and how it shows it: the options that all benches have. Main type: [`Results`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::document;

/// The options.
#[derive(Debug, Args)]
pub(crate) struct Results {
    /// Where results are kept [default: a directory of this bench's below target/bench]
    #[arg(long, value_name = "DIRECTORY")]
    results: Option<PathBuf>,
    /// Write this bench's part of docs/benchmarks.md from everything that was measured
    #[arg(long)]
    write: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

impl Results {
    /// The directory, made where it is missing; `name` is the one below target/bench.
    pub(crate) fn directory(&self, target: &Path, name: &str) -> Result<PathBuf> {
        let directory = self.results.clone().unwrap_or_else(|| target.join("bench").join(name));
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// Writes the part of the document where that is wanted, and prints: for people, or as JSON.
    pub(crate) fn show(
        &self,
        root: &Path,
        part: (&str, String),
        shown: &str,
        json: &impl Serialize,
    ) -> Result<()> {
        if self.write {
            let (name, text) = part;
            document::write(root, name, &text)?;
        }
        match self.json {
            true => println!("{}", serde_json::to_string(json)?),
            false => println!("{shown}"),
        }
        Ok(())
    }
}

/// Everything that was kept in a directory, one of a kind in each file.
pub(crate) fn kept<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>> {
    fs::read_dir(directory)?
        .map(|entry| {
            let path = entry?.path();
            serde_json::from_reader(File::open(&path)?).with_context(|| path.display().to_string())
        })
        .collect()
}
