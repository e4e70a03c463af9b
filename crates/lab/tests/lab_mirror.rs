//! Guests that work move between hosts that share no storage: their disks go over first, while they write to them. What fails
//! on the way costs them nothing and leaves nothing on the target.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::apart::{Apart, qemu_img};
use lab::guest::GuestOptions;
use lab::host::{Host, Mount};
use lab::limits::{HAPPENS, LOOK};
use lab::migration::{Migration, Report};
use lab::trial::{Trial, play};

/// A guest that works on `kvm1`, writes to its disk all the time, and has a second one with 48 MiB in it.
struct Scene<'a> {
    trial: Trial<'a>,
    apart: Apart<'a>,
    data: PathBuf,
}

/// What QEMU's own tool writes into an image.
fn write(image: &Path, format: &str, what: &str) -> Result<()> {
    let output = Command::new("qemu-io").args(["-f", format, "-c", what]).arg(image).output()?;
    ensure!(output.status.success(), "qemu-io {what}: {output:?}");
    Ok(())
}

fn disk(path: &Path, format: &str, target: &str) -> String {
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='{}'/>\
         <target dev='{target}' bus='virtio'/></disk>\n",
        path.display()
    )
}

impl<'a> Scene<'a> {
    fn begin(lab: &'a Lab) -> Result<Scene<'a>> {
        Scene::with(lab, "")
    }

    fn with(lab: &'a Lab, more: &str) -> Result<Scene<'a>> {
        let data = lab.shared.join("data.raw");
        File::create(&data)?.set_len(256 << 20)?;
        write(&data, "raw", "write -P 0x5a 100M 48M")?;
        let devices = disk(&data, "raw", "vdb") + more;
        let options = GuestOptions { devices: devices.leak(), ..GuestOptions::small("web1") };
        let trial = Trial::begin(lab, options)?;
        Ok(Scene { trial, apart: Apart::begin(lab)?, data })
    }

    fn move_slowly(&self, words: &[&str]) -> Result<Migration> {
        let (kvm1, kvm2) = (self.trial.lab.kvm1(), self.trial.lab.kvm2());
        let slowly = ["--copy-storage", "--bandwidth", "8MiB/s"];
        Migration::begin(kvm1, self.trial.name(), kvm2, &[&slowly, words].concat())
    }

    /// Begins to move it, so slowly that its disks are under way for some seconds.
    fn begin_to_move(&self) -> Result<Migration> {
        let migration = self.move_slowly(&[])?;
        migration.wait_for_bytes(8 << 20, HAPPENS)?;
        let there = self.apart.on(self.trial.lab.kvm2(), &self.data)?;
        ensure!(fs::exists(there)?, "nothing is made on the target");
        Ok(migration)
    }

    /// The same, until all disks are equal and memory is under way.
    fn begin_to_move_memory(&self) -> Result<Migration> {
        let migration = self.move_slowly(&[])?;
        migration.wait_for_note("equal on both hosts", HAPPENS)?;
        Ok(migration)
    }

    /// As when a host is switched off: of the guest it has nothing any more but what lies on its disk. Its taps go with QEMU.
    fn switch_off(&self, host: &Host) -> Result<()> {
        let uuid = &self.trial.guest.uuid;
        host.kill_agent()?;
        host.kill_qemu(uuid)?;
        Ok(fs::remove_dir_all(host.run().join(uuid))?)
    }

    /// The guest works on the source, and the target has nothing of it.
    fn is_kept(&self, end: &Report) -> Result<()> {
        ensure!(end.outcome.as_deref() == Some("kept"), "{end:?}");
        self.trial.unharmed_on(self.trial.lab.kvm1())?;
        let end = Instant::now() + HAPPENS;
        while let left = images(&self.apart.elsewhere)?
            && !left.is_empty()
        {
            ensure!(Instant::now() < end, "the target still has {left:?}");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The guest moves as if nothing had failed before, and no ping is lost but in its blackout.
    fn moves(&self) -> Result<()> {
        self.moves_from(self.trial.lab.kvm1())
    }

    fn moves_from(&self, source: &Host) -> Result<()> {
        let began = Instant::now();
        self.trial.moves(source, self.trial.lab.other(source), &["--copy-storage"])?;
        self.trial.lost_pings_in_one_gap(began)
    }
}

/// Everything in a directory but what every start of the guest makes there: its kernel, and the text of its console. And but
/// a directory of its own.
fn images(directory: &Path) -> Result<Vec<String>> {
    let mut names = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.retain(|name| name != "boot" && name != "small" && !name.ends_with(".console"));
    Ok(names)
}

#[test]
fn a_guest_takes_its_disks_along() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        scene.moves()?;
        let refused = kvm1.ferry_refusal(&["start", scene.trial.name()])?;
        ensure!(refused.code == "moved-away", "{refused:?}");
        kvm2.ferry_output(["destroy", scene.trial.name()])?;
        scene.apart.are_equal(&scene.data, "raw")?;
        let disk = scene.apart.on(kvm2, &scene.trial.guest.disk)?;
        qemu_img(&["check", "-q", "-f", "qcow2"], &[&disk])?;
        // Every record that the guest ever wrote is on the disk that went with it.
        scene.trial.starts_afresh_on(kvm2)?;
        kvm2.ferry_output(["destroy", scene.trial.name()])?;
        Ok(())
    })
}

/// A chain of images, of which the guest sees one disk of 64 MiB with 10 MiB in it.
fn chain(lab: &Lab) -> Result<PathBuf> {
    let [base, top] = ["base.raw", "top.qcow2"].map(|name| lab.shared.join(name));
    File::create(&base)?.set_len(64 << 20)?;
    write(&base, "raw", "write -P 0x11 4M 8M")?;
    qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw"], &[&top])?;
    write(&top, "qcow2", "write -P 0x22 10M 4M")?;
    Ok(top)
}

#[test]
fn a_suspended_guest_has_the_same_disks_on_both_hosts() -> Result<()> {
    play(|lab| {
        let top = chain(lab)?;
        let scene = Scene::with(lab, &disk(&top, "qcow2", "vdc"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let (name, guests) = (scene.trial.name(), &scene.trial.guest.disk);
        kvm1.ferry_output(["suspend", name])?;
        kvm1.ferry_output(["migrate", name, "--to", kvm2.name, "--copy-storage"])?;
        kvm2.ferry_output(["destroy", name])?;
        scene.apart.are_equal(guests, "qcow2")?;
        scene.apart.are_equal(&scene.data, "raw")?;
        // The chain is one image there.
        let there = scene.apart.on(kvm2, &top)?;
        qemu_img(&["compare", "-f", "qcow2", "-F", "qcow2"], &[&top, &there])?;
        ensure!(!qemu_img(&["info"], &[&there])?.contains("backing file"), "it stands on something");
        ensure!(!fs::exists(scene.apart.on(kvm2, &lab.shared.join("base.raw"))?)?, "the base came along");
        Ok(())
    })
}

#[test]
fn a_guest_that_comes_back_finds_its_older_disks_replaced() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        scene.moves()?;
        scene.moves_from(kvm2)?;
        kvm1.ferry_output(["destroy", scene.trial.name()])?;
        scene.apart.are_equal(&scene.data, "raw")?;
        scene.trial.starts_afresh_on(kvm1)?;
        // The disks that nobody needs any more go where that is asked for.
        let words =
            ["migrate", scene.trial.name(), "--to", kvm2.name, "--copy-storage", "--source-disks", "delete"];
        kvm1.ferry_output(words)?;
        for path in [&scene.data, &scene.trial.guest.disk] {
            ensure!(!fs::exists(path)?, "{} is still there", path.display());
        }
        kvm2.ferry_output(["destroy", scene.trial.name()])?;
        Ok(())
    })
}

