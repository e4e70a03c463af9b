//! Bridges across a reboot, in guests with systemd whose links are configured by systemd-networkd, by NetworkManager and
//! by ifupdown: what `reboot.sh` tells. Nothing of this machine but `target` is changed. Main function: [`try_out`].

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::package::{debian, run};
use crate::setup;

/// What happens inside.
const SCRIPT: &str = include_str!("reboot.sh");
/// What the guest has beside a minimal Debian.
const WITHIN: &str =
    "systemd-sysv,dbus,udev,iproute2,linux-image-cloud-amd64,initramfs-tools,network-manager,ifupdown";
/// By the names that the script has for them.
const KEEPERS: [&str; 3] = ["networkd", "network_manager", "ifupdown"];
/// Those that are tried where none is named.
const TRIED: [&str; 1] = ["networkd"];
/// Three boots without KVM, on a machine that does other things too.
const TRIAL_WITHIN: Duration = Duration::from_secs(45 * 60);
/// Runs the script at each boot, from the second disk.
const UNIT: &str = "\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount /dev/vdb /payload && exec sh /payload/reboot.sh $(sed \"s/.*trial=//\" /proc/cmdline)'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
KillMode=process
[Install]
WantedBy=default.target
";
const AGENT: &str = "\
host = \"guest\"
state_dir = \"/var/lib/trial/state\"
";

/// Tries it with what configures links by these names, or with [`TRIED`].
///
/// # Errors
/// What is not as it should be; without root, or where no guest can be made.
pub(crate) fn try_out(root: &Path, target: &Path, keepers: &[String]) -> Result<String> {
    let is_named = |keeper: &&str| keepers.iter().any(|it| it == keeper);
    let asked: Vec<&str> = match keepers {
        [] => TRIED.to_vec(),
        _ => KEEPERS.into_iter().filter(is_named).collect(),
    };
    ensure!(!asked.is_empty(), "name some of {}", KEEPERS.join(", "));
    ensure!(setup::is_root(), "a guest's disk is made with mmdebstrap, and only root may");
    let directory = target.join("reboot");
    let image = image(&directory)?;
    crate::build_ferry(root)?;
    let payload = payload(&directory, target)?;
    for keeper in &asked {
        trial(&directory, &image, &payload, keeper)
            .with_context(|| format!("links configured by {keeper}"))?;
    }
    Ok(format!("{} guests, each booted three times", asked.len()))
}

/// A disk with a small Debian, its kernel and initial file system beside it; made once.
fn image(directory: &Path) -> Result<PathBuf> {
    let image = directory.join("root.ext4");
    // What it was made of: another one is made where that has changed.
    let (made_of, stamp) = (format!("{WITHIN}\n{UNIT}"), directory.join("made-of"));
    if image.exists() && fs::read_to_string(&stamp).is_ok_and(|it| it == made_of) {
        return Ok(image);
    }
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let root = debian(directory, WITHIN)?;
    fs::write(root.join("etc/systemd/system/trial.service"), UNIT)?;
    fs::create_dir_all(root.join("payload"))?;
    // They are turned on by the script, one in each guest.
    for name in ["NetworkManager", "NetworkManager-wait-online", "networking", "systemd-networkd"] {
        run(Command::new("systemctl").arg("--root").arg(&root).args(["disable", "--quiet", name]))?;
    }
    run(Command::new("systemctl").arg("--root").arg(&root).args(["enable", "--quiet", "trial"]))?;
    for file in ["vmlinuz", "initrd.img"] {
        fs::copy(root.join(file), directory.join(file)).with_context(|| format!("the guest's {file}"))?;
    }
    let made = directory.join("root.ext4.new");
    run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-d"]).arg(&root).arg(&made).arg("1500M"))?;
    fs::rename(&made, &image)?;
    fs::write(stamp, made_of)?;
    Ok(image)
}

/// A disk with the program and the script.
fn payload(directory: &Path, target: &Path) -> Result<PathBuf> {
    let files = directory.join("payload");
    fs::create_dir_all(&files)?;
    let ferry = std::env::var_os("FERRY_BIN").map_or_else(|| target.join("debug/ferry"), PathBuf::from);
    fs::copy(ferry, files.join("ferry"))?;
    fs::write(files.join("reboot.sh"), SCRIPT)?;
    fs::write(files.join("agent.toml"), AGENT)?;
    let disk = directory.join("payload.ext4");
    run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-d"]).arg(&files).arg(&disk).arg("400M"))?;
    Ok(disk)
}

/// A guest, ended with this value.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn trial(directory: &Path, image: &Path, payload: &Path, keeper: &str) -> Result<()> {
    let overlay = directory.join(format!("{keeper}.qcow2"));
    let mut made = Command::new("qemu-img");
    made.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(image).arg(&overlay);
    run(&mut made)?;
    let mut guest = Command::new("qemu-system-x86_64");
    guest.args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "768", "-nodefaults", "-display", "none"]);
    guest.args(["-serial", "stdio", "-nic", "user,model=virtio-net-pci"]);
    guest.arg("-kernel").arg(directory.join("vmlinuz")).arg("-initrd").arg(directory.join("initrd.img"));
    guest.arg("-append").arg(format!(
        "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 systemd.show_status=no \
         systemd.mask=serial-getty@ttyS0.service trial={keeper}"
    ));
    guest.arg("-drive").arg(format!("if=virtio,format=qcow2,file={}", overlay.display()));
    guest.arg("-drive").arg(format!("if=virtio,format=raw,readonly=on,file={}", payload.display()));
    let mut guest = Guest(guest.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("QEMU")?);
    watch(&mut guest)
}

/// Shows what the script says, until it has passed.
fn watch(guest: &mut Guest) -> Result<()> {
    let output = guest.0.stdout.take().context("QEMU has no standard output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    let until = Instant::now() + TRIAL_WITHIN;
    let mut said = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            bail!("it neither passed nor failed; its last words:\n{}", said.join("\n"));
        };
        match line.as_str() {
            "trial: passed" => return Ok(()),
            "trial: failed" => bail!("its last words:\n{}", said.join("\n")),
            told if told.starts_with("trial: ") => eprintln!("reboot: {}", &told["trial: ".len()..]),
            _ => {}
        }
        said.push(line);
        // The beginning of a long story is not what it ended with.
        said.drain(..said.len().saturating_sub(200));
    }
}
