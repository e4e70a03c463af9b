//! Domains that are shut off move between hosts that share no storage: with every kind of image, with what their firmware
//! and TPM keep, cut in the middle, as themselves and as copies.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::apart::{Apart, qemu_img};
use lab::device::Device;
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::limits::{HAPPENS, LOOK};
use lab::migration::{Migration, Report};
use lab::network::MANAGEMENT_LINK;
use lab::preflight::check;
use lab::trial::{Trial, play};
use serde_json::Value;

/// Moves the domain with its disks and gives the report of the source.
fn copy(source: &Host, name: &str, target: &Host, options: &[&str]) -> Result<Report> {
    let mut words = vec!["--offline", "--copy-storage"];
    words.extend(options);
    let mut migration = Migration::begin(source, name, target, &words)?;
    let end = migration.wait_for_end(HAPPENS)?;
    ensure!(migration.exit(HAPPENS)? == 0, "{end:?}");
    Ok(end)
}

/// An image with `mib` MiB of noise from a generator that gives the same noise to the same `seed`, in 1 MiB runs apart.
fn noise(path: &Path, format: &str, size_mib: u64, mib: u64, seed: u64) -> Result<()> {
    let raw = path.with_extension("noise");
    let file = File::create(&raw)?;
    file.set_len(size_mib << 20)?;
    let mut state = seed | 1;
    let mut block = vec![0_u8; 1 << 20];
    for run in 0..mib {
        for word in block.chunks_exact_mut(8) {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let at = (run * size_mib / mib) << 20;
        file.write_all_at(&block, at)?;
    }
    if format == "raw" {
        return Ok(fs::rename(&raw, path)?);
    }
    qemu_img(&["convert", "-f", "raw", "-O", format], &[&raw, path])?;
    Ok(fs::remove_file(&raw)?)
}

fn disk(path: &Path, format: &str, target: &str) -> String {
    let is_device = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
    let (kind, attribute) = if is_device { ("block", "dev") } else { ("file", "file") };
    format!(
        "<disk type='{kind}' device='disk'><driver name='qemu' type='{format}'/><source {attribute}='{}'/>\
         <target dev='{target}' bus='virtio'/></disk>\n",
        path.display()
    )
}

/// A domain of the lab's guest with more disks, defined on `kvm1` and not started.
struct Domain<'a> {
    apart: Apart<'a>,
    name: &'static str,
    disks: Vec<(PathBuf, &'static str)>,
}

impl<'a> Domain<'a> {
    /// `images` makes them in a directory and says in which formats.
    fn define(
        lab: &'a Lab,
        images: impl FnOnce(&Path) -> Result<Vec<(PathBuf, &'static str)>>,
    ) -> Result<Domain<'a>> {
        let disks = images(&lab.shared)?;
        let letters = "bcdefgh".chars();
        let devices: String = disks
            .iter()
            .zip(letters)
            .map(|((path, format), letter)| disk(path, format, &format!("vd{letter}")))
            .collect();
        let options = GuestOptions { devices: devices.leak(), ..GuestOptions::small("web1") };
        let guest = lab.guest(options)?;
        lab.kvm1().ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        let mut all = vec![(guest.disk.clone(), "qcow2")];
        all.extend(disks);
        Ok(Domain { apart: Apart::begin(lab)?, name: "web1", disks: all })
    }

    fn are_equal(&self) -> Result<()> {
        self.disks.iter().try_for_each(|(path, format)| self.apart.are_equal(path, format))
    }
}

/// `mib` of noise in the lowest image, and something in each of the others.
fn chain_of_three(shared: &Path, mib: u64) -> Result<PathBuf> {
    let [base, middle, top] = ["base.raw", "middle.qcow2", "top.qcow2"].map(|name| shared.join(name));
    noise(&base, "raw", 64, mib, 7)?;
    let below = |image: &Path| image.display().to_string();
    qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &below(&base)], &[&middle])?;
    let write = |image: &Path, what: &str| {
        let output =
            std::process::Command::new("qemu-io").args(["-f", "qcow2", "-c", what]).arg(image).output()?;
        ensure!(output.status.success(), "qemu-io: {output:?}");
        Ok(())
    };
    write(&middle, "write -P 0x5a 3M 1M")?;
    qemu_img(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "middle.qcow2"], &[&top])?;
    write(&top, "write -P 0xa5 9M 1M")?;
    Ok(top)
}

