//! A QEMU that no agent drives: started by hand, with a guest of the lab and a monitor (QMP). Main type: [`Qemu`].

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Lab;
use crate::guest::Guest;
use crate::host::Host;
use crate::limits::{QMP_ANSWER, QMP_LOOK};
use crate::network::BRIDGE;

const TAP: &str = "tap0";

/// A running QEMU; it is killed when this is dropped. A host has room for one.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    qmp: BufReader<UnixStream>,
}

impl Qemu {
    /// Starts it with a guest that boots, or that is to come (`incoming`).
    ///
    /// # Errors
    /// When it ends at once or does not answer, or its tap does not join the bridge.
    pub fn start(lab: &Lab, host: &Host, guest: &Guest, incoming: bool) -> Result<Qemu> {
        fs::create_dir_all(host.run())?;
        let socket = host.run().join("by-hand.sock");
        // One that was killed has left it.
        let _ = fs::remove_file(&socket);
        let mut command = command(lab, host, guest, &socket);
        if incoming {
            command.args(["-incoming", "defer"]);
        }
        let mut child = command.spawn().context("ip netns exec")?;
        let end = Instant::now() + QMP_ANSWER;
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => {
                    ensure!(child.try_wait()?.is_none() && Instant::now() < end, "no QEMU: {error}");
                    thread::sleep(QMP_LOOK);
                }
            }
        };
        stream.set_read_timeout(Some(QMP_ANSWER))?;
        let mut qemu = Qemu { child, qmp: BufReader::new(stream) };
        qemu.execute("qmp_capabilities", json!({}))?;
        host.namespace.ip(&format!("link set {TAP} master {BRIDGE} up\n"))?;
        Ok(qemu)
    }

    /// Executes a command, and answers with what it returns.
    ///
    /// # Errors
    /// What QEMU says against it; when it does not answer.
    pub fn execute(&mut self, name: &str, arguments: Value) -> Result<Value> {
        writeln!(self.qmp.get_mut(), "{}", json!({ "execute": name, "arguments": arguments }))?;
        loop {
            let message = self.hear()?;
            if let Some(answer) = message.get("return") {
                return Ok(answer.clone());
            }
            ensure!(message.get("error").is_none(), "{name}: {message}");
        }
    }

    /// Waits for an event; those that came with the answers to commands are lost.
    ///
    /// # Errors
    /// When QEMU says nothing for long, or ends.
    pub fn wait_for(&mut self, event: &str) -> Result<()> {
        while self.hear()?["event"] != event {}
        Ok(())
    }

    /// The same, and `false` when it does not come within a time. Half a message may have been read then: this QEMU is not to
    /// be asked for much any more.
    ///
    /// # Errors
    /// When QEMU ends.
    pub fn heard_within(&mut self, event: &str, within: Duration) -> Result<bool> {
        let end = Instant::now() + within;
        let heard = loop {
            // A time-out of nothing is none at all.
            let left = end.saturating_duration_since(Instant::now()).max(QMP_LOOK);
            self.qmp.get_ref().set_read_timeout(Some(left))?;
            match self.hear() {
                Ok(message) if message["event"] == event => break true,
                Ok(_) if Instant::now() < end => {}
                Ok(_) => break false,
                Err(error) if is_timeout(&error) => break false,
                Err(error) => return Err(error),
            }
        };
        self.qmp.get_ref().set_read_timeout(Some(QMP_ANSWER))?;
        Ok(heard)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn end(mut self) -> Result<()> {
        let end = Instant::now() + QMP_ANSWER;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "QEMU does not end");
            thread::sleep(QMP_LOOK);
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.qmp.read_line(&mut line).context("QMP")? > 0, "QEMU closed its monitor");
        serde_json::from_str(&line).with_context(|| format!("QEMU says {line:?}"))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether nothing was said in time (socket(7), `SO_RCVTIMEO`).
fn is_timeout(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn command(lab: &Lab, host: &Host, guest: &Guest, socket: &Path) -> Command {
    let drive = format!(
        "driver=qcow2,node-name=d,file.driver=file,file.filename={},cache.direct=on",
        guest.disk.display()
    );
    let netdev = format!("tap,id=n,ifname={TAP},script=no,downscript=no");
    let device = format!("virtio-net-pci,netdev=n,mac={}", guest.mac());
    let console = format!("file,id=c,append=on,path={}", guest.console.display());
    let memory = guest.options.memory_mib.to_string();
    let boot = lab.shared.join("boot");
    let mut command = host.namespace.command("qemu-system-x86_64");
    command
        .args(["-M", "q35", "-accel", "tcg", "-cpu", "qemu64", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-m", &memory])
        .args(["-blockdev", &drive, "-device", "virtio-blk-pci,drive=d"])
        .args(["-netdev", &netdev, "-device", &device, "-device", "virtio-rng-pci"])
        .args(["-chardev", &console, "-serial", "chardev:c", "-append", &guest.command_line()])
        .arg("-kernel")
        .arg(boot.join("vmlinuz"))
        .arg("-initrd")
        .arg(boot.join("initramfs"))
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .stdin(Stdio::null());
    command
}