#[test]
fn disks_lie_elsewhere_on_the_target_and_keep_their_bitmaps() -> Result<()> {
    play(|lab| {
        let marked = lab.shared.join("marked.qcow2");
        qemu_img(&["create", "-q", "-f", "qcow2"], &[&marked, Path::new("64M")])?;
        qemu_img(&["bitmap", "--add"], &[&marked, Path::new("backup0")])?;
        let medium = lab.shared.join("medium.iso");
        fs::write(&medium, vec![0x33; 1 << 20])?;
        let drive =
            disk(&medium, "raw", "sda").replace("device='disk'", "device='cdrom'").replace("virtio", "sata");
        let scene = Scene::with(lab, &(disk(&marked, "qcow2", "vdc") + &drive))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let name = scene.trial.name();
        let map = format!("vdb={}", lab.shared.join("elsewhere.raw").display());
        // What lies there is somebody's.
        let there = scene.apart.on(kvm2, &lab.shared.join("elsewhere.raw"))?;
        fs::write(&there, "somebody's")?;
        let words =
            ["migrate", name, "--to", kvm2.name, "--copy-storage", "--copy-media", "--map-disk", &map];
        let refused = kvm1.ferry_refusal(&words)?;
        ensure!(refused.details.iter().any(|detail| detail.code == "copy-exists"), "{refused:?}");
        ensure!(fs::read(&there)? == b"somebody's", "it was written over");
        fs::remove_file(&there)?;
        kvm1.ferry_output(words)?;
        scene.trial.unharmed_on(kvm2)?;
        ensure!(kvm2.ferry_output(["dumpxml", name])?.contains("elsewhere.raw"), "the old place is named");
        // QEMU writes bitmaps into an image when it closes it.
        scene.trial.guest.power_off()?;
        scene.trial.gave_back(kvm2)?;
        qemu_img(&["compare", "-f", "raw", "-F", "raw"], &[&scene.data, &there])?;
        ensure!(fs::read(scene.apart.on(kvm2, &medium)?)? == fs::read(&medium)?, "the medium is another one");
        let marked = scene.apart.on(kvm2, &marked)?;
        ensure!(qemu_img(&["info"], &[&marked])?.contains("backup0"), "the bitmap is gone");
        Ok(())
    })
}

