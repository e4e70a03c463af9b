//! Somebody else on the guests' network, and a bridge that is missing where a card is free for it.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::limits::{HAPPENS, LOOK};
use lab::preflight::{check, expect, in_order, real};

/// The guest's MAC address, as the lab gives it to its first guest.
const MAC: &str = "52:54:00:fe:00:64";

pub(crate) fn heard(lab: &Lab) -> Result<()> {
    let client = |line: &str| -> Result<()> {
        let output = lab.client.command("ip").args(line.split(' ')).output()?;
        ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    client(&format!("link add link guest0 name twin0 address {MAC} type macvlan"))?;
    client("link set twin0 up")?;
    // It says by itself that it is there, as every link with IPv6 does.
    let end = Instant::now() + HAPPENS;
    for host in lab.hosts() {
        loop {
            let output = host.namespace.command("bridge").args(["fdb", "show", "br", "br0"]).output()?;
            if String::from_utf8_lossy(&output.stdout).contains(MAC) {
                break;
            }
            ensure!(Instant::now() < end, "{} never heard of {MAC}", host.name);
            thread::sleep(LOOK);
        }
    }
    let condition = "somebody on the guests' network has the guest's MAC address";
    expect(lab, &["web1"], real("mac-heard", "warn", condition))?;
    client("link delete twin0")?;
    lab.hosts().iter().try_for_each(|host| host.run_line("ip link set uplink type bridge_slave fdb_flush"))
}

pub(crate) fn mended(lab: &Lab) -> Result<()> {
    let kvm2 = lab.kvm2();
    // Its card is left without a bridge, and the host does not use it.
    kvm2.run_line("ip link delete br0")?;
    let condition = "the target's card to the guests' network has no bridge";
    expect(lab, &["web1"], real("bridge-missing", "fail", condition))?;
    let (unmended, _) = check(lab.kvm1(), &["web1", "--to", "kvm2", "--fix"])?;
    ensure!(unmended.wrong().len() == 1, "nobody said yes: {:#?}", unmended.wrong());
    let (mended, exit) = check(lab.kvm1(), &["web1", "--to", "kvm2", "--fix", "--yes"])?;
    ensure!(mended.wrong().is_empty() && exit == 0, "{:#?}", mended.wrong());
    in_order(lab, "web1").context("the bridge stays")?;
    // A bridge of the lab's own again.
    kvm2.ferry_output(["bridge", "delete", "br0"])?;
    for line in ["ip link add br0 type bridge", "ip link set uplink master br0 up", "ip link set br0 up"] {
        kvm2.run_line(line)?;
    }
    Ok(())
}
