//! `cargo xtask bench cold`: images made, copied in turn by everyone, compared, measured. Main type: [`Arguments`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use lab::guest::Images;
use lab::{Lab, LabOptions};

use super::figures::{Group, Link};
use super::image::{Image, Kind};
use super::page;
use super::results::{Results, kept};
use super::servers::Ssh;
use super::tool::{Stage, Tool, Trip};
use crate::setup::{self, Purpose};

/// What takes longer is not done again.
const ONCE_FROM: Duration = Duration::from_secs(60);
/// So many times its content has room where images and copies are: a raw image and its qcow2, or an image and its copy, and
/// what the measured keep beside them.
const ROOM: u64 = 3;

/// Options of the measurement.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these images
    #[arg(long, value_delimiter = ',')]
    image: Vec<Kind>,
    /// Only over these links
    #[arg(long, value_delimiter = ',')]
    link: Vec<Link>,
    /// Only these take part
    #[arg(long, value_delimiter = ',')]
    tool: Vec<Tool>,
    /// So often; 0 measures nothing and shows what was measured before
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Content of an image in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(8..))]
    size: u64,
    /// Keep images and copies on a disk (below /var/tmp), not in memory
    #[arg(long)]
    on_disk: bool,
    #[command(flatten)]
    results: Results,
}

/// Measures what is asked for, a group after the other; each is kept as soon as it is done.
pub(crate) fn run(root: &Path, target: &Path, arguments: &Arguments) -> Result<()> {
    let results = arguments.results.directory(target, "cold")?;
    if arguments.runs > 0 {
        setup::run(target, Purpose::Bench)?;
        ensure!(setup::is_root(), "the lab makes network namespaces and taps, and only root may do that");
        let ferry = release(root, target)?;
        for link in chosen(&arguments.link) {
            for kind in chosen(&arguments.image) {
                let group = measure(arguments, &ferry, target, link, kind)?;
                let file = results.join(format!("{}-{}.json", word(link), word(kind)));
                fs::write(file, serde_json::to_vec_pretty(&group)?)?;
                eprintln!("\n{}", page::group(&group));
            }
        }
    }
    let mut groups: Vec<Group> = kept(&results)?;
    groups.sort_by_key(|group| (group.link, group.image));
    let shown: Vec<String> = groups.iter().map(page::group).collect();
    arguments.results.show(root, (page::PART, page::part(&groups)), &shown.join("\n"), &groups)
}

fn measure(arguments: &Arguments, ferry: &Path, target: &Path, link: Link, kind: Kind) -> Result<Group> {
    let options = LabOptions {
        ferry: ferry.to_owned(),
        stp: false,
        // No guest runs.
        images: Images::below(target),
        watched: false,
        nfs: false,
        bare: false,
    };
    let lab = Lab::new(options)?;
    eprintln!("bench: {} over {}: making the image (lab {})", word(kind), word(link), lab.id);
    let content_bytes = arguments.size << 20;
    let (disks, spacious) = (lab.directory().join("disks"), lab.directory().join("spacious"));
    fs::create_dir_all(&disks)?;
    if !arguments.on_disk {
        in_memory(&disks, content_bytes * ROOM)?;
    }
    let ssh = Ssh::start(lab.kvm2(), &lab.directory().join("ssh"))?;
    let stage = Stage { lab: &lab, ssh: &ssh, disks: &disks, spacious: &spacious };
    lab.hosts().iter().try_for_each(|host| fs::create_dir_all(stage.disks_of(host)))?;
    let mut image = Image::make(kind, content_bytes, &stage.disks_of(lab.kvm1()))?;
    stage.define(&image)?;
    if let Some(bytes_per_s) = link.bytes_per_s() {
        lab.shape_both(bytes_per_s)?;
    }
    let mut group = Group {
        link,
        image: kind,
        virtual_bytes: image.virtual_bytes,
        allocated_bytes: image.allocated_bytes,
        changed_bytes: 0,
        on_disk: arguments.on_disk,
        machine: machine(ferry)?,
        began_at: Timestamp::now().to_string(),
        rows: Vec::new(),
    };
    let tools = chosen(&arguments.tool);
    for number in 0..arguments.runs {
        for place in 0..tools.len() {
            let tool = tools[(place + number) % tools.len()];
            let slow = |row: &super::figures::Row| row.wall_s() > ONCE_FROM.as_secs_f64();
            if group.row(tool, Trip::First).is_some_and(slow) {
                continue;
            }
            take(&mut group, &stage, tool, Trip::First, &image)?;
            if tool.updates() {
                group.changed_bytes = image.change(&stage.original(tool, Trip::Second, &image))?;
                take(&mut group, &stage, tool, Trip::Second, &image)?;
            }
        }
    }
    Ok(group)
}

fn take(group: &mut Group, stage: &Stage<'_>, tool: Tool, trip: Trip, image: &Image) -> Result<()> {
    let sample = stage.copy(tool, trip, image)?;
    eprintln!(
        "bench: {:17} {} {:7.2} s {:8.1} MB, other {:.1} s",
        tool.name(),
        if trip == Trip::First { "first " } else { "second" },
        sample.spent.wall_s,
        sample.sent_bytes as f64 / 1e6,
        sample.spent.other_cpu_s()
    );
    group.row_mut(tool, trip).samples.push(sample);
    Ok(())
}

/// `ferry` as it is released, or the one that `FERRY_BIN` names.
pub(super) fn release(root: &Path, target: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FERRY_BIN") {
        return Ok(path.into());
    }
    eprintln!("building ferry, optimized");
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--package", "ferry"])
        .stdout(std::io::stderr())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "ferry cannot be built");
    Ok(target.join("release/ferry"))
}

/// A file system in memory; it goes with the lab.
fn in_memory(directory: &Path, bytes: u64) -> Result<()> {
    let information = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = information.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 =
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("no MemAvailable")?;
    ensure!(
        bytes < kib * 1024,
        "images and copies take {} MiB, and {} MiB of memory are free: choose a smaller --size, or --on-disk",
        bytes >> 20,
        kib >> 10
    );
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "ferry-lab"])
        .arg(directory)
        .output()
        .context("mount")?;
    ensure!(mounted.status.success(), "mount: {}", String::from_utf8_lossy(&mounted.stderr).trim());
    Ok(())
}

/// What a reader must know of where it ran.
pub(super) fn machine(ferry: &Path) -> Result<Vec<String>> {
    machine_with(&[("qemu-img", "--version"), ("ssh", "-V"), ("rsync", "--version")], ferry)
}

/// The same, with the versions of these programs: how each is asked for its own.
pub(super) fn machine_with(programs: &[(&str, &str)], ferry: &Path) -> Result<Vec<String>> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let models: Vec<&str> = processors
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    let mut lines = vec![format!("{} × {}", models.len(), models.first().unwrap_or(&"unknown processor"))];
    let said = |program: &Path, argument: &str| -> Result<String> {
        let output =
            Command::new(program).arg(argument).output().with_context(|| program.display().to_string())?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned())
    };
    lines.push(format!("Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()));
    for (program, argument) in programs {
        lines.push(said(Path::new(program), argument)?);
    }
    lines.push(said(ferry, "--version")?);
    Ok(lines)
}

/// Those that were named, or all.
pub(super) fn chosen<T: ValueEnum + Clone>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() }
}

/// As it is typed.
pub(super) fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
