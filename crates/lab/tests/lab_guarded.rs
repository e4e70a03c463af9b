//! Disks that cannot go along with a domain that is shut off, or must not: somebody else's image lies in the way, the target's
//! disk fills, the source's disk fails, somebody wants to write. The domain stays as it was, and so does what is not its own.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::apart::{Apart, qemu_img};
use lab::guest::GuestOptions;
use lab::host::{Host, Mount};
use lab::limits::HAPPENS;
use lab::migration::{Migration, Report};
use lab::trial::play;

const MIB: u64 = 1 << 20;

/// A file of noise, the same for the same seed (Marsaglia's xorshift64).
fn noise(path: &Path, bytes: u64, seed: u64) -> Result<()> {
    let mut state = seed | 1;
    let mut content = vec![0; usize::try_from(bytes)?];
    for word in content.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    Ok(fs::write(path, content)?)
}

/// The lab's guest with one more disk, whose image is at `path`; the file of its definition.
fn domain(lab: &Lab, name: &str, part: u8, path: &Path, format: &str) -> Result<PathBuf> {
    let more = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='{}'/>\
         <target dev='vdb' bus='virtio'/></disk>\n",
        path.display()
    );
    let options = GuestOptions { part, devices: more.leak(), ..GuestOptions::small(name) };
    Ok(lab.guest(options)?.xml)
}

fn define(host: &Host, xml: &Path) -> Result<()> {
    host.ferry_output(["define".as_ref(), xml.as_os_str()]).map(drop)
}

/// An image that stands on `base.raw` beside it.
fn overlay(path: &Path) -> Result<()> {
    qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw"], &[path]).map(drop)
}

/// Moves the domain with its disks, and gives the report of the source and how the command ended.
fn copy(source: &Host, name: &str, target: &Host, options: &[&str]) -> Result<(Report, i32)> {
    let words = [&["--offline", "--copy-storage"], options].concat();
    let mut migration = Migration::begin(source, name, target, &words)?;
    let end = migration.wait_for_end(HAPPENS)?;
    Ok((end, migration.exit(HAPPENS)?))
}

fn moved((end, exit): (Report, i32)) -> Result<Report> {
    ensure!(end.outcome.as_deref() == Some("moved") && exit == 0, "exit {exit}: {end:?}");
    Ok(end)
}

/// The domain stays, and the reason says all of this.
fn kept((end, exit): (Report, i32), says: &[&str]) -> Result<()> {
    ensure!(end.outcome.as_deref() == Some("kept") && exit == 5, "exit {exit}: {end:?}");
    let reason = end.reason.as_deref().unwrap_or_default();
    let unsaid: Vec<_> = says.iter().filter(|words| !reason.contains(**words)).collect();
    ensure!(unsaid.is_empty(), "{unsaid:?} is not said: {reason}");
    Ok(())
}

/// A domain that is shut off is refused, for what lies at one of its places.
fn is_taken(source: &Host, target: &Host, says: &[&str]) -> Result<()> {
    let refusal =
        source.ferry_refusal(&["migrate", "web1", "--to", target.name, "--offline", "--copy-storage"])?;
    let said = refusal.details.iter().find(|detail| detail.code == "copy-exists");
    let said = format!("{:?}", said.with_context(|| format!("{refusal:?}"))?);
    ensure!(says.iter().all(|words| said.contains(words)), "{says:?} is not said: {said}");
    Ok(())
}

