//! `ferry doctor` sees what is wrong with a host, each thing by its name and nothing else, with an agent and without.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::trial::play;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Finding {
    code: String,
    fatal: bool,
    message: String,
    mend: String,
}

/// What the doctor of a host finds, and its exit code.
fn examine(host: &Host) -> Result<(Vec<Finding>, i32)> {
    let output = host.ferry().args(["--json", "doctor", "--config"]).arg(host.configuration()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<Finding> = serde_json::from_str(&said)
        .with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(found.iter().all(|finding| !finding.mend.is_empty()), "a finding without a mend: {found:?}");
    Ok((found, output.status.code().unwrap_or(-1)))
}

fn codes(found: &[Finding]) -> BTreeSet<&str> {
    found.iter().map(|finding| finding.code.as_str()).collect()
}

fn set_bridge(host: &Host, up_or_down: &str) -> Result<()> {
    let status = host.namespace.command("ip").args(["link", "set", "br0", up_or_down]).status()?;
    ensure!(status.success(), "ip link set br0 {up_or_down}: {status}");
    Ok(())
}

#[test]
fn each_thing_that_is_broken_is_found_and_nothing_else() -> Result<()> {
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let guest = lab.guest(GuestOptions::small("web1"))?;
        kvm1.ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        // What this machine lacks anyway, such as a KVM that works.
        let (before, _) = examine(kvm1)?;
        let before = codes(&before);
        for code in
            ["bridge-down", "certificate-missing", "neighbour-unreachable", "agent-silent", "clock-skew"]
        {
            ensure!(!before.contains(code), "{code} on a host that is in order: {before:?}");
        }

        set_bridge(kvm1, "down")?;
        let tls = kvm1.directory.join("tls");
        fs::set_permissions(tls.join("host-key.pem"), Permissions::from_mode(0o644))?;
        fs::rename(tls.join("server-cert.pem"), tls.join("elsewhere.pem"))?;
        fs::write(kvm1.state().join("migrations/0.journal"), "this is no journal")?;
        fs::write(kvm1.state().join("domains/web2.xml"), "<domain>")?;
        kvm2.stop_agent()?;
        kvm1.stop_agent()?;
        let (found, exit) = examine(kvm1)?;
        let broken = [
            "agent-silent",
            "bridge-down",
            "certificate-missing",
            "definition-unreadable",
            "journal-unreadable",
            "neighbour-unreachable",
            "permissions",
        ];
        let expected: BTreeSet<&str> = before.iter().copied().chain(broken).collect();
        ensure!(codes(&found) == expected, "to be {expected:?}: {found:#?}");
        ensure!(exit == 1, "exit code {exit}");
        let bridge = found.iter().find(|finding| finding.code == "bridge-down").context("the bridge")?;
        ensure!(
            bridge.fatal && bridge.message.contains("br0") && bridge.mend.contains("br0 up"),
            "{bridge:?}"
        );

        // As it was: everything is well again, with agents that run.
        set_bridge(kvm1, "up")?;
        fs::set_permissions(tls.join("host-key.pem"), Permissions::from_mode(0o600))?;
        fs::rename(tls.join("elsewhere.pem"), tls.join("server-cert.pem"))?;
        fs::remove_file(kvm1.state().join("migrations/0.journal"))?;
        fs::remove_file(kvm1.state().join("domains/web2.xml"))?;
        kvm1.start_agent()?;
        kvm2.start_agent()?;
        let (found, _) = examine(kvm1)?;
        ensure!(codes(&found) == before, "to be {before:?}: {found:#?}");

        fs::write(kvm1.configuration(), "host = \"kvm1\"\ncolour = 1\n")?;
        let (found, exit) = examine(kvm1)?;
        ensure!(codes(&found) == BTreeSet::from(["configuration"]) && exit == 1, "{exit}: {found:?}");
        Ok(())
    })
}
