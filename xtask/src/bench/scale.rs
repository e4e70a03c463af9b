//! `cargo xtask bench scale`: many defined domains on an agent, and the same on a libvirtd of the same host. Main type:
//! [`Arguments`]. No guest runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lab::guest::Images;
use lab::host::Host;
use lab::libvirt::Libvirt;
use lab::{Lab, LabOptions};
use serde::{Deserialize, Serialize};

use super::cold::{machine_with, release};
use super::figures::{Goal, Spread};
use super::results::Results;
use super::table::{goals, table};
use super::usage;
use crate::setup::{self, Purpose};

/// Lists are printed so often; the median counts.
const LISTS: usize = 11;

/// The name of this part of the document.
pub(crate) const PART: &str = "scale";

const COLUMNS: [&str; 5] = ["", "domains", "define ms", "list --all ms", "resident MiB"];

const INTRODUCTION: &str = "\
## Many domains

Written by `cargo xtask bench scale --write`, which anybody can run; it takes a minute. An agent and a libvirtd on the same host
have the same domains defined, none of which runs: first few, then more. Each command is a process of its own and speaks to
a Unix socket.

- **define**: one domain more, the mean over all that were added.
- **list --all**: the median of several.
- **resident**: what the daemon, agent or libvirtd, has in memory, its program and its libraries included.
";

/// Options of the measurement.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// So many domains, a stage after the other on the same agents
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000], value_parser = clap::value_parser!(u32).range(1..))]
    domains: Vec<u32>,
    #[command(flatten)]
    results: Results,
}

/// All that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// What it ran on, and with which versions.
    pub(crate) machine: Vec<String>,
    pub(crate) stages: Vec<Stage>,
}

/// So many domains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) domains: u32,
    pub(crate) ferry: Figures,
    pub(crate) libvirt: Figures,
}

/// What one of both takes for them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// `list --all` as a whole process, in milliseconds.
    pub(crate) list_ms: f64,
    /// One domain more, a whole process each: the mean over those that this stage added, in milliseconds.
    pub(crate) define_ms: f64,
    /// The daemon's resident memory, files that it maps included, in bytes.
    pub(crate) resident_bytes: u64,
}

/// Measures, and shows it.
pub(crate) fn run(root: &Path, target: &Path, arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.domains.is_sorted_by(|one, next| one < next),
        "--domains: each stage adds to the one before it, so each must be larger"
    );
    setup::run(target, Purpose::BenchLibvirt)?;
    ensure!(setup::is_root(), "the lab makes network namespaces, and only root may do that");
    let ferry = release(root, target)?;
    let results = arguments.results.directory(target, "scale")?;
    let scale = measure(&ferry, target, &arguments.domains)?;
    fs::write(results.join("scale.json"), serde_json::to_vec_pretty(&scale)?)?;
    arguments.results.show(root, (PART, scale.part()), &scale.table(), &scale)
}

fn measure(ferry: &Path, target: &Path, stages: &[u32]) -> Result<Scale> {
    let lab = Lab::new(LabOptions {
        ferry: ferry.to_owned(),
        stp: false,
        // No guest runs.
        images: Images::below(target),
        watched: false,
        nfs: false,
        bare: false,
    })?;
    let host = lab.kvm1();
    let libvirt = Libvirt::start(host, &lab.shared)?;
    let definitions = lab.directory().join("definitions");
    fs::create_dir_all(&definitions)?;
    let contestants = [Contestant::Ferry(host), Contestant::Libvirt(&libvirt)];
    let mut scale = Scale { machine: machine_with(&[("libvirtd", "--version")], ferry)?, stages: Vec::new() };
    let mut defined = 0;
    for &domains in stages {
        let files: Vec<PathBuf> = (defined..domains)
            .map(|number| definition(&definitions, &lab.shared, number))
            .collect::<Result<_>>()?;
        let [ferry, libvirt] = contestants.map(|contestant| contestant.figures(&files, domains));
        let stage = Stage { domains, ferry: ferry?, libvirt: libvirt? };
        eprintln!("bench: {domains} domains: {:?} beside {:?}", stage.ferry, stage.libvirt);
        scale.stages.push(stage);
        defined = domains;
    }
    Ok(scale)
}

