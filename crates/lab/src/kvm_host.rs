//! A KVM host that is a guest itself: it has a kernel of its own, with what this machine's may lack. It is given commands,
//! runs them one after the other, and says on its serial line what came of each; it has `ferry`, and no QEMU. Main type:
//! [`KvmHost`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::limits::LOOK;
use crate::namespace::Namespace;

/// Memory, in MiB: the initramfs is in it twice for a moment.
const MEMORY_MIB: u32 = 768;
/// A timer that comes late under emulation is no broken one.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check";
/// How a line of the host's own begins.
const MARK: &str = "@@";
/// What is done before the commands: an agent is started.
const AGENT: &str = "ferry agent > /agent.log 2>&1 &
until [ -S /run/ferry/ferry.sock ]; do
    kill -0 $! || { cat /agent.log; exit 1; }
    sleep 0.1
done
";

/// What `cargo xtask test --slow` builds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostImages {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
}

impl HostImages {
    /// Where they lie below the build's target directory.
    pub fn below(target: &Path) -> HostImages {
        HostImages {
            kernel: target.join("guest/host-vmlinuz"),
            initramfs: target.join("guest/host-initramfs"),
        }
    }
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The command.
    pub command: String,
    /// Its exit code.
    pub exit: i32,
    /// What it wrote, to standard error too.
    pub said: String,
}

/// What a host is made of, besides what all are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware<'a> {
    /// QEMU's `-cpu`.
    pub cpu: &'a str,
    /// More words for the kernel.
    pub kernel: &'a str,
    /// More arguments of QEMU.
    pub more: &'a [&'a str],
}

impl Default for Hardware<'_> {
    fn default() -> Self {
        Hardware { cpu: "max", kernel: "", more: &[] }
    }
}

/// A host that boots, or runs.
#[derive(Debug)]
pub struct KvmHost {
    qemu: Child,
    console: PathBuf,
}

impl KvmHost {
    /// Boots a host in a network namespace, whose addresses it reaches, with its files in `directory`. The agent `name`
    /// is started, and then the commands, each a line of shell.
    ///
    /// # Errors
    /// When its images are not built, or QEMU does not start.
    pub fn boot(namespace: &Namespace, directory: &Path, name: &str, commands: &[&str]) -> Result<KvmHost> {
        KvmHost::boot_on(Hardware::default(), namespace, directory, name, commands)
    }

    /// The same on other hardware.
    ///
    /// # Errors
    /// As [`KvmHost::boot`].
    pub fn boot_on(
        hardware: Hardware<'_>,
        namespace: &Namespace,
        directory: &Path,
        name: &str,
        commands: &[&str],
    ) -> Result<KvmHost> {
        let images = HostImages::below(&crate::target());
        for file in [&images.kernel, &images.initramfs] {
            ensure!(file.exists(), "{} is not there: run cargo xtask test --slow", file.display());
        }
        let (script, console) =
            (directory.join(format!("{name}.script")), directory.join(format!("{name}.console")));
        fs::write(&script, on_disk(&script_of(name, commands)))?;
        // It is read before QEMU has made it.
        File::create(&console)?;
        let qemu = namespace
            .command("qemu-system-x86_64")
            .args(["-M", "q35", "-accel", "tcg", "-cpu", hardware.cpu])
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .args(hardware.more)
            .args(["-m", &MEMORY_MIB.to_string(), "-append"])
            .arg(format!("{COMMAND_LINE} {}", hardware.kernel))
            .arg("-kernel")
            .arg(&images.kernel)
            .arg("-initrd")
            .arg(&images.initramfs)
            .arg("-drive")
            .arg(format!("file={},format=raw,if=none,id=script,readonly=on", script.display()))
            .args(["-device", "virtio-blk-pci,drive=script"])
            .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .stdin(Stdio::null())
            .stderr(File::create(directory.join(format!("{name}.stderr")))?)
            .spawn()
            .context("QEMU")?;
        Ok(KvmHost { qemu, console })
    }

    /// Waits until the host has said `words` on a line of its own.
    ///
    /// # Errors
    /// When it has not within the time, or has ended.
    pub fn hears(&mut self, words: &str, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        while !self.said()?.lines().any(|line| line == words) {
            if let Some(status) = self.qemu.try_wait()? {
                bail!("the host ended ({status}) before it said {words:?}:\n{}", self.said()?);
            }
            ensure!(Instant::now() < end, "the host has not said {words:?}:\n{}", self.said()?);
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until all commands are done; what came of them.
    ///
    /// # Errors
    /// When they are not within the time.
    pub fn answers(mut self, within: Duration) -> Result<Vec<Answer>> {
        let end = Instant::now() + within;
        while self.qemu.try_wait()?.is_none() {
            if Instant::now() > end {
                self.qemu.kill()?;
                self.qemu.wait()?;
                bail!("the host is not done within {within:?}:\n{}", self.said()?);
            }
            thread::sleep(LOOK);
        }
        let said = self.said()?;
        ensure!(said.contains("init: the script ended"), "the host died:\n{said}");
        let answers = read(&said);
        ensure!(!answers.is_empty(), "the agent of the host did not start:\n{said}");
        Ok(answers)
    }

    fn said(&self) -> Result<String> {
        // A serial line ends its lines with both.
        let bytes = fs::read(&self.console).with_context(|| self.console.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
    }
}

impl Drop for KvmHost {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}

fn script_of(name: &str, commands: &[&str]) -> String {
    let mut script =
        format!("echo 'host = \"{name}\"' > /etc/ferry/agent.toml\nmkdir -p /run/ferry\n{AGENT}");
    for command in commands {
        let quoted = command.replace('\'', "'\\''");
        script += &format!("echo '{MARK} {quoted}'\n{{ {command}\n}} 2>&1\necho \"{MARK} exit $?\"\n");
    }
    script
}

/// A disk has whole sectors; the rest of the last is empty lines.
fn on_disk(script: &str) -> Vec<u8> {
    const SECTOR: usize = 512;
    let mut bytes = script.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(SECTOR), b'\n');
    bytes
}

/// The answers in what was said.
fn read(said: &str) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut open = false;
    for line in said.lines() {
        let Some(mark) = line.strip_prefix(MARK).map(str::trim_start) else {
            if let Some(answer) = answers.last_mut().filter(|_| open) {
                answer.said += &format!("{line}\n");
            }
            continue;
        };
        match (answers.last_mut().filter(|_| open), mark.strip_prefix("exit ")) {
            (Some(answer), Some(code)) => {
                answer.exit = code.parse().unwrap_or(-1);
                open = false;
            }
            (Some(_) | None, _) => {
                answers.push(Answer { command: mark.to_owned(), exit: -1, said: String::new() });
                open = true;
            }
        }
    }
    answers
}

/// What a script has printed is one word after another again.
#[must_use]
pub fn in_one_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_script_says_what_came_of_each_command() {
        let script = script_of("kvm1", &["echo it\\'s; false", "ls /no/such", "true"]);
        let commands = script.split_once("done\n").unwrap().1;
        let output = Command::new("sh").args(["-c", commands]).env("LC_ALL", "C").output().unwrap();
        let answers = read(&String::from_utf8(output.stdout).unwrap());
        let exits: Vec<i32> = answers.iter().map(|answer| answer.exit).collect();
        assert_eq!(exits, [1, 2, 0], "{answers:?}");
        assert_eq!((answers[0].said.as_str(), answers[0].command.as_str()), ("it's\n", "echo it\\'s; false"));
        assert!(answers[1].said.contains("No such file"), "{answers:?}");
        assert_eq!(on_disk("x\n").len(), 512);
    }
}