#[test]
fn images_of_every_kind_are_equal_on_the_target() -> Result<()> {
    play(|lab| {
        let domain = Domain::define(lab, |shared| {
            let [thin, sparse] = ["thin.qcow2", "sparse.raw"].map(|name| shared.join(name));
            noise(&thin, "qcow2", 1024, 16, 1)?;
            noise(&sparse, "raw", 2048, 16, 2)?;
            qemu_img(&["snapshot", "-c", "before"], &[&thin])?;
            Ok(vec![(thin, "qcow2"), (sparse, "raw"), (chain_of_three(shared, 4)?, "qcow2")])
        })?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let end = copy(kvm1, domain.name, kvm2, &[])?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        domain.are_equal()?;
        for below in ["base.raw", "middle.qcow2"] {
            let path = lab.shared.join(below);
            domain.apart.are_equal(&path, if below.ends_with("raw") { "raw" } else { "qcow2" })?;
        }
        let thin = domain.apart.on(kvm2, &lab.shared.join("thin.qcow2"))?;
        ensure!(qemu_img(&["snapshot", "-l"], &[&thin])?.contains("before"), "the snapshot inside is gone");
        // Neither can be started where it does not belong, and it can where it does.
        let refused = kvm1.ferry_refusal(&["start", domain.name])?;
        ensure!(refused.code == "moved-away", "{refused:?}");
        kvm2.ferry_output(["start", domain.name])?;
        kvm2.ferry_output(["destroy", domain.name])?;

        // The way back sends what differs alone.
        let state: Value = kvm2.ferry_json(&["info", domain.name])?;
        ensure!(state["state"] == "shut-off", "{state}");
        let thin_there = domain.apart.on(kvm2, &lab.shared.join("sparse.raw"))?;
        File::options().write(true).open(&thin_there)?.write_all(&[0x33; 64 << 10])?;
        let back = copy(kvm2, domain.name, kvm1, &[])?;
        domain.are_equal()?;
        let copied = back.copied.context("nothing was copied")?;
        let content: u64 = copied.files.iter().map(|file| file.content_bytes).sum();
        // A start writes into qcow2's header and into the first blocks of the guest's own disk.
        ensure!(content < 8 << 20, "{content} bytes went back for 64 KiB that differ: {copied:?}");
        Ok(())
    })
}

/// The words that make one image of a chain.
const FLATTEN: [&str; 3] = ["--offline", "--copy-storage", "--flatten"];

/// A domain whose second disk stands on two more images, which its definition names.
fn with_chain(lab: &Lab) -> Result<Domain<'_>> {
    let domain = Domain::define(lab, |shared| Ok(vec![(chain_of_three(shared, 32)?, "qcow2")]))?;
    let [base, middle] = ["base.raw", "middle.qcow2"].map(|name| lab.shared.join(name).display().to_string());
    let below = format!(
        "<backingStore type='file'><format type='qcow2'/><source file='{middle}'/><backingStore type='file'>\
         <format type='raw'/><source file='{base}'/><backingStore/></backingStore></backingStore>"
    );
    let written = lab.kvm1().ferry_output(["dumpxml", domain.name])?;
    let target = "<target dev='vdb'";
    ensure!(written.contains(target), "{written}");
    let xml = lab.directory().join("chain.xml");
    fs::write(&xml, written.replace(target, &format!("{below}{target}")))?;
    lab.kvm1().ferry_output(["define".as_ref(), xml.as_os_str()])?;
    Ok(domain)
}

