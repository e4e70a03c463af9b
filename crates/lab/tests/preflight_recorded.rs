//! Rules about what differs under KVM alone, or between hardware that one machine cannot be, on facts that were recorded
//! on such hosts by `slow_facts`.

mod recorded;

use anyhow::{Result, ensure};
use lab::shown::Made;

use recorded::{HOSTS, Recorded, judged};

#[test]
fn differences_of_hardware_are_found_each_by_its_rule() -> Result<()> {
    judged(|name| Ok(Recorded::read(name)?.facts), Made::Recorded)
}

#[test]
fn what_is_recorded_says_how() -> Result<()> {
    for (name, hardware, _) in HOSTS {
        let recorded = Recorded::read(name)?;
        ensure!(recorded.hardware.contains(hardware.cpu), "{name}: {}", recorded.hardware);
        ensure!(!recorded.recorded_by.is_empty() && recorded.facts.cpu_vendor.is_some(), "{name}");
    }
    Ok(())
}