/// Who has the domains.
#[derive(Clone, Copy)]
enum Contestant<'a> {
    Ferry(&'a Host),
    Libvirt(&'a Libvirt),
}

impl Contestant<'_> {
    /// Its command line. Both speak to a socket of this machine, so nothing is entered first.
    fn command(self) -> Command {
        match self {
            Contestant::Ferry(host) => {
                let mut command = Command::new(host.ferry_program());
                command.arg("--socket").arg(host.socket());
                command
            }
            Contestant::Libvirt(libvirt) => {
                let mut command = Command::new("virsh");
                command.args(["--connect", &libvirt.uri()]);
                command
            }
        }
    }

    fn daemon(self) -> Result<u32> {
        match self {
            Contestant::Ferry(host) => host.agent_pid().context("the agent does not run"),
            Contestant::Libvirt(libvirt) => Ok(libvirt.pid()),
        }
    }

    /// Defines those that are not there yet, and measures with all `domains`.
    fn figures(self, files: &[PathBuf], domains: u32) -> Result<Figures> {
        let began = Instant::now();
        for file in files {
            output(self.command().arg("define").arg(file))?;
        }
        let define_ms = began.elapsed().as_secs_f64() * 1e3 / files.len() as f64;
        let mut lists = Vec::new();
        for _ in 0..LISTS {
            let began = Instant::now();
            let listed = output(self.command().args(["list", "--all"]))?;
            lists.push(began.elapsed().as_secs_f64() * 1e3);
            let shown = listed.lines().filter(|line| line.contains(NAME)).count();
            ensure!(shown == domains as usize, "{shown} domains are listed, {domains} are defined");
        }
        Ok(Figures {
            list_ms: Spread::of(lists).median,
            define_ms,
            resident_bytes: usage::resident(self.daemon()?)?,
        })
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What every domain's name begins with.
const NAME: &str = "many-";

/// A definition as a person writes one: a disk, a network card, a serial port, a screen. Both fill in the rest.
fn definition(directory: &Path, shared: &Path, number: u32) -> Result<PathBuf> {
    let file = directory.join(format!("{NAME}{number}.xml"));
    let text = format!(
        "<domain type='qemu'>
  <name>{NAME}{number}</name>
  <memory unit='MiB'>1024</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{}/{NAME}{number}.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>
    <serial type='pty'/>
    <graphics type='vnc' autoport='yes'/>
    <video><model type='virtio'/></video>
  </devices>
</domain>
",
        shared.display()
    );
    fs::write(&file, text)?;
    Ok(file)
}

impl Stage {
    fn lines(&self) -> [[String; COLUMNS.len()]; 2] {
        [("ferry", &self.ferry), ("virsh, libvirtd", &self.libvirt)].map(|(name, figures)| {
            [
                name.to_owned(),
                self.domains.to_string(),
                format!("{:.1}", figures.define_ms),
                format!("{:.1}", figures.list_ms),
                format!("{:.1}", mebi(figures.resident_bytes)),
            ]
        })
    }
}

impl Scale {
    /// The part of the document.
    fn part(&self) -> String {
        let machine: Vec<String> = self.machine.iter().map(|line| format!("- {line}\n")).collect();
        format!("{INTRODUCTION}\n{}\n{}", machine.concat(), self.table())
    }

    fn table(&self) -> String {
        let rows: Vec<_> = self.stages.iter().flat_map(Stage::lines).collect();
        table(COLUMNS, &rows) + &goals(&self.goals())
    }

    /// Ferry's goals with the most domains.
    fn goals(&self) -> Vec<Goal> {
        let Some(Stage { domains, ferry, libvirt }) = self.stages.last() else { return Vec::new() };
        let goal = |what: &str, figure, figure_max| {
            let what = format!("{what}, with {domains} domains");
            Goal { what, figure, figure_max }
        };
        vec![
            goal("`list --all` in ms, at most half of virsh's", ferry.list_ms, libvirt.list_ms / 2.0),
            goal("agent's resident memory in MiB", mebi(ferry.resident_bytes), RESIDENT_MIB_MAX),
            goal("`define` in ms, at most virsh's", ferry.define_ms, libvirt.define_ms),
        ]
    }
}

/// What an agent may take, whatever it has been asked before.
const RESIDENT_MIB_MAX: f64 = 40.0;

fn mebi(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_with_the_most_domains() {
        let figures =
            |list_ms, define_ms, mib: u64| Figures { list_ms, define_ms, resident_bytes: mib << 20 };
        let stage = |domains, ferry, libvirt| Stage { domains, ferry, libvirt };
        let scale = Scale {
            machine: vec!["2 × a processor".into()],
            stages: vec![
                stage(10, figures(90.0, 90.0, 90), figures(1.0, 1.0, 1)),
                stage(1000, figures(60.0, 6.0, 50), figures(130.0, 5.5, 47)),
            ],
        };
        let met: Vec<bool> = scale.goals().iter().map(Goal::met).collect();
        assert_eq!(met, [true, false, false], "{:?}", scale.goals());
        let line = "| virsh, libvirtd |    1000 |       5.5 |         130.0 |         47.0 |";
        assert!(scale.part().contains(line), "{}", scale.part());
    }
}
