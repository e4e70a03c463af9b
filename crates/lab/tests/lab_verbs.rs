//! The daily verbs, each by its effect on a real guest, a real QEMU or a real image, and by what it refuses.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::{Guest, GuestOptions, create_disk, records};
use lab::holder::Holder;
use lab::host::{Host, Mount, Refusal};
use lab::limits::{GUEST_BOOT, HAPPENS, LOOK};
use lab::talk::Talk;
use lab::trial::{Shown, left_on, play};
use serde_json::{Value, json};

fn expect(refusal: &Refusal, code: &str) -> Result<()> {
    ensure!((refusal.code.as_str(), refusal.exit) == (code, 4), "to be {code} and exit 4: {refusal:#?}");
    let told = refusal.mend.is_some() || refusal.details.iter().any(|detail| !detail.mend.is_empty());
    ensure!(told, "it does not say what to do: {refusal:?}");
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn state(host: &Host, domain: &str) -> Result<String> {
    Ok(host.ferry_json::<Shown>(&["info", domain])?.state)
}

fn nothing_left(host: &Host) -> Result<()> {
    let left = left_on(host)?;
    ensure!(left.is_empty(), "{} has {left:?}", host.name);
    Ok(())
}

/// Waits until the guest serves with another boot id than `before`, and returns the new one.
fn booted_again(guest: &Guest, before: &str) -> Result<String> {
    let end = Instant::now() + GUEST_BOOT;
    loop {
        let boot_id = guest.wait_until_serving(GUEST_BOOT)?.boot_id;
        if boot_id != before {
            return Ok(boot_id);
        }
        ensure!(Instant::now() < end, "the guest was not booted again");
        thread::sleep(LOOK);
    }
}

fn comes_true(what: &str, within: Duration, mut looks: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + within;
    while !looks()? {
        ensure!(Instant::now() < end, "within {within:?} not true: {what}");
        thread::sleep(LOOK);
    }
    Ok(())
}

/// `ferry edit` with `sed` for an editor.
fn edit(host: &Host, domain: &str, script: &str) -> Result<(i32, String)> {
    let mut command = host.ferry();
    command
        .env_remove("VISUAL")
        .env("EDITOR", format!("sed -i -e '{script}'"))
        .env("TMPDIR", &host.directory);
    let output = command.args(["--json", "edit", domain]).output()?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    Ok((output.status.code().unwrap_or(-1), said))
}

#[test]
fn guests_are_booted_again_in_their_qemu() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let guest = lab.guest(GuestOptions::small("web1"))?;
        let created: Shown = host.ferry_json(&["create", text(&guest.xml)])?;
        ensure!((created.state.as_str(), created.persistent) == ("running", false), "{created:?}");
        let pid = created.pid;
        expect(&host.ferry_refusal(&["create", text(&guest.xml)])?, "wrong-state")?;
        expect(&host.ferry_refusal(&["dumpxml", "web1", "--inactive"])?, "wrong-state")?;
        expect(&host.ferry_refusal(&["setvcpus", "web1", "2"])?, "wrong-state")?;
        let first = guest.wait_until_serving(GUEST_BOOT)?.boot_id;

        // An orderly reboot: the guest closes its records, and its QEMU goes on.
        let rebooted: Shown = host.ferry_json(&["reboot", "web1"])?;
        ensure!((rebooted.state.as_str(), rebooted.pid) == ("running", pid), "{rebooted:?}");
        let second = booted_again(&guest, &first)?;
        let console = fs::read_to_string(&guest.console)?;
        ensure!(console.matches("power button pressed").count() == 1, "it was not asked: {console}");
        let checked = guest.check()?;
        ensure!((checked.records_lost, checked.memory_errors) == (0, 0), "{checked:?}");

        // The agent dies in the middle of it, and the next one goes on.
        host.ferry_output(["reboot", "web1", "--timeout", "0"])?;
        host.kill_agent()?;
        host.start_agent()?;
        let third = booted_again(&guest, &second)?;
        ensure!(host.ferry_json::<Shown>(&["info", "web1"])?.pid == pid, "another QEMU");

        host.ferry_output(["reset", "web1"])?;
        booted_again(&guest, &third)?;
        host.ferry_output(["suspend", "web1"])?;
        expect(&host.ferry_refusal(&["reboot", "web1"])?, "wrong-state")?;
        host.ferry_output(["resume", "web1"])?;

        // Powered off for good it ends, as before, and nothing of it is left.
        host.ferry_output(["shutdown", "web1"])?;
        expect(&host.ferry_refusal(&["info", "web1"])?, "domain-not-found")?;
        expect(&host.ferry_refusal(&["reboot", "web1"])?, "domain-not-found")?;
        let audit = guest.records()?;
        ensure!((audit.lost(), audit.boots.len()) == (0, 4), "{audit:?}");
        nothing_left(host)
    })
}

