//! `cargo xtask bench live`: the same guest moved in turn by everyone, and what that took from outside. Main type:
//! [`Arguments`].

mod contestant;
mod figures;
mod page;
mod stage;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jiff::Timestamp;
use lab::guest::{GuestOptions, Rewrite};
use lab::libvirt::Libvirt;
use lab::{Lab, LabOptions};
use serde_json::json;

use self::contestant::Contestant;
use self::figures::{End, Forecast, Group, Load, Sample};
pub(crate) use self::page::PART;
use self::stage::Stage;
use super::cold::{chosen, machine_with, release, word};
use super::results::{Results, kept};
use crate::guest;
use crate::setup::{self, Purpose};

/// What takes longer is cancelled. `--auto-converge` takes half a minute where it ends.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a guest is looked at before it is moved.
const UNDISTURBED: Duration = Duration::from_secs(3);
/// Pages that a guest rewrites in a second: more than 1 Gbit/s carries.
const RATE_PAGES: u32 = 40_000;

/// The guest of `--smoke`: memory in MiB, how much of it is rewritten, pages in a second.
const SMOKE: (u32, u32, u32) = (256, 32, 2000);
/// With `--smoke`, so long at most, and so long before.
const SMOKE_LIMIT: Duration = Duration::from_secs(30);
const SMOKE_UNDISTURBED: Duration = Duration::from_secs(1);

/// Options of the measurement.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these loads
    #[arg(long, value_name = "LOAD", value_delimiter = ',')]
    only: Vec<Load>,
    /// Only these take part
    #[arg(long, value_delimiter = ',')]
    contestant: Vec<Contestant>,
    /// Also virsh, between two libvirtd; installs libvirt
    #[arg(long)]
    with_libvirt: bool,
    /// So often; 0 measures nothing and shows what was measured before [default: 15 idle, 5 others]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// A small guest, and one run: whether everything works, and no figures
    #[arg(long, conflicts_with = "write")]
    smoke: bool,
    #[command(flatten)]
    results: Results,
}

/// Measures what is asked for, a load after the other; each run is kept as soon as it is done.
pub(crate) fn run(root: &Path, target: &Path, arguments: &Arguments) -> Result<()> {
    let results = arguments.results.directory(target, if arguments.smoke { "live-smoke" } else { "live" })?;
    if arguments.runs != Some(0) {
        measure(root, target, arguments, &results)?;
    }
    let mut groups: Vec<Group> = kept(&results)?;
    groups.sort_by_key(|group| group.load);
    let forecast = Forecast::of(&groups);
    let tables = groups.iter().map(page::group);
    let shown: Vec<String> = tables.chain(forecast.map(page::forecast)).collect();
    let forecast = forecast.map(|Forecast { runs, coverage, median_error }| {
        json!({ "runs": runs, "coverage": coverage, "median_error": median_error })
    });
    let all = json!({ "groups": groups, "forecast": forecast });
    arguments.results.show(root, (PART, page::part(&groups)), &shown.join("\n"), &all)
}