/// What tells whether a file was written.
fn written(path: &Path) -> Result<(u64, i64, i64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

fn bytes_of(report: &Report, name: &str) -> Result<u64> {
    let files = &report.copied.as_ref().context("nothing was copied")?.files;
    let file = files.iter().find(|file| file.from.ends_with(name)).with_context(|| format!("no {name}"))?;
    Ok(file.content_bytes)
}

#[test]
fn an_image_that_another_domain_stands_on_is_shared_and_never_written() -> Result<()> {
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let at = |name: &str| lab.shared.join(name);
        noise(&at("base.raw"), 16 * MIB, 1)?;
        overlay(&at("one.qcow2"))?;
        define(kvm1, &domain(lab, "web1", 100, &at("one.qcow2"), "qcow2")?)?;
        let apart = Apart::begin(lab)?;
        // On the target, web2 stands on an image of the same name, and on the source web3 on a disk of web1's.
        let other = domain(lab, "web2", 101, &at("two.qcow2"), "qcow2")?;
        let base = apart.on(kvm2, &at("base.raw"))?;
        fs::copy(at("base.raw"), &base)?;
        overlay(&apart.on(kvm2, &at("two.qcow2"))?)?;
        fs::rename(at("web2.qcow2"), apart.on(kvm2, &at("web2.qcow2"))?)?;
        define(kvm2, &other)?;
        let third = domain(lab, "web3", 102, &at("three.qcow2"), "qcow2")?;
        qemu_img(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "one.qcow2"], &[&at("three.qcow2")])?;
        define(kvm1, &third)?;

        // One that is another is not written over, and nothing is left.
        let original = fs::read(&base)?;
        File::options().write(true).open(&base)?.write_all_at(&[0x5a; 512], 5 * MIB)?;
        let before = written(&base)?;
        kept(copy(kvm1, "web1", kvm2, &[])?, &["base.raw", "web2", "another image"])?;
        ensure!(written(&base)? == before, "it was written");
        ensure!(!apart.on(kvm2, &at("one.qcow2"))?.exists(), "a copy is left");
        // Where it can be seen without reading, it is refused at once.
        File::options().write(true).open(&base)?.set_len(17 * MIB)?;
        is_taken(kvm1, kvm2, &["base.raw", "web2", "--flatten"])?;

        // What is equal is used as it is.
        fs::write(&base, &original)?;
        let before = written(&base)?;
        let report = moved(copy(kvm1, "web1", kvm2, &["--source-disks", "delete"])?)?;
        ensure!(bytes_of(&report, "base.raw")? == 0 && written(&base)? == before, "{report:?}");
        kvm2.ferry_output(["start", "web1"])?;
        kvm2.ferry_output(["destroy", "web1"])?;
        // A disk that another domain stands on is not deleted, and is no older copy to write over.
        ensure!(!at("web1.qcow2").exists() && at("one.qcow2").exists(), "to be gone, and to be there");
        is_taken(kvm2, kvm1, &["one.qcow2", "web3"])?;
        let elsewhere = format!("vdb={}", at("new.qcow2").display());
        let (before, map) = (written(&at("one.qcow2"))?, ["--map-disk", &elsewhere]);
        let report = moved(copy(kvm2, "web1", kvm1, &map)?)?;
        ensure!(bytes_of(&report, "base.raw")? == 0, "{report:?}");
        ensure!(written(&at("one.qcow2"))? == before, "it was written");
        qemu_img(&["compare", "-f", "qcow2", "-F", "qcow2"], &[&at("one.qcow2"), &at("new.qcow2")])?;
        Ok(())
    })
}

/// Takes all the room there is.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let end = loop {
        if let Err(error) = file.write_all(&[0; 64 << 10]) {
            break error;
        }
    };
    ensure!(end.kind() == ErrorKind::StorageFull, "{end}");
    Ok(())
}