#[test]
fn definitions_change_for_the_next_start() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let guest = lab.guest(GuestOptions::small("web1"))?;
        host.ferry_output(["define", text(&guest.xml)])?;
        let before = host.ferry_output(["dumpxml", "web1"])?;
        host.ferry_output(["setvcpus", "web1", "2"])?;
        host.ferry_output(["setmem", "web1", "320M"])?;
        let after = host.ferry_output(["dumpxml", "web1"])?;
        let expected = before
            .replace("<vcpu>1</vcpu>", "<vcpu>2</vcpu>")
            .replace("<memory unit='MiB'>256</memory>", "<memory unit='MiB'>320</memory>");
        ensure!(after == expected && after != before, "more was changed than asked:\n{after}");

        // An edit is refused where it changes who the domain is, and where it cannot be used.
        let (exit, said) = edit(host, "web1", "s/<name>web1/<name>web9/")?;
        ensure!(exit == 4 && said.contains("identity-edited"), "{exit}: {said}");
        let (exit, said) = edit(host, "web1", "s/<vcpu>2/<vcpu>none/")?;
        ensure!(
            exit == 4 && said.contains("definition-invalid") && said.contains("\"line\""),
            "{exit}: {said}"
        );
        let changes =
            format!("{} autostart web1; {} setvcpus web1 1 #", host.ferry_line(), host.ferry_line());
        let mut command = host.ferry();
        command
            .env_remove("VISUAL")
            .env("EDITOR", format!("echo >>$1; {changes}"))
            .env("TMPDIR", &host.directory);
        let output = command.args(["--json", "edit", "web1"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(4) && said.contains("definition-changed"), "{output:?}");
        host.ferry_output(["setvcpus", "web1", "2"])?;
        let (exit, said) = edit(host, "web1", "s/Test guest/Edited guest/")?;
        ensure!(exit == 0, "{said}");
        let (exit, said) = edit(host, "web1", "s/Test guest/Edited guest/")?;
        ensure!(exit == 0 && said.contains("unchanged"), "{said}");

        // A name is taken once; the old one is free again.
        let other = lab.guest(GuestOptions { part: 101, ..GuestOptions::small("mail") })?;
        host.ferry_output(["define", text(&other.xml)])?;
        expect(&host.ferry_refusal(&["rename", "web1", "mail"])?, "name-taken")?;
        expect(&host.ferry_refusal(&["rename", "web1", "../web"])?, "definition-invalid")?;
        host.ferry_output(["rename", "web1", "shop"])?;
        expect(&host.ferry_refusal(&["info", "web1"])?, "domain-not-found")?;
        host.kill_agent()?;
        host.start_agent()?;

        let started: Shown = host.ferry_json(&["start", "shop"])?;
        let pid = started.pid.context("no QEMU")?;
        let line = fs::read(format!("/proc/{pid}/cmdline"))?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        for switch in ["-m size=320M", "-smp 2,", "guest=shop"] {
            ensure!(line.contains(switch), "no {switch} in {line}");
        }
        guest.wait_until_serving(GUEST_BOOT)?;
        let live = host.ferry_output(["dumpxml", "shop"])?;
        ensure!(live.contains("Edited guest") && live.contains("<name>shop</name>"), "{live}");
        expect(&host.ferry_refusal(&["rename", "shop", "web1"])?, "wrong-state")?;
        host.ferry_output(["setvcpus", "shop", "1"])?;
        ensure!(host.ferry_output(["dumpxml", "shop"])? == live, "the guest that runs was redefined");
        let inactive = host.ferry_output(["dumpxml", "shop", "--inactive"])?;
        ensure!(inactive == live.replace("<vcpu>2<", "<vcpu>1<"), "{inactive}");
        ensure!(host.ferry_json::<Value>(&["info", "shop"])?["vcpus"] == 2, "it does not have 2 any more");

        autostarts(host)?;
        host.ferry_output(["destroy", "shop"])?;
        for name in ["shop", "mail"] {
            host.ferry_output(["undefine", name])?;
        }
        nothing_left(host)
    })
}

