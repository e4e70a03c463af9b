//! Post-copy: a guest that writes faster than its link is handed over before its memory, and whatever breaks until all of it
//! is there is mended by the agents, or named.

use anyhow::{Result, ensure};
use lab::Lab;
use lab::guest::{GuestOptions, Rewrite};
use lab::host::Host;
use lab::limits::{HAPPENS, SETTLES};
use lab::migration::{Migration, report, wait_for_outcome};
use lab::trial::{Trial, play};

/// 1 Gbit/s.
const GIGABIT_BYTES_PER_S: u64 = 125_000_000;
/// So slow that there is time to break something while memory follows.
const SLOW_BYTES_PER_S: u64 = 8_000_000;

/// A guest that runs on kvm2 and still needs most of its memory from kvm1.
fn filling<'a>(lab: &'a Lab) -> Result<(Trial<'a>, Migration)> {
    let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
    let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
    lab.shape(kvm1, SLOW_BYTES_PER_S)?;
    let migration = Migration::begin(kvm1, trial.name(), kvm2, &["--allow-postcopy"])?;
    migration.wait_for_bytes(1 << 20, HAPPENS)?;
    kvm1.ferry_output(["migrations", "postcopy", &migration.id])?;
    migration.wait_for("serving", HAPPENS)?;
    is_filling(&migration, kvm2)?;
    Ok((trial, migration))
}

fn is_filling(migration: &Migration, target: &Host) -> Result<()> {
    let phase = report(target, &migration.id)?.phase;
    ensure!(phase == "filling" || phase == "granted", "nothing is left to be broken: {phase}");
    Ok(())
}

#[test]
fn a_guest_that_writes_faster_than_its_link_moves() -> Result<()> {
    play(|lab| {
        let mut options = GuestOptions::measured("web1", Rewrite::Page, 60_000);
        options.settings.records_rate = 20;
        let trial = Trial::begin(lab, options)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        lab.shape_both(GIGABIT_BYTES_PER_S)?;
        let mut migration = Migration::begin(kvm1, trial.name(), kvm2, &["--allow-postcopy"])?;
        let end = migration.wait_for_end(2 * HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved") && migration.exit(HAPPENS)? == 0, "{end:?}");
        ensure!(migration.phases().iter().any(|phase| phase == "serving"), "{:?}", migration.phases());
        ensure!(migration.has_told("faster than memory goes over"), "it is not said why");
        ensure!(
            report(kvm2, &migration.id)?.outcome.as_deref() == Some("moved"),
            "the target says otherwise"
        );
        trial.unharmed_on(kvm2)
    })
}

#[test]
fn a_link_that_is_cut_is_taken_up_again_by_itself() -> Result<()> {
    play(|lab| {
        let (trial, mut migration) = filling(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        lab.cut(kvm2)?;
        migration.wait_for_note("gives no sign of life", HAPPENS)?;
        migration.wait_for_note("QEMU has let go", HAPPENS)?;
        ensure!(report(kvm1, &migration.id)?.phase == "serving", "it has ended");
        lab.heal(kvm2)?;
        migration.wait_for_note("taken up again", SETTLES)?;
        lab.unshape(kvm1)?;
        let end = migration.wait_for_end(SETTLES)?;
        ensure!(end.outcome.as_deref() == Some("moved") && migration.exit(HAPPENS)? == 0, "{end:?}");
        trial.unharmed_on(kvm2)?;
        trial.moves(kvm2, kvm1, &[])
    })
}

/// The agent of one host dies while memory follows.
fn agent_dies(of: impl Fn(&Lab) -> &Host) -> Result<()> {
    play(|lab| {
        let (trial, migration) = filling(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let host = of(lab);
        host.kill_agent()?;
        host.start_agent()?;
        is_filling(&migration, kvm2)?;
        lab.unshape(kvm1)?;
        for host in lab.hosts() {
            wait_for_outcome(host, &migration.id, &["moved"], SETTLES)?;
        }
        trial.unharmed_on(kvm2)
    })
}

#[test]
fn a_source_s_agent_that_dies_goes_on_serving() -> Result<()> {
    agent_dies(Lab::kvm1)
}

#[test]
fn a_target_s_agent_that_dies_goes_on_filling() -> Result<()> {
    agent_dies(Lab::kvm2)
}

/// The guest's QEMU on one host dies while memory follows: nobody has all of it.
fn qemu_dies(of: impl Fn(&Lab) -> &Host) -> Result<()> {
    play(|lab| {
        let (trial, migration) = filling(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        trial.owned_by(kvm2)?;
        of(lab).kill_qemu(&trial.guest.uuid)?;
        for host in lab.hosts() {
            let end = wait_for_outcome(host, &migration.id, &["lost"], SETTLES)?;
            ensure!(end.reason.as_deref().is_some_and(|reason| reason.contains("QEMU")), "{end:?}");
            ensure!(end.mend.as_deref().is_some_and(|mend| mend.contains("ferry start")), "{end:?}");
        }
        lab.unshape(kvm1)?;
        trial.lost_on(kvm2)?;
        trial.starts_afresh_on(kvm2)
    })
}

#[test]
fn a_target_s_qemu_that_dies_loses_the_guest() -> Result<()> {
    qemu_dies(Lab::kvm2)
}

#[test]
fn a_source_s_qemu_that_dies_loses_the_guest() -> Result<()> {
    qemu_dies(Lab::kvm1)
}
