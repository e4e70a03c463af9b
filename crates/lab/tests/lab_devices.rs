//! A guest that is looked at, typed to and given devices while it runs, also across a migration; and what becomes of
//! one whose kernel panics, whose QEMU hangs, or whose QEMU does not start.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::limits::{GUEST_BOOT, HAPPENS};
use lab::talk::Talk;
use lab::trial::{Trial, play};

/// A second serial port that can be typed into, a screen, an empty CD drive, and more slots than the devices need that are there at first.
const DEVICES: &str = "    <serial type='pty'><target port='1'/></serial>
    <graphics type='vnc' autoport='yes'/>
    <video><model type='vga'/></video>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
";
const SERIAL: &str = "    <serial type='pty'><target port='1'/></serial>\n";
const PANICS: &str = "    <serial type='pty'><target port='1'/></serial>\n    <panic model='isa'/>\n";
const MAC: &str = "52:54:00:fe:01:07";
/// Of the disk that comes and goes.
const BYTES: u64 = 8 << 20;

fn options() -> GuestOptions {
    GuestOptions { devices: DEVICES, ..GuestOptions::small("web1") }
}

fn console(host: &Host, options: &[&str]) -> Result<Talk> {
    let mut command = host.ferry();
    command.args(["console", "web1"]).args(options);
    Talk::begin(command)
}

/// Somebody at the console, whom the guest has answered.
fn sit_down(host: &Host, options: &[&str]) -> Result<Talk> {
    let mut console = console(host, options)?;
    console.ask_until("hello", "guest: ", |said| said.ends_with("heard hello"))?;
    Ok(console)
}

fn events(host: &Host, options: &[&str]) -> Result<Talk> {
    let mut command = host.ferry();
    command.args(["--json", "events", "web1"]).args(options);
    Talk::begin(command)
}

/// An event as JSON has it.
fn named(kind: &str) -> String {
    format!("\"event\":\"{kind}\"")
}

#[test]
fn devices_come_and_go_while_the_guest_runs_and_moves() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, options())?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let mut news = events(kvm1, &["--since", "1h"])?;
        news.hear(&named("started"), HAPPENS)?;
        consoles_are_for_one(kvm1)?;
        it_shows_itself(kvm1)?;

        let disk = trial.guest.disk.with_file_name("more.img");
        fs::File::create(&disk)?.set_len(BYTES)?;
        let disk = disk.display().to_string();
        media_change(kvm1, &disk)?;
        news.hear(&named("media-changed"), HAPPENS)?;
        wrong_devices_change_nothing(kvm1, &disk)?;
        kvm1.ferry_output(["attach-disk", "web1", &disk, "vdb", "--persistent"])?;
        kvm1.ferry_output(["attach-interface", "web1", "bridge", "br0", "--mac", MAC])?;
        news.hear(&named("device-attached"), HAPPENS)?;
        let mut typist = sit_down(kvm1, &[])?;
        has_devices(&mut typist, true)?;

        // A new agent and then another host know of them.
        drop(typist);
        kvm1.kill_agent()?;
        kvm1.start_agent()?;
        let typist = sit_down(kvm1, &[])?;
        let taps = kvm1.namespace.links()?.iter().filter(|link| link.starts_with("tap")).count();
        ensure!(taps == 2, "{taps} taps");
        let mut news = events(kvm1, &[])?;
        trial.moves(kvm1, kvm2, &[])?;
        news.hear(&named("moved"), HAPPENS)?;
        let (code, said) = typist.end()?;
        ensure!((code, said.trim()) == (0, "web1 has moved to kvm2"), "{code} {said}");

        let mut typist = sit_down(kvm2, &[])?;
        has_devices(&mut typist, true)?;
        let mut news = events(kvm2, &["--since", "1h"])?;
        news.hear(&named("arrived"), HAPPENS)?;
        kvm2.ferry_output(["detach-disk", "web1", "vdb", "--persistent"])?;
        kvm2.ferry_output(["detach-interface", "web1", MAC])?;
        news.hear(&named("device-detached"), HAPPENS)?;
        has_devices(&mut typist, false)?;
        trial.moves(kvm2, kvm1, &[])?;
        let xml = kvm1.ferry_output(["dumpxml", "web1"])?;
        ensure!(!xml.contains("more.img") && !xml.contains(MAC), "{xml}");
        Ok(())
    })
}

fn has_devices(typist: &mut Talk, wanted: bool) -> Result<()> {
    let disk = format!("vdb={BYTES}");
    let fits = |said: &str| said.contains(&disk) == wanted && said.contains(MAC) == wanted;
    typist.ask_until("devices", "guest: has", fits)?;
    Ok(())
}

fn consoles_are_for_one(host: &Host) -> Result<()> {
    let first = sit_down(host, &[])?;
    let busy = host.ferry_refusal(&["console", "web1", "--devname", "serial1"])?;
    ensure!((busy.code.as_str(), busy.exit) == ("console-busy", 4), "{busy:?}");
    let file = host.ferry_refusal(&["console", "web1", "--devname", "serial0"])?;
    ensure!(file.code == "no-console" && file.detail.contains("serial1"), "{file:?}");
    let _second = sit_down(host, &["--force"])?;
    let (code, said) = first.end()?;
    ensure!(code == 0 && said.contains("somebody else took the console over"), "{code} {said}");
    Ok(())
}

