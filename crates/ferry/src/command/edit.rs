//! `edit`: a definition in the person's own editor, until the agent takes it or the person gives up. What was typed is
//! never lost.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use client::ClientError;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{Desk, define};
use crate::failure::{Exit, Failure};

/// Where neither VISUAL nor EDITOR is set.
const EDITOR: &str = "vi";

pub(super) async fn edit(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    let before = desk.client.inactive_xml(domain).await?;
    let mut file =
        tempfile::Builder::new().prefix("ferry-").suffix(".xml").tempfile().context("a file to edit")?;
    file.write_all(before.as_bytes()).context("a file to edit")?;
    loop {
        run_editor(file.path())?;
        let (path, after) = define::read(file.path())?;
        if after == before {
            desk.printer
                .answer(&json!({ "unchanged": domain }), |_| format!("Domain {domain} is unchanged.\n"));
            return Ok(Exit::Done);
        }
        let error = match desk.client.edit(domain, after.as_str(), before.as_str()).await {
            Ok(domain) => {
                desk.printer.answer(&domain, |_| match domain.pid {
                    Some(_) => format!("Domain {} is edited; it runs as it is until it ends.\n", domain.name),
                    None => format!("Domain {} is edited.\n", domain.name),
                });
                return Ok(Exit::Done);
            }
            Err(error) => error,
        };
        // To edit again what was changed by somebody else would lose the other's work.
        let mendable = matches!(&error, ClientError::Problem(problem) if problem.status == 422);
        let failure = define::refused(error, path, after);
        if !mendable || !std::io::stdin().is_terminal() {
            keep(desk, file)?;
            return Err(failure);
        }
        desk.printer.failure(&failure);
        if !again()? {
            keep(desk, file)?;
            return Ok(failure.exit());
        }
    }
}

/// The variables hold a command for the shell, with arguments maybe.
fn run_editor(file: &Path) -> anyhow::Result<()> {
    let named = ["VISUAL", "EDITOR"].map(std::env::var_os).into_iter().flatten();
    let editor = named.into_iter().find(|editor| !editor.is_empty()).unwrap_or_else(|| EDITOR.into());
    let mut line = editor.clone();
    line.push(" \"$1\"");
    let status = Command::new("sh").arg("-c").arg(line).arg("sh").arg(file).status();
    let status = status.with_context(|| format!("cannot run the editor {}", editor.display()))?;
    anyhow::ensure!(
        status.success(),
        "the editor {} failed ({status}); nothing was changed",
        editor.display()
    );
    Ok(())
}

fn again() -> anyhow::Result<bool> {
    let mut terminal = anstream::stderr();
    terminal.write_all(b"Edit again? [Y/n] ").and_then(|()| terminal.flush()).context("cannot ask")?;
    let mut answer = String::new();
    let length = std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(length > 0 && !answer.trim_start().starts_with(['n', 'N']))
}

fn keep(desk: &Desk<'_>, file: NamedTempFile) -> anyhow::Result<()> {
    let (_, path) = file.keep().context("the file that was edited cannot be kept")?;
    desk.printer.note(&format!("What you wrote is kept in {}.", path.display()));
    Ok(())
}
