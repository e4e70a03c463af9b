//! Hosts on other hardware, as guests with kernels of their own: the facts that Ferry tells of them, the rules that see how
//! they differ, and the files in `recorded` that the quick test judges. `INSTA_UPDATE=always` writes those anew.

mod recorded;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use api::HostFacts;
use lab::kvm_host::KvmHost;
use lab::limits::HOST_DONE;
use lab::shown::Made;
use lab::{Lab, LabOptions};

use recorded::{HOSTS, Recorded, judged};

const RECORDED_BY: &str =
    "INSTA_UPDATE=always cargo nextest run --workspace --profile slow -E 'test(facts_of_hosts)'";

#[test]
fn facts_of_hosts_that_differ() -> Result<()> {
    let lab = Lab::without_agents(LabOptions { nfs: true, ..LabOptions::find()? })?;
    let directory = lab.directory().join("hosts");
    fs::create_dir_all(&directory)?;
    let mut facts: BTreeMap<&str, HostFacts> = BTreeMap::new();
    // One after the other: each measures its time stamp counter.
    for (name, hardware, first) in HOSTS {
        let commands = [first, "ferry doctor --facts"];
        let host = KvmHost::boot_on(hardware, &lab.nfs()?.namespace, &directory, name, &commands)?;
        let answers = host.answers(HOST_DONE)?;
        ensure!(answers.iter().all(|answer| answer.exit == 0), "{answers:#?}");
        let answer = answers.get(1).context("no answer")?;
        facts.insert(name, serde_json::from_str(&answer.said).with_context(|| answer.said.clone())?);
    }
    let left = lab.end();
    ensure!(left.is_empty(), "left of the lab:\n{}", left.join("\n"));
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        for (name, hardware, first) in HOSTS {
            let words = [&["-cpu", hardware.cpu], hardware.more].concat().join(" ");
            let recorded = Recorded {
                recorded_by: RECORDED_BY.to_owned(),
                hardware: format!("{words}; kernel: {}; {first}", hardware.kernel),
                facts: facts[name].clone(),
            };
            fs::write(Recorded::path(name), serde_json::to_string_pretty(&recorded)? + "\n")?;
        }
    }
    judged(|name| facts.get(name).cloned().context("no such host"), Made::Real)?;
    // What a host measures is another each time, and with it the clock source that its kernel chooses; what it is made of
    // is not.
    for (name, now) in &facts {
        let then = Recorded::read(name)?.facts;
        let made = |it: &HostFacts| (it.cpu_vendor.clone(), it.cpu_model.clone(), it.nx);
        ensure!(made(now) == made(&then), "{name} is not as it was recorded: {now:#?}");
    }
    Ok(())
}