fn it_shows_itself(host: &Host) -> Result<()> {
    let address = host.ferry_output(["vncdisplay", "web1"])?;
    ensure!(address.starts_with("127.0.0.1:59"), "{address}");
    let picture = host.directory.join("screen.png");
    host.ferry_output(["screenshot".as_ref(), "web1".as_ref(), picture.as_os_str()])?;
    let picture = fs::read(picture)?;
    ensure!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && picture.len() > 100, "{} bytes", picture.len());
    Ok(())
}

fn media_change(host: &Host, medium: &str) -> Result<()> {
    let is_in = |wanted: bool| -> Result<()> {
        let xml = host.ferry_output(["dumpxml", "web1"])?;
        ensure!(xml.contains(medium) == wanted, "the medium is to be in: {wanted}: {xml}");
        Ok(())
    };
    host.ferry_output(["change-media", "web1", "sda", medium])?;
    is_in(true)?;
    let nothing = format!("{medium}.none");
    let refusal = host.ferry_refusal(&["change-media", "web1", "sda", &nothing])?;
    ensure!((refusal.code.as_str(), refusal.exit) == ("disk-unusable", 4), "{refusal:?}");
    is_in(true)?;
    host.ferry_output(["change-media", "web1", "sda", "--eject"])?;
    is_in(false)
}

/// What is refused, by Ferry or by QEMU, leaves nothing behind.
fn wrong_devices_change_nothing(host: &Host, disk: &str) -> Result<()> {
    let before = host.ferry_output(["dumpxml", "web1"])?;
    let interface = ["attach-interface", "web1", "bridge", "br9"];
    for (words, code) in [
        (&["attach-disk", "web1", disk, "vda"][..], "definition-invalid"),
        (&["attach-disk", "web1", "/etc/passwd", "vdb"], "path-not-allowed"),
        (&["attach-disk", "web1", disk, "vdb", "--format", "qcow2", "--persistent"], "qmp-failed"),
        (&interface, "network-failed"),
        (&["detach-disk", "web1", "vdx"], "no-device"),
    ] {
        let refusal = host.ferry_refusal(words)?;
        ensure!(refusal.code == code && refusal.mend.is_some(), "{words:?}: {refusal:?}");
    }
    ensure!(host.ferry_output(["dumpxml", "web1"])? == before, "the definition was changed");
    Ok(())
}

#[test]
fn a_guest_whose_kernel_panics_is_started_again() -> Result<()> {
    play(|lab| {
        let options = GuestOptions { devices: PANICS, on_crash: "restart", ..GuestOptions::small("web1") };
        let trial = Trial::begin(lab, options)?;
        let host = lab.kvm1();
        let (mut news, mut typist) = (events(host, &[])?, sit_down(host, &[])?);
        let before = trial.guest.status()?;
        typist.say("panic")?;
        news.hear(&named("panicked"), HAPPENS)?;
        news.hear(&named("reset"), HAPPENS)?;
        news.hear(&named("resumed"), HAPPENS)?;
        // The same QEMU, and a guest that was booted again.
        typist.hear("guest: listening", GUEST_BOOT)?;
        let after = trial.guest.wait_until_serving(GUEST_BOOT)?;
        ensure!(after.boot_id != before.boot_id, "the guest was not started again");
        Ok(())
    })
}

#[test]
fn a_qemu_that_hangs_is_named_and_ended_and_one_that_does_not_start_is_quoted() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions { devices: SERIAL, ..GuestOptions::small("web1") })?;
        let host = lab.kvm1();
        let (mut news, typist) = (events(host, &[])?, sit_down(host, &[])?);
        let pid = trial.qemu(host)?;
        stop(pid)?;
        let shown = host.ferry_json::<serde_json::Value>(&["info", "web1"])?;
        let reason = shown["reason"].as_str().unwrap_or_default();
        ensure!(shown["state"] == "stopped" && reason.contains(&format!("process {pid}")), "{shown}");
        let began = Instant::now();
        host.ferry_output(["destroy", "web1"])?;
        ensure!(began.elapsed() < HAPPENS, "it took {:?}", began.elapsed());
        news.hear(&named("stopped"), HAPPENS)?;
        let (code, said) = typist.end()?;
        ensure!(code == 0 && said.contains("web1 is shut off: destroyed"), "{code} {said}");
        trial.gave_back(host)?;

        // QEMU's own words say why it does not start.
        let xml = fs::read_to_string(&trial.guest.xml)?;
        let kernel = trial.guest.disk.with_file_name("no-kernel");
        fs::write(&kernel, "no kernel")?;
        let broken = trial.guest.xml.with_extension("broken.xml");
        let (begin, rest) = xml.split_once("<kernel>").expect("the definition has a kernel");
        let (_, end) = rest.split_once("</kernel>").expect("it ends");
        fs::write(&broken, format!("{begin}<kernel>{}</kernel>{end}", kernel.display()))?;
        host.ferry_output(["define".as_ref(), broken.as_os_str()])?;
        let refusal = host.ferry_refusal(&["start", "web1"])?;
        ensure!(refusal.code == "qemu-did-not-start" && refusal.detail.contains("kernel"), "{refusal:?}");
        trial.gave_back(host)
    })
}

/// Makes a process hang: it lives and does nothing.
fn stop(pid: u32) -> Result<()> {
    let stopped = Command::new("kill").args(["-STOP", &pid.to_string()]).status()?;
    ensure!(stopped.success(), "process {pid} was not stopped");
    Ok(())
}