fn measure(root: &Path, target: &Path, arguments: &Arguments, results: &Path) -> Result<()> {
    ensure!(setup::is_root(), "the lab makes network namespaces and taps, and only root may do that");
    setup::run(target, if arguments.with_libvirt { Purpose::BenchLibvirt } else { Purpose::Demo })?;
    let images = guest::run(root, target)?;
    let ferry = release(root, target)?;
    let named = chosen(&arguments.contestant);
    let contestants: Vec<Contestant> =
        named.into_iter().filter(|one| arguments.with_libvirt || !one.is_virsh()).collect();
    ensure!(!contestants.is_empty(), "nobody takes part: virsh needs --with-libvirt");

    let options =
        LabOptions { stp: false, ferry: ferry.clone(), images, watched: false, nfs: false, bare: false };
    let lab = Lab::new(options)?;
    eprintln!("bench: lab {}", lab.id);
    let start = |host| Libvirt::start(host, &lab.shared);
    let libvirt = match arguments.with_libvirt {
        true => Some([start(lab.kvm1())?, start(lab.kvm2())?]),
        false => None,
    };
    let (limit, undisturbed) =
        if arguments.smoke { (SMOKE_LIMIT, SMOKE_UNDISTURBED) } else { (LIMIT, UNDISTURBED) };
    let stage = Stage { lab: &lab, libvirt, limit, undisturbed };
    let mut programs = vec![("qemu-system-x86_64", "--version")];
    if arguments.with_libvirt {
        programs.push(("libvirtd", "--version"));
    }
    let machine = machine_with(&programs, &ferry)?;
    let mut shaped = false;
    for load in chosen(&arguments.only) {
        match load.link().bytes_per_s() {
            Some(bytes_per_s) => lab.shape_both(bytes_per_s)?,
            None if shaped => lab.hosts().iter().try_for_each(|host| lab.unshape(host))?,
            None => {}
        }
        shaped = load.link().bytes_per_s().is_some();
        measure_load(&stage, arguments, load, &contestants, &machine, results)
            .with_context(|| format!("with the load {}", word(load)))?;
    }
    Ok(())
}

fn measure_load(
    stage: &Stage<'_>,
    arguments: &Arguments,
    load: Load,
    contestants: &[Contestant],
    machine: &[String],
    results: &Path,
) -> Result<()> {
    let guest = stage.lab.guest(guest_options(load, arguments.smoke))?;
    stage.lab.kvm1().ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
    let mut group = Group {
        load,
        memory_mib: guest.options.memory_mib,
        pattern_mib: guest.options.settings.memory_mib,
        rate_pages: guest.options.settings.rate_pages,
        limit_s: stage.limit.as_secs(),
        machine: machine.to_vec(),
        began_at: Timestamp::now().to_string(),
        rows: Vec::new(),
    };
    let runs = arguments.runs.unwrap_or(if arguments.smoke { 1 } else { load.runs() });
    let file = results.join(format!("{}.json", word(load)));
    for number in 0..runs {
        for place in 0..contestants.len() {
            let contestant = contestants[(place + number) % contestants.len()];
            if group.row(contestant).is_some_and(figures::Row::is_endless) {
                continue;
            }
            let sample = stage
                .run(contestant, &guest)
                .with_context(|| format!("{}, run {}", contestant.name(), number + 1))?;
            eprintln!("bench: {} {:>2}/{runs} {}", word(load), number + 1, said(contestant, &sample));
            group.row_mut(contestant).samples.push(sample);
            fs::write(&file, serde_json::to_vec_pretty(&group)?)?;
        }
    }
    Ok(())
}

fn guest_options(load: Load, smoke: bool) -> GuestOptions {
    let (rewrite, rate_pages) = match load {
        Load::Idle => (Rewrite::Word, 0),
        Load::Words => (Rewrite::Word, RATE_PAGES),
        Load::Pages => (Rewrite::Page, RATE_PAGES),
    };
    let mut options = GuestOptions::measured(&word(load), rewrite, rate_pages);
    if smoke {
        let (memory_mib, pattern_mib, rate_pages_max) = SMOKE;
        options.memory_mib = memory_mib;
        options.settings.memory_mib = pattern_mib;
        options.settings.rate_pages = rate_pages.min(rate_pages_max);
    }
    options
}

/// One run, for whoever watches.
fn said(contestant: Contestant, sample: &Sample) -> String {
    let end = match &sample.end {
        End::Moved => String::new(),
        End::Cancelled => ": did not end".to_owned(),
        End::Failed { said } => format!(": failed: {said}"),
    };
    format!(
        "{:22} {:6.2} s, blackout {:4.0} ms, {:6.1} MB, work {:3.0} %{end}",
        contestant.name(),
        sample.wall_s,
        sample.blackout_ms,
        sample.sent_bytes as f64 / 1e6,
        100.0 * sample.work,
    )
}