/// `shop` is to start at boot, `mail` is not.
fn autostarts(host: &Host) -> Result<()> {
    let listed: Vec<Value> = host.ferry_json(&["list", "--all"])?;
    let autostart: Vec<&Value> = listed.iter().map(|domain| &domain["autostart"]).collect();
    ensure!(autostart == [false, true], "the rename lost it: {listed:?}");
    host.ferry_output(["destroy", "shop"])?;
    host.kill_agent()?;
    host.start_agent()?;
    // Domains are started while the agent serves: it must have decided.
    let log = host.agent_log();
    comes_true("the agent knows that its host has not booted", HAPPENS, || {
        Ok(fs::read_to_string(&log)?.matches("no domain is started by itself").count() == 2)
    })?;
    ensure!(state(host, "shop")? == "shut-off", "what was shut off was started by a new agent");
    host.stop_agent()?;
    fs::write(host.state().join("boot_id"), "another boot of this host")?;
    host.start_agent()?;
    comes_true("shop starts with its host", HAPPENS, || Ok(state(host, "shop")? == "running"))?;
    ensure!(state(host, "mail")? == "shut-off", "mail was started too");
    Ok(())
}

/// What a snapshot, a clone and an import are made of: the records on a disk.
#[test]
fn disks_are_kept_copied_and_taken_over() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let guest = lab.guest(GuestOptions::small("web1"))?;
        host.ferry_output(["define", text(&guest.xml)])?;
        host.ferry_output(["snapshot", "create", "web1", "empty"])?;
        expect(&host.ferry_refusal(&["snapshot", "create", "web1", "empty"])?, "snapshot-exists")?;
        expect(&host.ferry_refusal(&["snapshot", "create", "web1", "17"])?, "snapshot-name")?;
        expect(&host.ferry_refusal(&["snapshot", "revert", "web1", "full"])?, "snapshot-not-found")?;
        host.ferry_output(["start", "web1"])?;
        guest.wait_until_serving(GUEST_BOOT)?;
        for verb in [
            &["snapshot", "create", "web1", "x"][..],
            &["snapshot", "revert", "web1", "empty"],
            &["clone", "web1", "web2"],
        ] {
            expect(&host.ferry_refusal(verb)?, "wrong-state")?;
        }
        let listed: Vec<Value> = host.ferry_json(&["snapshot", "list", "web1"])?;
        ensure!(listed.len() == 1 && listed[0]["disks"] == json!(["vda"]), "{listed:?}");
        host.ferry_output(["shutdown", "web1"])?;
        let written = guest.records()?.last;
        ensure!(written > 0, "the guest wrote nothing");

        clones(lab, host, &guest, written)?;
        half_of_two(lab, host, &guest)?;
        host.ferry_output(["snapshot", "revert", "web1", "empty"])?;
        ensure!(guest.records().is_err() || guest.records()?.last == 0, "the records are still there");
        host.ferry_output(["snapshot", "delete", "web1", "empty"])?;
        let listed: Vec<Value> = host.ferry_json(&["snapshot", "list", "web1"])?;
        ensure!(listed.is_empty(), "{listed:?}");
        fs::remove_file(guest.disk.with_extension("audit")).or_else(not_found)?;

        // A snapshot on a host that does not own the domain would change the disk under the guest's feet.
        host.ferry_output(["start", "web1"])?;
        guest.wait_until_serving(GUEST_BOOT)?;
        host.ferry_output(["migrate", "web1", "--to", "kvm2", "--keep-definition"])?;
        expect(&host.ferry_refusal(&["snapshot", "create", "web1", "stolen"])?, "fenced")?;
        lab.kvm2().ferry_output(["destroy", "web1"])?;
        Ok(())
    })
}

