//! A guest with UEFI and a TPM: what it keeps besides its disk goes with it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::trial::{Trial, play};
use serde_json::Value;

/// Where a host keeps the state of the guest's TPM.
fn tpm_state(host: &Host, trial: &Trial<'_>) -> PathBuf {
    host.directory.join("state/tpm").join(&trial.guest.uuid)
}

/// The first byte at which the firmware's variables differ from a new guest's.
fn variables_written(trial: &Trial<'_>) -> Result<bool> {
    let variables = trial.guest.disk.with_file_name(format!("{}_VARS.fd", trial.name()));
    let xml = trial.lab.kvm1().ferry_output(["dumpxml", trial.name()])?;
    let template = xml.split("template='").nth(1).and_then(|rest| rest.split('\'').next());
    let template = template.context("the definition names no template")?;
    Ok(fs::read(&variables).with_context(|| variables.display().to_string())? != fs::read(template)?)
}

#[test]
fn firmware_and_tpm_go_with_their_guest() -> Result<()> {
    play(|lab| {
        let mut options = GuestOptions::small("web1");
        options.uefi = true;
        let trial = Trial::begin(lab, options)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let before = trial.guest.check()?;
        ensure!(before.uefi, "it was not booted by UEFI");
        let zero = |register: &String| register.bytes().all(|digit| digit == b'0');
        ensure!(before.tpm_registers.len() == 8 && !before.tpm_registers.iter().all(zero), "{before:?}");
        ensure!(variables_written(&trial)?, "the firmware wrote no variable");

        for (from, to) in [(kvm1, kvm2), (kvm2, kvm1)] {
            trial.moves(from, to, &[])?;
            let after = trial.guest.check()?;
            ensure!(after.tpm_registers == before.tpm_registers, "another TPM: {after:?}");
            ensure!(tpm_state(to, &trial).join("tpm2-00.permall").exists(), "{} keeps no state", to.name);
            ensure!(!tpm_state(from, &trial).exists(), "{} still has the TPM's state", from.name);
        }
        // It is the TPM that it was also when it is booted again.
        kvm1.ferry_output(["shutdown", trial.name()])?;
        ensure!(tpm_state(kvm1, &trial).exists(), "the TPM's state went with its guest");
        clones(kvm1, &trial)?;
        // What becomes of the variables must be said; they are removed where that is asked for.
        let refused = kvm1.ferry_refusal(&["undefine", trial.name()])?;
        ensure!((refused.code.as_str(), refused.exit) == ("nvram-unsaid", 4), "{refused:?}");
        let variables = trial.guest.disk.with_file_name(format!("{}_VARS.fd", trial.name()));
        ensure!(variables.exists(), "a refusal removed the variables");
        kvm1.ferry_output(["undefine", trial.name(), "--nvram"])?;
        ensure!(!variables.exists(), "the variables outlive their domain");
        ensure!(!tpm_state(kvm1, &trial).exists(), "the TPM's state outlives its domain");
        Ok(())
    })
}

/// A clone has the same variables, in a file of its own, and no TPM's state yet.
fn clones(host: &Host, trial: &Trial<'_>) -> Result<()> {
    ensure!(variables_written(trial)?, "the variables to copy are a new guest's");
    let cloned: Value = host.ferry_json(&["clone", trial.name(), "web2"])?;
    let uuid = cloned["uuid"].as_str().context("no UUID")?;
    let variables = |name| trial.guest.disk.with_file_name(format!("{name}_VARS.fd"));
    let (own, copy) = (variables(trial.name()), variables("web2"));
    ensure!(fs::read(&own)? == fs::read(&copy)?, "the clone has other variables");
    ensure!(host.ferry_output(["dumpxml", "web2"])?.contains("web2_VARS.fd"), "it names the other's file");
    ensure!(!host.state().join("tpm").join(uuid).exists(), "it has a TPM that is another's");
    host.ferry_output(["undefine", "web2", "--nvram"])?;
    ensure!(!copy.exists() && own.exists(), "the wrong variables are gone");
    fs::remove_file(trial.guest.disk.with_file_name("web2.qcow2"))?;
    Ok(())
}