/// Nothing of a copy that was under way is left on either host: no hidden file, nothing that shows a chain, no program.
fn is_tidied(domain: &Domain<'_>) -> Result<()> {
    let lab = domain.apart.lab;
    for directory in [domain.apart.elsewhere.clone(), lab.kvm1().run(), lab.kvm2().run()] {
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let left = name.contains(".ferry-") || name.ends_with(".image") || name.contains("base");
            ensure!(!left, "{name} is left in {}", directory.display());
        }
    }
    let ours = lab.directory().display().to_string();
    for process in fs::read_dir("/proc")? {
        let words = fs::read(process?.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        ensure!(!(words.contains("qemu-storage-daemon") && words.contains(&ours)), "{words} still runs");
    }
    Ok(())
}

#[test]
fn a_chain_becomes_one_image_whatever_is_cut() -> Result<()> {
    play(|lab| {
        let domain = with_chain(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let (report, exit) = check(kvm1, &[&["web1", "--to", "kvm2"], &FLATTEN[..]].concat())?;
        let tried = report.checked.iter().filter(|checked| checked.rule == "flatten-unsupported");
        ensure!((exit, tried.count()) == (0, 2), "{report:?}");
        let before = sent_bytes(kvm1)?;
        let words = [&FLATTEN[..], &["--bandwidth", "4MiB/s"]].concat();
        let migration = Migration::begin(kvm1, domain.name, kvm2, &words)?;
        for (host, at) in [(kvm1, 12 << 20), (kvm2, 24 << 20)] {
            let late = Instant::now() + HAPPENS;
            while sent_bytes(kvm1)? - before < at {
                ensure!(Instant::now() < late, "{at} bytes were never sent");
                thread::sleep(LOOK);
            }
            host.kill_agent()?;
            host.start_agent()?;
        }
        let watched = Migration::watch(kvm1, migration.id.clone())?;
        let end = watched.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        let sent = sent_bytes(kvm1)? - before;
        // The chain, the guest's own disk, and for each cut what was on its way.
        ensure!(sent < 46 << 20, "{sent} bytes were sent: it began again");
        is_tidied(&domain)?;

        let (top, _) = &domain.disks[1];
        let one = domain.apart.on(kvm2, top)?;
        qemu_img(&["compare", "-f", "qcow2", "-F", "qcow2"], &[top, &one])?;
        qemu_img(&["check", "-q", "-f", "qcow2"], &[&one])?;
        let info = qemu_img(&["info", "-f", "qcow2"], &[&one])?;
        ensure!(!info.contains("backing file"), "{info}");
        let taken = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.blocks() * 512);
        let chain =
            taken(top)? + taken(&lab.shared.join("middle.qcow2"))? + taken(&lab.shared.join("base.raw"))?;
        ensure!(taken(&one)? <= chain + chain / 20, "{} bytes are taken, of the chain {chain}", taken(&one)?);
        let there = kvm2.ferry_output(["dumpxml", domain.name])?;
        ensure!(!there.contains("backingStore"), "{there}");
        kvm2.ferry_output(["start", domain.name])?;
        kvm2.ferry_output(["destroy", domain.name])?;
        Ok(())
    })
}