#[test]
fn a_target_that_runs_full_is_named_and_the_domain_stays() -> Result<()> {
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let small = lab.shared.join("small");
        fs::create_dir(&small)?;
        let large = small.join("large.raw");
        noise(&large, 64 * MIB, 2)?;
        define(kvm1, &domain(lab, "web1", 100, &large, "raw")?)?;
        let apart = Apart::begin(lab)?;
        kvm2.stop_agent()?;
        fs::create_dir(apart.on(kvm2, &small)?)?;
        kvm2.start_agent_seeing(&[Mount::Tmpfs { at: small.clone(), size_kib: 96 << 10 }])?;

        let words = ["--offline", "--copy-storage", "--bandwidth", "16MiB/s"];
        let mut migration = Migration::begin(kvm1, "web1", kvm2, &words)?;
        // Of the guest's own disk little is there to be sent.
        migration.wait_for_bytes(24 * MIB, HAPPENS)?;
        let room = kvm2.seen_by_agent(&small)?;
        fill(&room.join("filler"))?;
        let end = migration.wait_for_end(HAPPENS)?;
        kept((end, migration.exit(HAPPENS)?), &["large.raw", "no space is left", "MiB of it"])?;
        let names = |directory: &Path| -> Result<Vec<_>> {
            let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
            names.collect()
        };
        ensure!(names(&room)? == ["filler"], "{:?} is left of the copy", names(&room)?);
        ensure!(names(&apart.elsewhere)?.len() == 2, "{:?}", names(&apart.elsewhere)?);
        kvm1.ferry_output(["start", "web1"])?;
        kvm1.ferry_output(["destroy", "web1"])?;

        // Before it begins, that is seen by the check.
        let refusal =
            kvm1.ferry_refusal(&["migrate", "web1", "--to", kvm2.name, "--offline", "--copy-storage"])?;
        ensure!(refusal.details.iter().any(|detail| detail.code == "disk-space-short"), "{refusal:?}");
        fs::remove_file(room.join("filler"))?;
        moved(copy(kvm1, "web1", kvm2, &[])?).map(drop)
    })
}

/// A block device, of which the end cannot be read.
struct Failing(String);

impl Failing {
    fn begin(file: &Path, readable_bytes: u64) -> Result<Failing> {
        let made =
            Command::new("losetup").args(["--find", "--show"]).arg(file).output().context("losetup")?;
        ensure!(made.status.success(), "{made:?}");
        let failing = Failing(String::from_utf8(made.stdout)?.trim().to_owned());
        // What is missing below a loop device is an error of that device.
        File::options().write(true).open(file)?.set_len(readable_bytes)?;
        Ok(failing)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // Whatever the test found, its device is to go.
        _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn a_source_disk_that_fails_is_named_with_the_place_and_the_domain_stays() -> Result<()> {
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let file = lab.directory().join("failing.img");
        // Several streams read at once: what cannot be read is the last piece, and no other. It begins where a page of the
        // kernel's does, of which the largest has 2 MiB: one that reaches into it would take the piece before along.
        noise(&file, 31 * MIB, 3)?;
        let device = Failing::begin(&file, 30 * MIB)?;
        let node = lab.shared.join("failing");
        let made = Command::new("cp").args(["-a", &device.0]).arg(&node).status().context("cp")?;
        ensure!(made.success(), "cp: {made}");
        define(kvm1, &domain(lab, "web1", 100, &node, "raw")?)?;
        let apart = Apart::begin(lab)?;
        let place = format!("offset {}", 30 * MIB);
        kept(copy(kvm1, "web1", kvm2, &[])?, &["failing", &place])?;
        let left = fs::read_dir(&apart.elsewhere)?.count();
        ensure!(left == 1, "{left} files where there was one directory");
        kvm1.ferry_output(["undefine", "web1"])?;
        Ok(fs::remove_file(node)?)
    })
}

#[test]
fn nobody_writes_an_image_while_it_is_copied() -> Result<()> {
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let large = lab.shared.join("large.raw");
        noise(&large, 64 * MIB, 4)?;
        define(kvm1, &domain(lab, "web1", 100, &large, "raw")?)?;
        let _apart = Apart::begin(lab)?;
        let words = ["--offline", "--copy-storage", "--bandwidth", "16MiB/s"];
        let migration = Migration::begin(kvm1, "web1", kvm2, &words)?;
        migration.wait_for_bytes(8 * MIB, HAPPENS)?;
        let write =
            || Command::new("qemu-io").args(["-f", "raw", "-c", "write -P 7 0 4k"]).arg(&large).output();
        let refused = write().context("qemu-io")?;
        ensure!(!refused.status.success(), "it was written: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(said.contains("lock"), "{said}");
        kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("kept"), "{end:?}");
        // The domain's own QEMU is not in the way of what there was.
        kvm1.ferry_output(["start", "web1"])?;
        kvm1.ferry_output(["destroy", "web1"])?;
        let written = write().context("qemu-io")?;
        ensure!(written.status.success(), "{written:?}");
        Ok(())
    })
}
