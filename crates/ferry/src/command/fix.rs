//! The mends of a check that Ferry makes by itself, each shown before it is made. Main function: [`make`].

use std::io::{IsTerminal, Write};

use anyhow::Context;
use api::{CheckReport, Fix};

use super::Desk;
use crate::failure::Failure;

/// Makes what the report has, where somebody says yes to it; says whether anything was made.
pub(super) async fn make(desk: &Desk<'_>, report: &CheckReport, yes: bool) -> Result<bool, Failure> {
    let mut fixes: Vec<&Fix> = Vec::new();
    for fix in report.checked.iter().filter_map(|checked| checked.fix.as_ref()) {
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    let mut made = false;
    for fix in fixes {
        let shown = shown(fix, &report.source, &report.target);
        if agreed(desk, &shown, yes).await? {
            desk.client.fix(&report.target, fix).await?;
            made = true;
        }
    }
    Ok(made)
}

fn shown(fix: &Fix, source: &str, target: &str) -> String {
    match fix {
        Fix::DefinePool { pool } => {
            format!("on {target}: define pool {pool} as {source} has it, and start it")
        }
        Fix::StartPool { pool } => format!("on {target}: start pool {pool}"),
        Fix::CreateBridge { bridge, uplink } => {
            format!("on {target}: make bridge {bridge} on {uplink}, which the host does not use")
        }
    }
}

/// Shows a mend, and asks the person at the terminal. Where nobody can be asked, the answer is no.
async fn agreed(desk: &Desk<'_>, shown: &str, yes: bool) -> Result<bool, Failure> {
    let mut terminal = anstream::stderr();
    let asks = !yes && !desk.printer.json() && std::io::stdin().is_terminal();
    let question = match (yes, asks) {
        (true, _) => format!("{shown}\n"),
        (false, true) => format!("{shown}? [y/N] "),
        (false, false) => format!("{shown}: not done, --yes does it without asking\n"),
    };
    terminal.write_all(question.as_bytes()).and_then(|()| terminal.flush()).context("cannot show a mend")?;
    if !asks {
        return Ok(yes);
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = read.await.context("cannot ask")?.context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use api::Fix;
    use insta::assert_snapshot;

    use super::shown;

    #[test]
    fn each_mend_says_where_and_what() {
        let fixes = [
            Fix::DefinePool { pool: "nfs".into() },
            Fix::StartPool { pool: "nfs".into() },
            Fix::CreateBridge { bridge: "br0".into(), uplink: "eth1".into() },
        ];
        let lines = fixes.each_ref().map(|fix| shown(fix, "kvm1", "kvm2")).join("\n");
        assert_snapshot!(lines, @r"
        on kvm2: define pool nfs as kvm1 has it, and start it
        on kvm2: start pool nfs
        on kvm2: make bridge br0 on eth1, which the host does not use
        ");
    }
}