#[test]
fn a_chain_with_snapshots_is_flattened_by_word_alone_and_given_up_without_a_trace() -> Result<()> {
    play(|lab| {
        let domain = with_chain(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let (top, _) = &domain.disks[1];
        qemu_img(&["snapshot", "-c", "before-upgrade"], &[top])?;
        let refused =
            kvm1.ferry_refusal(&[&["migrate", domain.name, "--to", kvm2.name], &FLATTEN[..]].concat())?;
        let lost = refused.details.iter().find(|detail| detail.code == "snapshots-lost");
        ensure!(lost.is_some_and(|lost| lost.message.contains("before-upgrade")), "{refused:?}");

        let words = [&FLATTEN[..], &["--skip", "snapshots-lost", "--bandwidth", "4MiB/s"]].concat();
        let mut migration = Migration::begin(kvm1, domain.name, kvm2, &words)?;
        migration.wait_for_bytes(8 << 20, HAPPENS)?;
        ensure!(is_tidied(&domain).is_err(), "no image is under way");
        kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("kept") && migration.exit(HAPPENS)? == 5, "{end:?}");
        is_tidied(&domain)?;
        ensure!(!domain.apart.on(kvm2, top)?.exists(), "a part of the image has its name");
        kvm1.ferry_output(["start", domain.name])?;
        kvm1.ferry_output(["destroy", domain.name])?;
        Ok(())
    })
}

#[test]
fn a_disk_on_a_block_device_goes_there_and_back() -> Result<()> {
    play(|lab| {
        let file = |name: &str| lab.directory().join(name);
        noise(&file("here.img"), "raw", 64, 8, 11)?;
        // What lies there is to be gone, also where the disk holds nothing.
        noise(&file("there.img"), "raw", 64, 16, 13)?;
        let here = Device::begin(&file("here.img"), &lab.shared.join("disk"))?;
        let domain = Domain::define(lab, |_| Ok(vec![(here.node().to_owned(), "raw")]))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let there = Device::begin(&file("there.img"), &domain.apart.elsewhere.join("disk"))?;
        let words = ["--offline", "--copy-storage"];
        let refused =
            kvm1.ferry_refusal(&[&["migrate", domain.name, "--to", kvm2.name], &words[..]].concat())?;
        ensure!(refused.details.iter().any(|detail| detail.code == "copy-exists"), "{refused:?}");

        let map = format!("vdb={}", here.node().display());
        copy(kvm1, domain.name, kvm2, &["--map-disk", &map])?;
        qemu_img(&["compare", "-f", "raw", "-F", "raw"], &[here.node(), there.node()])?;
        ensure!(
            kvm2.ferry_output(["dumpxml", domain.name])?.contains("type='block'"),
            "it is no device there"
        );
        kvm2.ferry_output(["start", domain.name])?;
        kvm2.ferry_output(["destroy", domain.name])?;

        File::options().write(true).open(there.node())?.write_all_at(&[0x33; 64 << 10], 5 << 20)?;
        // The way back needs no word: what lies there is an older copy.
        let back = copy(kvm2, domain.name, kvm1, &[])?;
        qemu_img(&["compare", "-f", "raw", "-F", "raw"], &[here.node(), there.node()])?;
        let copied = back.copied.context("nothing was copied")?;
        let disk = copied.files.iter().find(|file| file.from == here.node().display().to_string());
        let content = disk.context("the device was not copied")?.content_bytes;
        ensure!((64 << 10..1 << 20).contains(&content), "{content} bytes went back for 64 KiB that differ");
        kvm1.ferry_output(["start", domain.name])?;
        kvm1.ferry_output(["destroy", domain.name])?;
        Ok(())
    })
}

