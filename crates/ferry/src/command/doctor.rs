//! `doctor`: what is missing or wrong on this host, each with its mend. It asks no agent to do anything.

use std::path::Path;

use anyhow::Context;
use api::Finding;

use crate::failure::{Exit, Failure};
use crate::printer::{Printer, wrap};

pub(super) async fn run(configuration: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let found = agent::doctor::examine(configuration).await;
    printer.answer(&found, |width| text(&found, width));
    let well = found.iter().all(|finding| !finding.fatal);
    Ok(if well { Exit::Done } else { Exit::Failed })
}

/// Facts are for programs: they are JSON, whatever was asked for.
pub(super) async fn facts(printer: &Printer) -> Result<Exit, Failure> {
    let facts = agent::doctor::facts().await;
    let text = serde_json::to_string_pretty(&facts).context("facts are JSON")?;
    printer.answer(&facts, |_| text + "\n");
    Ok(Exit::Done)
}

/// The fatal ones first, each with what to do.
fn text(found: &[Finding], width: usize) -> String {
    let (fatal, rest): (Vec<_>, Vec<_>) = found.iter().partition(|finding| finding.fatal);
    let mut text = String::new();
    for finding in fatal.iter().chain(&rest) {
        let word = if finding.fatal { "problem" } else { "warning" };
        text += &wrap(&format!("{word}: {}", finding.message), "", "  ", width);
        text += &wrap(&finding.mend, "  mend: ", "        ", width);
    }
    text + &match (fatal.len(), rest.len()) {
        (0, 0) => "Nothing is wrong on this host.\n".to_owned(),
        (problems, warnings) => format!("Problems: {problems}, warnings: {warnings}.\n"),
    }
}

#[cfg(test)]
mod tests {
    use api::Finding;

    fn finding(code: &str, fatal: bool, message: &str, mend: &str) -> Finding {
        Finding { code: code.into(), fatal, message: message.into(), mend: mend.into() }
    }

    #[test]
    fn problems_come_before_warnings_and_each_has_its_mend() {
        let found = [
            finding(
                "vhost-net-missing",
                false,
                "/dev/vhost-net is not there: guests' networks are slower",
                "modprobe vhost_net",
            ),
            finding(
                "bridge-missing",
                true,
                "the bridge br7 of domain a-domain-with-quite-a-long-name.example.org is not there",
                "ip link add br7 type bridge; ip link set br7 up",
            ),
        ];
        insta::assert_snapshot!(super::text(&found, 80), @r"
        problem: the bridge br7 of domain a-domain-with-quite-a-long-name.example.org is
          not there
          mend: ip link add br7 type bridge; ip link set br7 up
        warning: /dev/vhost-net is not there: guests' networks are slower
          mend: modprobe vhost_net
        Problems: 1, warnings: 1.
        ");
    }

    #[test]
    fn a_host_in_order_is_told_so() {
        insta::assert_snapshot!(super::text(&[], 80), @"Nothing is wrong on this host.");
    }
}
