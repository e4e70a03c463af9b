//! A guest that has been started: what its QEMU says, and the way to the target. Nobody waits for it to boot.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::Guest;
use lab::host::Host;
use lab::preflight::{expect, in_order, real};
use serde_json::{Value, json};

use super::lies::lying;
use crate::define;

/// The definition's QEMU, started for as long as `look` looks.
fn started(host: &Host, look: impl FnOnce() -> Result<()>) -> Result<()> {
    host.ferry_output(["start", "web1"])?;
    look()?;
    host.ferry_output(["destroy", "web1"]).map(drop)
}

/// What the target's QEMU says of itself, what that breaks, and what it is.
const VERSIONS: [(&str, &str, &str, &str); 3] = [
    (r#"s/"major": \d+/"major": 8/"#, "qemu-older", "warn", "the target's QEMU says that it is QEMU 8"),
    (r#"s/"major": \d+/"major": 99/"#, "qemu-newer", "warn", "the target's QEMU says that it is QEMU 99"),
    (
        r#"s/"return-path"/"no-return"/g"#,
        "migrate-capability-missing",
        "fail",
        "the target's QEMU lacks a migration capability",
    ),
];

pub(crate) fn ways(lab: &Lab, guest: &Guest) -> Result<()> {
    let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
    define(lab, &guest.xml)?;
    started(kvm1, || {
        in_order(lab, "web1").context("two hosts in order")?;
        let condition = "memory is to go encrypted over two connections";
        expect(lab, &["web1", "--channels", "2"], real("encrypted-channels", "warn", condition))?;
        closed(lab)?;
        for (lie, rule, severity, condition) in VERSIONS {
            lying(lab, kvm2, lie, || expect(lab, &["web1"], real(rule, severity, condition)))?;
        }
        let condition = "post-copy is allowed, and the target's QEMU cannot do it";
        let words = ["web1", "--allow-postcopy"];
        lying(lab, kvm2, r#"s/"postcopy-ram"/"no-postcopy"/g"#, || {
            expect(lab, &words, real("postcopy-missing", "fail", condition))
        })?;
        blocked(lab, guest)
    })
}

/// The target takes connections on its agent's port and on no other.
fn closed(lab: &Lab) -> Result<()> {
    const TABLE: &str = "inet ferry_ports";
    let kvm2 = lab.kvm2();
    let nft = |lines: &str| {
        let output = kvm2.namespace.command("nft").arg(lines).output()?;
        ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    nft(&format!(
        "add table {TABLE}\nadd chain {TABLE} input {{ type filter hook input priority 0; }}\n\
         add rule {TABLE} input ip saddr {} tcp dport != 7700 tcp flags & (syn | ack) == syn reject with tcp reset\n",
        lab.kvm1().address
    ))?;
    let condition = "the target's packet filter lets the source reach the agent's port alone";
    expect(lab, &["web1"], real("port-unreachable", "fail", condition))?;
    nft(&format!("delete table {TABLE}"))
}

/// The guest's QEMU has an image open of a format that cannot go along.
fn blocked(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm1 = lab.kvm1();
    let image = lab.directory().join("blocks.vdi");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "vdi"]).arg(&image).arg("1M").status()?;
    ensure!(made.success(), "qemu-img: {made}");
    // QEMU talks to one at a time.
    kvm1.stop_agent()?;
    let mut qemu = UnixStream::connect(kvm1.run().join(&guest.uuid).join("qmp.sock")).context("QMP")?;
    let mut said = BufReader::new(qemu.try_clone()?).lines();
    let file = json!({ "driver": "file", "filename": image });
    let added = json!({ "driver": "vdi", "node-name": "blocks", "file": file });
    for (command, arguments) in [("qmp_capabilities", json!({})), ("blockdev-add", added)] {
        writeln!(qemu, "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let answer: Value = serde_json::from_str(&said.next().context("QEMU is gone")??)?;
            ensure!(answer.get("error").is_none(), "{command}: {answer}");
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    drop((qemu, said));
    kvm1.start_agent()?;
    let condition = "QEMU has an image open of a format that it cannot send";
    expect(lab, &["web1"], real("migration-blocked", "fail", condition))
}

/// Definitions that show only while a guest runs by them.
pub(crate) fn definitions(lab: &Lab, guest: &Guest) -> Result<()> {
    let agent = "    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\n  </devices>";
    for (from, to, rule, severity, condition) in [
        (
            "  </devices>",
            agent,
            "guest-agent-silent",
            "warn",
            "nothing in the guest listens to its agent's channel",
        ),
        ("cache='none'", "cache='unsafe'", "cache-unsafe", "fail", "the guest's disk has cache='unsafe'"),
    ] {
        define(lab, &guest.changed(from, to)?)?;
        started(lab.kvm1(), || expect(lab, &["web1"], real(rule, severity, condition)))?;
    }
    define(lab, &guest.xml)
}
