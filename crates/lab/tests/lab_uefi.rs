//! A guest with UEFI and a TPM: what it keeps besides its disk goes with it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::trial::{Trial, play};

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
        kvm1.ferry_output(["undefine", trial.name()])?;
        ensure!(!tpm_state(kvm1, &trial).exists(), "the TPM's state outlives its domain");
        Ok(())
    })
}