#[test]
fn a_target_that_runs_out_of_room_costs_the_guest_nothing() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let small = lab.shared.join("small");
        fs::create_dir(scene.apart.on(kvm2, &small)?)?;
        kvm2.stop_agent()?;
        kvm2.start_agent_seeing(&[Mount::Tmpfs { at: small.clone(), size_kib: 24 << 10 }])?;
        let map = format!("vdb={}", small.join("data.raw").display());
        let words = ["migrate", scene.trial.name(), "--to", kvm2.name, "--copy-storage", "--map-disk", &map];
        let refused = kvm1.ferry_refusal(&words)?;
        ensure!(refused.details.iter().any(|detail| detail.code == "disk-space-short"), "{refused:?}");
        let migration = scene.move_slowly(&["--map-disk", &map, "--skip", "disk-space-short"])?;
        let end = migration.wait_for_end(HAPPENS)?;
        let reason = end.reason.as_deref().unwrap_or_default();
        ensure!(reason.contains("vdb") && reason.contains("No space left on device"), "{end:?}");
        scene.is_kept(&end)?;
        let left = images(&kvm2.seen_by_agent(&small)?)?;
        ensure!(left.is_empty(), "the target still has {left:?}");
        scene.moves()
    })
}

#[test]
fn what_fails_when_all_disks_are_equal_costs_the_guest_nothing() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let migration = scene.begin_to_move_memory()?;
        kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
        scene.is_kept(&migration.wait_for_end(HAPPENS)?)?;

        let migration = scene.begin_to_move_memory()?;
        kvm2.kill_qemu(&scene.trial.guest.uuid)?;
        scene.is_kept(&migration.wait_for_end(HAPPENS)?)?;

        let migration = scene.begin_to_move_memory()?;
        lab.cut(kvm2)?;
        let end = migration.wait_for_end(HAPPENS)?;
        lab.heal(kvm2)?;
        scene.is_kept(&end)?;

        let migration = scene.begin_to_move_memory()?;
        kvm1.kill_agent()?;
        kvm1.start_agent()?;
        scene.is_kept(&Migration::watch(kvm1, migration.id.clone())?.wait_for_end(HAPPENS)?)?;
        scene.moves()
    })
}

#[test]
fn a_move_that_is_cancelled_costs_the_guest_nothing() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let migration = scene.begin_to_move()?;
        lab.kvm1().ferry_output(["migrations", "cancel", &migration.id])?;
        scene.is_kept(&migration.wait_for_end(HAPPENS)?)?;
        scene.moves()
    })
}

#[test]
fn a_target_that_dies_costs_the_guest_nothing() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let kvm2 = lab.kvm2();
        let migration = scene.begin_to_move()?;
        kvm2.kill_qemu(&scene.trial.guest.uuid)?;
        scene.is_kept(&migration.wait_for_end(HAPPENS)?)?;

        let migration = scene.begin_to_move()?;
        kvm2.kill_agent()?;
        kvm2.start_agent()?;
        scene.is_kept(&migration.wait_for_end(HAPPENS)?)?;

        let migration = scene.begin_to_move()?;
        scene.switch_off(kvm2)?;
        kvm2.start_agent()?;
        scene.is_kept(&migration.wait_for_end(HAPPENS)?)?;
        scene.moves()
    })
}

#[test]
fn a_cut_link_costs_the_guest_nothing() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let migration = scene.begin_to_move()?;
        lab.cut(lab.kvm2())?;
        let end = migration.wait_for_end(HAPPENS)?;
        lab.heal(lab.kvm2())?;
        scene.is_kept(&end)?;
        scene.moves()
    })
}

#[test]
fn an_agent_that_is_killed_on_the_source_gives_the_guest_back() -> Result<()> {
    play(|lab| {
        let scene = Scene::begin(lab)?;
        let kvm1 = lab.kvm1();
        let migration = scene.begin_to_move()?;
        kvm1.kill_agent()?;
        kvm1.start_agent()?;
        let again = Migration::watch(kvm1, migration.id.clone())?;
        scene.is_kept(&again.wait_for_end(HAPPENS)?)?;
        scene.moves()
    })
}