#[test]
fn firmware_tpm_and_records_go_too() -> Result<()> {
    play(|lab| {
        let options = GuestOptions { uefi: true, ..GuestOptions::small("web1") };
        let mut trial = Trial::begin(lab, options)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let before = trial.guest.check()?;
        kvm1.ferry_output(["shutdown", trial.name()])?;
        let apart = Apart::begin(lab)?;
        let variables = trial.guest.disk.with_file_name("web1_VARS.fd");
        let permanent =
            |host: &Host| host.state().join("tpm").join(&trial.guest.uuid).join("tpm2-00.permall");
        let (kept_variables, kept_tpm) = (fs::read(&variables)?, fs::read(permanent(kvm1))?);

        copy(kvm1, trial.name(), kvm2, &["--source-disks", "delete"])?;
        ensure!(fs::read(apart.on(kvm2, &variables)?)? == kept_variables, "other variables came");
        ensure!(fs::read(permanent(kvm2))? == kept_tpm, "another TPM came");
        ensure!(!permanent(kvm1).exists(), "the TPM's state is still here");
        for gone in [&trial.guest.disk, &variables, &trial.guest.disk.with_file_name("web1.qcow2.ferry")] {
            ensure!(!gone.exists(), "{} was to be deleted", gone.display());
        }
        kvm2.ferry_output(["start", trial.name()])?;
        trial.begin_again()?;
        let after = trial.guest.check()?;
        ensure!(after.uefi && (after.memory_errors, after.records_lost) == (0, 0), "{after:?}");
        ensure!(after.record_last >= before.record_last, "records are gone: {before:?} {after:?}");
        ensure!(after.boot_id != before.boot_id, "it was not booted");
        kvm2.ferry_output(["destroy", trial.name()])?;
        Ok(())
    })
}