fn not_found(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A clone is another domain with the same content.
fn clones(lab: &Lab, host: &Host, guest: &Guest, written: u64) -> Result<()> {
    let copy = lab.shared.join("shop.qcow2");
    expect(&host.ferry_refusal(&["clone", "web1", "web1"])?, "name-taken")?;
    expect(&host.ferry_refusal(&["clone", "web1", "shop", "--file", "vdz=/srv/x"])?, "no-such-disk")?;
    expect(&host.ferry_refusal(&["clone", "web1", "shop", "--file", "vda=/etc/x"])?, "path-not-allowed")?;
    let taken = format!("vda={}", text(&guest.disk));
    expect(&host.ferry_refusal(&["clone", "web1", "shop", "--file", &taken])?, "image-exists")?;
    expect(&host.ferry_refusal(&["clone", "web1", "a/b"])?, "definition-invalid")?;
    let cloned: Value = host.ferry_json(&["clone", "web1", "shop"])?;
    ensure!(cloned["disks"][0]["source"] == text(&copy), "{cloned}");
    ensure!(cloned["uuid"] != guest.uuid.as_str(), "{cloned}");
    ensure!(cloned["interfaces"][0]["mac"] != guest.mac().as_str(), "{cloned}");
    ensure!(records(&copy)?.last == written && guest.records()?.last == written, "the copy is another");
    let (before, after) = (host.ferry_output(["dumpxml", "web1"])?, host.ferry_output(["dumpxml", "shop"])?);
    ensure!(before.lines().count() == after.lines().count(), "{after}");
    host.ferry_output(["undefine", "shop"])?;
    Ok(())
}

/// Of two disks one cannot be written: neither gets a snapshot.
fn half_of_two(lab: &Lab, host: &Host, guest: &Guest) -> Result<()> {
    let second = lab.shared.join("second.qcow2");
    create_disk(&second, 8)?;
    let disk = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vdb' bus='virtio'/></disk>\n    <interface",
        text(&second)
    );
    let xml = host.ferry_output(["dumpxml", "web1"])?;
    let path = guest.xml.with_extension("two.xml");
    fs::write(&path, xml.replace("<interface", &disk))?;
    host.ferry_output(["define", text(&path)])?;
    let holder = Holder::begin(&second)?;
    expect(&host.ferry_refusal(&["snapshot", "create", "web1", "half"])?, "image-failed")?;
    holder.end()?;
    let listed: Vec<Value> = host.ferry_json(&["snapshot", "list", "web1"])?;
    ensure!(listed.iter().all(|snapshot| snapshot["name"] != "half"), "half a snapshot is left: {listed:?}");
    expect(&host.ferry_refusal(&["snapshot", "revert", "web1", "empty"])?, "snapshot-lacking")?;
    fs::write(&path, &xml)?;
    host.ferry_output(["define", text(&path)])?;
    for path in [path, second] {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// `/etc` and `/run` as on a host with a libvirt that knows `web1`.
#[test]
fn a_domain_of_libvirt_is_taken_over() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let guest = lab.guest(GuestOptions::small("web1"))?;
        let (etc, run) = (lab.directory().join("etc"), lab.directory().join("run"));
        let (known, alive) = (etc.join("libvirt/qemu"), run.join("libvirt/qemu"));
        for directory in [&known.join("autostart"), &alive] {
            fs::create_dir_all(directory)?;
        }
        fs::copy(&guest.xml, known.join("web1.xml"))?;
        std::os::unix::fs::symlink("/etc/libvirt/qemu/web1.xml", known.join("autostart/web1.xml"))?;
        host.stop_agent()?;
        host.start_agent_seeing(&[
            Mount::Bind { from: etc, at: "/etc".into() },
            Mount::Bind { from: run, at: "/run".into() },
        ])?;

        expect(&host.ferry_refusal(&["import", "libvirt:nobody"])?, "not-in-libvirt")?;
        expect(&host.ferry_refusal(&["import", "libvirt:../web1"])?, "not-in-libvirt")?;
        fs::write(alive.join("web1.pid"), std::process::id().to_string())?;
        expect(&host.ferry_refusal(&["import", "libvirt:web1"])?, "libvirt-runs")?;
        expect(&host.ferry_refusal(&["import", text(&guest.xml)])?, "libvirt-runs")?;
        fs::remove_file(alive.join("web1.pid"))?;
        let holder = Holder::begin(&guest.disk)?;
        expect(&host.ferry_refusal(&["import", "libvirt:web1"])?, "image-failed")?;
        holder.end()?;
        let listed: Vec<Value> = host.ferry_json(&["list", "--all"])?;
        ensure!(listed.is_empty(), "what was refused is defined: {listed:?}");

        let imported: Value = host.ferry_json(&["import", "libvirt:web1"])?;
        ensure!(imported["in_libvirt"] == true && imported["libvirt_autostart"] == true, "{imported}");
        ensure!(imported["domain"]["disks"][0]["source"] == text(&guest.disk), "{imported}");
        host.ferry_output(["start", "web1"])?;
        guest.wait_until_serving(GUEST_BOOT)?;
        host.ferry_output(["destroy", "web1"])?;
        host.ferry_output(["undefine", "web1"])?;
        nothing_left(host)
    })
}

