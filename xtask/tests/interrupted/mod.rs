//! A task that is interrupted like a person would, with Ctrl-C. Main function: [`leaves_nothing`].

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::teardown;

/// Starts a command, interrupts it as soon as it says `until`, and sees that nothing of its lab is left. `lab` finds the lab's id in a
/// line of what it says: others may come and go meanwhile.
pub(crate) fn leaves_nothing(
    mut command: Command,
    until: &str,
    lab: impl Fn(&str) -> Option<&str>,
) -> Result<()> {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
    let mut said = String::new();
    while !said.contains(until) {
        let line = lines.next().with_context(|| format!("it ended early:\n{said}"))??;
        said += &format!("{line}\n");
    }
    let id = said.lines().find_map(lab);
    let id = id.with_context(|| format!("it did not name its lab:\n{said}"))?.to_owned();
    ensure!(teardown::labs().contains(&id), "lab {id} is not there while it runs:\n{said}");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    ensure!(interrupted.success(), "kill: {interrupted}");
    // Whoever still writes must not be stopped by a full pipe.
    for line in lines {
        said += &format!("{}\n", line?);
    }
    assert_eq!(child.wait()?.code(), Some(130), "{said}");
    assert_eq!(teardown::leaks(&id), Vec::<String>::new());
    Ok(())
}
