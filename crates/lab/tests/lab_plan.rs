//! `ferry plan` and `ferry report` on real hosts: a plan tells a guest that comes over from one that writes faster than its link
//! carries, and changes nothing; a migration keeps what was expected of it beside what came. How long anything takes is not
//! judged here.

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::GuestOptions;
use lab::limits::HAPPENS;
use lab::migration::Migration;
use lab::trial::{Trial, play};
use serde::Deserialize;

/// Several times what the guest writes.
const ENOUGH_BYTES_PER_S: u64 = 60_000_000;
/// Less than the guest writes: 1000 pages a second.
const SCARCE_BYTES_PER_S: u64 = 1_500_000;

#[derive(Debug, Deserialize)]
struct Plan {
    prediction: Option<Prediction>,
}

#[derive(Debug, Deserialize)]
struct Prediction {
    verdict: String,
    #[serde(default)]
    by: Vec<String>,
    expected: Option<Expected>,
    #[serde(default)]
    needs: Vec<Need>,
    facts: Facts,
}

#[derive(Debug, Deserialize)]
struct Expected {
    time_ms: Interval,
}

#[derive(Debug, Deserialize)]
struct Interval {
    low: u64,
    likely: u64,
    high: u64,
}

#[derive(Debug, Deserialize)]
struct Need {
    need: String,
}

#[derive(Debug, Deserialize)]
struct Facts {
    memory_bytes: u64,
    used_bytes: u64,
    link_known_by: String,
    writes: Option<Writes>,
}

#[derive(Debug, Deserialize)]
struct Writes {
    bytes_per_s: u64,
}

#[derive(Debug, Deserialize)]
struct Accuracy {
    runs: u64,
    coverage: Option<f64>,
    median_error: Option<f64>,
    migrations: Vec<Predicted>,
}

#[derive(Debug, Deserialize)]
struct Predicted {
    id: String,
    outcome: Option<String>,
    wall_ms: u64,
    prediction: Prediction,
}

fn planned(lab: &Lab, options: &[&str]) -> Result<Prediction> {
    let plan: Plan = lab.kvm1().ferry_json(&[&["plan", "web1", "--to", "kvm2"], options].concat())?;
    let prediction = plan.prediction.context("nothing forbids it, and nothing is predicted")?;
    let Facts { memory_bytes, used_bytes, link_known_by, writes } = &prediction.facts;
    ensure!(*memory_bytes == 256 << 20 && used_bytes < memory_bytes, "{prediction:?}");
    // The pattern alone.
    ensure!(*used_bytes > 64 << 20 && link_known_by == "probe", "{prediction:?}");
    ensure!(writes.as_ref().is_some_and(|writes| writes.bytes_per_s > 0), "{prediction:?}");
    Ok(prediction)
}

fn ends(prediction: &Prediction) -> Result<()> {
    let expected = prediction.expected.as_ref().with_context(|| format!("{prediction:?}"))?;
    let Interval { low, likely, high } = expected.time_ms;
    ensure!(0 < low && low <= likely && likely <= high, "{prediction:?}");
    ensure!(prediction.verdict == "converges" && prediction.needs.is_empty(), "{prediction:?}");
    Ok(())
}

#[test]
fn a_guest_is_told_from_one_that_writes_too_fast_and_what_came_is_kept() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let before = (kvm1.qemus()?, kvm2.qemus()?, kvm1.namespace.links()?, kvm2.namespace.links()?);

        lab.shape_both(ENOUGH_BYTES_PER_S)?;
        ends(&planned(lab, &[]).context("a link that carries it")?)?;
        lab.shape_both(SCARCE_BYTES_PER_S)?;
        let slowed = planned(lab, &["--max-throttle", "99"]).context("a guest that may be slowed down")?;
        ends(&slowed)?;
        ensure!(slowed.by.iter().any(|mean| mean == "throttle"), "{slowed:?}");
        let never = planned(lab, &["--max-throttle", "0"]).context("a link that does not")?;
        let takes = |word: &str| never.needs.iter().any(|need| need.need == word);
        ensure!(never.verdict == "does-not-converge" && never.expected.is_none(), "{never:?}");
        ensure!(takes("link") && takes("throttle"), "{never:?}");
        lab.unshape(kvm1)?;
        lab.unshape(kvm2)?;

        kvm2.run_line("ip link set br0 down")?;
        let output = kvm1.ferry().args(["--json", "plan", "web1", "--to", "kvm2"]).output()?;
        let refused: Plan = serde_json::from_slice(&output.stdout)?;
        ensure!(output.status.code() == Some(4) && refused.prediction.is_none(), "{output:?}");
        kvm2.run_line("ip link set br0 up")?;

        let after = (kvm1.qemus()?, kvm2.qemus()?, kvm1.namespace.links()?, kvm2.namespace.links()?);
        ensure!(before == after, "a plan changed something: {before:?} {after:?}");
        trial.unharmed_on(kvm1)?;
        let none: Accuracy = kvm1.ferry_json(&["report"])?;
        ensure!(none.runs == 0 && none.coverage.is_none() && none.migrations.is_empty(), "{none:?}");

        let migration = Migration::begin(kvm1, "web1", kvm2, &[])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        let kept: Accuracy = kvm1.ferry_json(&["report"])?;
        ensure!(kept.runs == 1 && kept.coverage.is_some() && kept.median_error.is_some(), "{kept:?}");
        let [one] = &kept.migrations[..] else { anyhow::bail!("{kept:?}") };
        ensure!(
            one.id == migration.id && one.outcome.as_deref() == Some("moved") && one.wall_ms > 0,
            "{one:?}"
        );
        ends(&one.prediction)?;
        // A new agent knows it from the disk.
        kvm1.kill_agent()?;
        kvm1.start_agent()?;
        let again: Predicted = kvm1.ferry_json(&["report", &migration.id])?;
        ends(&again.prediction)?;
        trial.unharmed_on(kvm2)
    })
}