/// A CD that is booted by a BIOS (El Torito 1.0) and says so on the first serial port, for ever.
fn installer() -> Vec<u8> {
    const SECTOR: usize = 2048;
    let mut cd = vec![0; 21 * SECTOR];
    let mut put = |sector: usize, offset: usize, bytes: &[u8]| {
        let begin = sector * SECTOR + offset;
        cd[begin..begin + bytes.len()].copy_from_slice(bytes);
    };
    put(16, 0, b"\x01CD001\x01");
    put(17, 0, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17, 0x47, &[19]);
    put(18, 0, b"\xffCD001\x01");
    // The catalog: what it is, with a checksum, and that sector 20 is to be loaded and run.
    put(19, 0, &[1]);
    put(19, 0x1c, &[0xaa, 0x55, 0x55, 0xaa]);
    put(19, 0x20, &[0x88, 0, 0, 0, 0, 0, 4, 0, 20]);
    // mov dx, 0x3f8; for each letter: mov al, letter; out dx, al; and again.
    let mut code = vec![0xba, 0xf8, 0x03];
    b"CD\n".iter().for_each(|letter| code.extend([0xb0, *letter, 0xee]));
    code.extend([0xeb, 0xf5]);
    put(20, 0, &code);
    cd
}

#[test]
fn a_new_domain_boots_its_installer() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let (disk, cd) = (lab.shared.join("new.qcow2"), lab.shared.join("installer.iso"));
        fs::write(&cd, installer())?;
        let (sized, size) = (format!("{},size=64M", text(&disk)), "size=64M");
        let create = |disk| {
            let machine = ["create", "--name", "new", "--os", "linux", "--memory", "128M", "--vcpus", "1"];
            let devices =
                ["--disk", disk, "--cdrom", text(&cd), "--network", "bridge=br0", "--graphics", "none"];
            [&machine[..], &devices[..]].concat()
        };
        // Where images are made without a path is no directory of this lab.
        expect(&host.ferry_refusal(&create(size))?, "path-not-allowed")?;
        let made: Shown = host.ferry_json(&create(&sized))?;
        ensure!((made.state.as_str(), made.persistent) == ("running", true), "{made:?}");
        let mut console = host.ferry();
        console.args(["console", "new"]);
        Talk::begin(console)?.hear("CD", HAPPENS)?;

        let info: Value = host.ferry_json(&["info", "new"])?;
        let disks: Vec<_> = ["vda", "sda"]
            .map(|target| {
                info["statistics"]["disks"].as_array()?.iter().find(|disk| disk["target"] == target)
            })
            .into_iter()
            .flatten()
            .collect();
        ensure!(disks.len() == 2 && disks[1]["read_bytes"].as_u64() >= Some(2048), "{info}");
        ensure!(info["statistics"]["cpu_ms"].as_u64() > Some(0), "{info}");
        ensure!(info["statistics"]["interfaces"][0]["tap"] == info["interfaces"][0]["tap"], "{info}");
        ensure!(info["statistics"]["snapshots"] == 0, "{info}");
        expect(&host.ferry_refusal(&create(&sized))?, "name-taken")?;
        host.ferry_output(["destroy", "new"])?;
        host.ferry_output(["undefine", "new"])?;
        ensure!(disk.exists(), "the disk went with its definition");
        fs::remove_file(disk)?;
        nothing_left(host)
    })
}