/// Bytes that a host has sent.
fn sent_bytes(host: &Host) -> Result<u64> {
    let links = host.namespace.enter(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let of = |line: &str| line.trim().strip_prefix(MANAGEMENT_LINK)?.strip_prefix(':').map(str::to_owned);
    let counters = links.lines().find_map(of).context("no such link")?;
    // proc(5): eight figures of what came in, then the bytes that went out.
    Ok(counters.split_ascii_whitespace().nth(8).context("no such figure")?.parse()?)
}

#[test]
fn a_copy_that_is_cut_goes_on_where_it_was() -> Result<()> {
    play(|lab| {
        const MIB: u64 = 192;
        let domain = Domain::define(lab, |shared| {
            let large = shared.join("large.raw");
            noise(&large, "raw", 1024, MIB, 3)?;
            Ok(vec![(large, "raw")])
        })?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        lab.shape_both(20_000_000)?;
        let before = sent_bytes(kvm1)?;
        let words = ["--offline", "--copy-storage"];
        let migration = Migration::begin(kvm1, domain.name, kvm2, &words)?;
        let mut watched = Migration::watch(kvm1, migration.id.clone())?;
        // The points are spread over the copy, and not where anything begins or ends.
        for cut in 0..10_u64 {
            let at = (cut * MIB / 11 + 5) << 20;
            let late = Instant::now() + HAPPENS;
            while sent_bytes(kvm1)? - before < at {
                ensure!(Instant::now() < late, "{at} bytes were never sent");
                thread::sleep(LOOK);
            }
            match cut % 3 {
                0 => {
                    lab.cut(kvm2)?;
                    watched.wait_for_note("the copy was cut", HAPPENS)?;
                    lab.heal(kvm2)?;
                }
                1 => {
                    kvm1.kill_agent()?;
                    kvm1.start_agent()?;
                }
                _ => {
                    kvm2.kill_agent()?;
                    kvm2.start_agent()?;
                }
            }
            watched = Migration::watch(kvm1, migration.id.clone())?;
        }
        let end = watched.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        domain.are_equal()?;
        let sent = sent_bytes(kvm1)? - before;
        let content = (MIB + 1) << 20;
        // In flight at a cut: what both hosts' sockets and the queue of the link hold, and what was not yet on disk.
        let allowed = content + content / 20 + 10 * (4 << 20);
        ensure!(sent <= allowed, "{sent} bytes were sent for {content}");
        Ok(())
    })
}

#[test]
fn a_copy_has_an_identity_of_its_own() -> Result<()> {
    play(|lab| {
        let domain = Domain::define(lab, |_| Ok(Vec::new()))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let end = copy(kvm1, domain.name, kvm2, &["--keep-source", "--rename", "web2"])?;
        ensure!(end.outcome.as_deref() == Some("copied"), "{end:?}");
        domain.are_equal()?;
        let here: Value = kvm1.ferry_json(&["info", "web1"])?;
        let there: Value = kvm2.ferry_json(&["info", "web2"])?;
        ensure!(here["uuid"] != there["uuid"], "one UUID for both");
        ensure!(here["interfaces"][0]["mac"] != there["interfaces"][0]["mac"], "one MAC address for both");
        for (host, name) in [(kvm1, "web1"), (kvm2, "web2")] {
            host.ferry_output(["start", name])?;
            host.ferry_output(["destroy", name])?;
        }
        Ok(())
    })
}

#[test]
fn what_cannot_be_copied_is_refused_and_nothing_changes() -> Result<()> {
    play(|lab| {
        let domain = Domain::define(lab, |_| Ok(Vec::new()))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let words = ["migrate", domain.name, "--to", kvm2.name, "--offline"];
        let with = |more: &[&str]| {
            let mut all = words.to_vec();
            all.extend(more);
            kvm1.ferry_refusal(&all)
        };
        let found = |refusal: &lab::host::Refusal, code: &str| {
            ensure!(refusal.details.iter().any(|detail| detail.code == code), "to be {code}: {refusal:?}");
            Ok(())
        };
        found(&with(&[])?, "disk-missing")?;
        // Something lies where the copy would go.
        let taken = domain.apart.on(kvm2, &domain.disks[0].0)?;
        fs::write(&taken, "somebody's")?;
        found(&with(&["--copy-storage"])?, "copy-exists")?;
        ensure!(fs::read(&taken)? == b"somebody's", "it was written over");
        let elsewhere = format!("vda={}", lab.shared.join("other.qcow2").display());
        let end = copy(kvm1, domain.name, kvm2, &["--map-disk", &elsewhere])?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        ensure!(
            kvm2.ferry_output(["dumpxml", domain.name])?.contains("other.qcow2"),
            "the definition names the old place"
        );
        let there = domain.apart.elsewhere.join("other.qcow2");
        qemu_img(&["compare", "-f", "qcow2", "-F", "qcow2"], &[&domain.disks[0].0, &there])?;

        // One that runs is not moved shut off.
        kvm2.ferry_output(["start", domain.name])?;
        let runs =
            kvm2.ferry_refusal(&["migrate", domain.name, "--to", kvm1.name, "--offline", "--copy-storage"])?;
        ensure!((runs.code.as_str(), runs.exit) == ("wrong-state", 4), "{runs:?}");
        kvm2.ferry_output(["destroy", domain.name])?;
        Ok(())
    })
}

#[test]
fn a_copy_that_is_cancelled_or_finds_no_room_leaves_nothing() -> Result<()> {
    play(|lab| {
        let domain = Domain::define(lab, |shared| {
            let large = shared.join("large.raw");
            noise(&large, "raw", 256, 64, 5)?;
            Ok(vec![(large, "raw")])
        })?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let nothing_there = || {
            let left: Vec<_> = fs::read_dir(&domain.apart.elsewhere)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<Result<_>>()?;
            ensure!(left == ["boot"], "{left:?} is left of the copy");
            Ok(())
        };
        let words = ["--offline", "--copy-storage", "--bandwidth", "8MiB/s"];
        let mut migration = Migration::begin(kvm1, domain.name, kvm2, &words)?;
        migration.wait_for_bytes(4 << 20, HAPPENS)?;
        kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("kept") && migration.exit(HAPPENS)? == 5, "{end:?}");
        nothing_there()?;
        // Room is lost while it goes over.
        let migration = Migration::begin(kvm1, domain.name, kvm2, &words)?;
        migration.wait_for_bytes(4 << 20, HAPPENS)?;
        kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
        migration.wait_for_end(HAPPENS)?;
        nothing_there()?;
        kvm1.ferry_output(["start", domain.name])?;
        kvm1.ferry_output(["destroy", domain.name])?;
        Ok(())
    })
}
