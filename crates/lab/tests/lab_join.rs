//! Two bare hosts join, and a guest moves between them with the certificates that they made; then one is removed.

use anyhow::{Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Refusal;
use lab::limits::HAPPENS;
use lab::migration::Migration;
use lab::trial::{Trial, play_in};
use lab::{Lab, LabOptions};

/// Slow enough to ask for something meanwhile.
const SLOW: &str = "5MiB/s";

fn refused(refusal: &Refusal, code: &str, says: &str) -> Result<()> {
    ensure!((refusal.code.as_str(), refusal.exit) == (code, 4), "to be {code}: {refusal:?}");
    ensure!(refusal.detail.contains(says), "to say {says:?}: {refusal:?}");
    ensure!(refusal.mend.is_some(), "nothing is said about what to do: {refusal:?}");
    Ok(())
}

#[test]
fn a_guest_moves_between_hosts_that_have_joined_until_one_is_removed() -> Result<()> {
    play_in(LabOptions { bare: true, ..LabOptions::find()? }, |lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        lab.join()?;
        trial.moves(kvm1, kvm2, &[])?;
        nobody_goes_while_a_guest_is_on_its_way(lab, &trial)?;
        kvm1.ferry_output(["host", "remove", "kvm2"])?;
        let refusal = kvm2.ferry_refusal(&["migrate", trial.name(), "--to", "kvm1"])?;
        refused(&refusal, "certificate-revoked", "this host has been removed")?;
        // It is the guest's host still, and nothing happened to it.
        trial.unharmed_on(kvm2)
    })
}

/// Neither side of a migration is cut off from the other before it has ended.
fn nobody_goes_while_a_guest_is_on_its_way(lab: &Lab, trial: &Trial<'_>) -> Result<()> {
    let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
    let migration = Migration::begin(kvm2, trial.name(), kvm1, &["--bandwidth", SLOW])?;
    migration.wait_for_bytes(1 << 20, HAPPENS)?;
    refused(&kvm1.ferry_refusal(&["host", "remove", "kvm2"])?, "migrating", &migration.id)?;
    let token: serde_json::Value = kvm1.ferry_json(&["host", "token"])?;
    let token = token["token"].as_str().unwrap_or_default();
    let again = kvm2.ferry_refusal(&["host", "join", "--token", token, "--replace"])?;
    refused(&again, "migrating", &migration.id)?;
    kvm2.ferry_output(["migrations", "cancel", &migration.id])?;
    let end = migration.wait_for_end(HAPPENS)?;
    ensure!(end.outcome.as_deref() == Some("kept"), "{end:?}");
    trial.unharmed_on(kvm2)
}
