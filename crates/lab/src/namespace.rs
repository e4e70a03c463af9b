//! Network namespaces with names, made and removed by `ip netns`. Main type: [`Namespace`].
//! Dropping one removes nothing: that is [`crate::teardown`]'s work, which knows them by name.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::LinkNameSpaceType;

/// Where `ip netns` keeps the names.
pub(crate) const NAMES: &str = "/run/netns";

/// A network namespace that `ip netns` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of this name, which need not exist yet.
    pub fn named(name: String) -> Namespace {
        Namespace { name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs `program` inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `job` on a thread inside; sockets that it opens stay inside.
    ///
    /// # Errors
    /// When the namespace is gone, or may not be entered.
    pub fn enter<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        thread::scope(|scope| {
            let entered = scope.spawn(move || -> Result<T> {
                enter(&file)?;
                Ok(job())
            });
            match entered.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a thread inside that lives as long as `job`.
    ///
    /// # Errors
    /// When the namespace is gone; one that may not be entered shows as the thread's result.
    pub fn spawn<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>> {
        let file = self.open()?;
        Ok(thread::spawn(move || {
            enter(&file)?;
            job()
        }))
    }

    /// Names of the links inside, `lo` left out.
    ///
    /// # Errors
    /// When `ip` cannot list them.
    pub fn links(&self) -> Result<Vec<String>> {
        let output = Command::new("ip").args(["-n", &self.name, "-json", "link"]).output().context("ip")?;
        ensure!(
            output.status.success(),
            "ip -n {} link: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let links: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
        let names = links.iter().filter_map(|link| link["ifname"].as_str());
        Ok(names.filter(|name| *name != "lo").map(str::to_owned).collect())
    }

    /// Whether a process is inside.
    pub(crate) fn holds(&self, pid: u32) -> bool {
        let inode = |path: PathBuf| Some(std::fs::metadata(path).ok()?.ino());
        let own = inode(PathBuf::from(NAMES).join(&self.name));
        own.is_some() && inode(format!("/proc/{pid}/ns/net").into()) == own
    }

    /// Runs the lines as `ip -batch` inside.
    pub(crate) fn ip(&self, lines: &str) -> Result<()> {
        batch(&["-n", &self.name], lines)
    }

    fn open(&self) -> Result<File> {
        let path = PathBuf::from(NAMES).join(&self.name);
        File::open(&path).with_context(|| format!("network namespace {}", self.name))
    }
}

fn enter(namespace: &File) -> Result<()> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("setns: only root may enter a network namespace")
}

/// Runs `ip` with the lines as its batch; the error is `ip`'s own text, which names the line.
pub(crate) fn batch(options: &[&str], lines: &str) -> Result<()> {
    let mut ip = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip")?;
    ip.stdin.take().context("ip takes no input")?.write_all(lines.as_bytes())?;
    let output = ip.wait_with_output()?;
    if !output.status.success() {
        bail!("ip {}: {}", options.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
