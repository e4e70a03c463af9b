//! `generate`: writes the manual pages and the shells' completions, which packages install. They come from what
//! [`crate::args`] says, so that they cannot differ from it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::failure::{Exit, Failure};

/// The program's name, as shells and readers know it.
const NAME: &str = "ferry";

pub(super) fn run(out: &Path) -> Result<Exit, Failure> {
    write(&out.join("man"), &out.join("completions")).context("the pages cannot be written")?;
    Ok(Exit::Done)
}

fn write(man: &Path, completions: &Path) -> Result<()> {
    for directory in [man, completions] {
        // What an earlier run wrote may be of a command that is gone.
        if directory.exists() {
            fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    clap_mangen::generate_to(Args::command(), man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Args::command(), NAME, completions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn every_command_has_its_page_and_is_completed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (man, completions) = (directory.path().join("man"), directory.path().join("completions"));
        super::write(&man, &completions).expect("writes");
        let page = fs::read_to_string(man.join("ferry-migrate.1")).expect("a page");
        assert!(page.contains("max\\-blackout"), "{page}");
        assert!(man.join("ferry.1").exists() && man.join("ferry-migrations-resolve.1").exists());
        assert!(!man.join("ferry-dial-stdio.1").exists(), "hidden commands have no page");
        for file in ["ferry.bash", "_ferry", "ferry.fish"] {
            let text = fs::read_to_string(completions.join(file)).expect("a completion");
            assert!(text.contains("max-blackout"), "{file}");
        }
    }
}
