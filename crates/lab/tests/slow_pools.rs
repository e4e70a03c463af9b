//! The netfs pool with the kernel's NFS client: mounted, written to, read back, and refused with the reason. The hosts are
//! guests with kernels of their own; the server is the lab's, so what they do is seen at both ends.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::kvm_host::{Answer, KvmHost, in_one_line};
use lab::limits::{GUEST_BOOT, HOST_DONE};
use lab::nfs::{Export, NOBODY, NfsServer, SHARE};
use lab::{Lab, LabOptions};

/// A server without KVM hosts beside it; they boot in its namespace.
fn play(scene: impl FnOnce(&Lab, &NfsServer, &Path) -> Result<()>) -> Result<()> {
    let lab = Lab::without_agents(LabOptions { nfs: true, ..LabOptions::find()? })?;
    let directory = lab.directory().join("hosts");
    fs::create_dir_all(&directory)?;
    let played = scene(&lab, lab.nfs()?, &directory);
    if played.is_err() {
        lab.save_logs();
    }
    let left = lab.end();
    played?;
    ensure!(left.is_empty(), "left of the lab:\n{}", left.join("\n"));
    Ok(())
}

/// Boots a host that is given these commands.
fn boot(nfs: &NfsServer, directory: &Path, name: &str, commands: &[String]) -> Result<KvmHost> {
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    KvmHost::boot(&nfs.namespace, directory, name, &commands)
}

/// The answer to the command that begins with these words.
fn answer<'a>(answers: &'a [Answer], words: &str) -> Result<&'a Answer> {
    answers
        .iter()
        .find(|it| it.command.starts_with(words))
        .with_context(|| format!("no {words}: {answers:#?}"))
}

fn done(answers: &[Answer], words: &str) -> Result<String> {
    let answer = answer(answers, words)?;
    ensure!(answer.exit == 0, "{answer:#?}");
    Ok(answer.said.clone())
}

/// The command was refused, and these words are in what it said, wherever the lines are broken.
fn refused(answers: &[Answer], words: &str, says: &[&str]) -> Result<()> {
    let answer = answer(answers, words)?;
    let said = in_one_line(&answer.said);
    ensure!(answer.exit == 4 && says.iter().all(|says| said.contains(says)), "to say {says:?}: {answer:#?}");
    Ok(())
}

fn define(nfs: &NfsServer, name: &str, export: &str, more: &str) -> String {
    let source = format!("{}:{export}", nfs.address);
    format!("ferry pool define --name {name} --type netfs --path /srv/{name} --source {source} {more}")
}

#[test]
fn an_export_is_mounted_on_two_hosts_and_both_see_the_same() -> Result<()> {
    play(|lab, nfs, directory| {
        let start = |name: &str, other: &str| {
            let waits =
                format!("until [ -e /srv/shared/{other} ]; do sleep 0.2; ls /srv/shared > /dev/null; done");
            let commands = [
                define(nfs, "shared", SHARE, "--nfs-version 4.1 --options rsize=65536"),
                "ferry pool start shared".to_owned(),
                "ferry --json pool info shared".to_owned(),
                "grep /srv/shared /proc/mounts".to_owned(),
                format!("touch /srv/shared/{name}"),
                format!("timeout 200 sh -c '{waits}'"),
                "umount /srv/shared".to_owned(),
                "ferry vol list shared".to_owned(),
                "ferry pool stop shared".to_owned(),
                "ferry --json pool start shared".to_owned(),
                "ferry --json pool stop shared".to_owned(),
                "ls -A /srv/shared; grep /srv/shared /proc/mounts".to_owned(),
            ];
            boot(nfs, directory, name, &commands)
        };
        for host in [start("kvm1", "kvm2")?, start("kvm2", "kvm1")?] {
            let answers = host.answers(HOST_DONE)?;
            done(&answers, "ferry pool start")?;
            let info: serde_json::Value = serde_json::from_str(&done(&answers, "ferry --json pool info")?)?;
            let sound = info["active"] == true && info["mounted_version"] == "4.1" && info["fault"].is_null();
            ensure!(sound, "{info}");
            let mount = done(&answers, "grep /srv/shared")?;
            for option in ["nfs4", "nosuid", "nodev", "noexec", "rsize=65536", "vers=4.1"] {
                ensure!(mount.contains(option), "no {option}: {mount}");
            }
            done(&answers, "timeout").context("it does not see what the other host made")?;
            done(&answers, "umount")?;
            refused(&answers, "ferry vol list", &["is not mounted on"])?;
            done(&answers, "ferry pool stop")?;
            done(&answers, "ferry --json pool start")?;
            done(&answers, "ferry --json pool stop")?;
            let after = answer(&answers, "ls -A")?;
            ensure!(after.exit == 1 && after.said.is_empty(), "it is still mounted: {after:?}");
        }
        let entries = fs::read_dir(&lab.shared)?;
        let mut names: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        names.sort();
        let expected = ["kvm1", "kvm2"].map(|name| lab.shared.join(name));
        ensure!(names == expected, "on the server, nonces gone: {names:?}");
        Ok(())
    })
}

#[test]
fn what_stands_in_the_way_is_named() -> Result<()> {
    play(|lab, nfs, directory| {
        let squashed = directory.join("squashed");
        fs::create_dir(&squashed)?;
        // It is nobody's, so nobody may write there, and only whose a file becomes tells.
        std::os::unix::fs::chown(&squashed, Some(NOBODY), Some(NOBODY))?;
        nfs.kill()?;
        let export =
            Export { id: 2, directory: squashed.clone(), name: "/squashed".into(), no_root_squash: false };
        nfs.start(&[Export::share(&lab.shared), export])?;
        let mounted_before = format!("mount -t nfs -o vers=4.0 {}:{SHARE} /srv/version", nfs.address);
        let commands = [
            define(nfs, "squashed3", "/squashed", "--nfs-version 3 --options nolock"),
            "ferry pool start squashed3".to_owned(),
            define(nfs, "squashed4", "/squashed", "--nfs-version 4.1"),
            "ferry pool start squashed4".to_owned(),
            define(nfs, "nowhere", "/nowhere", "--nfs-version 4.1"),
            "ferry pool start nowhere".to_owned(),
            define(nfs, "other", SHARE, "--nfs-version 4.1"),
            "mkdir /srv/other; mount -t tmpfs tmpfs /srv/other".to_owned(),
            "ferry pool start other".to_owned(),
            define(nfs, "version", SHARE, "--nfs-version 4.1"),
            format!("mkdir /srv/version; {mounted_before}"),
            "ferry pool start version".to_owned(),
            // What is written comes back as zeros, and no error is told: this server's READ_PLUS, this kernel's reads.
            define(nfs, "zeros", SHARE, ""),
            "ferry pool start zeros".to_owned(),
            "grep /srv/ /proc/mounts".to_owned(),
        ];
        let answers = boot(nfs, directory, "kvm1", &commands)?.answers(HOST_DONE)?;
        refused(&answers, "ferry pool start squashed3", &["belongs to user 65534", "`no_root_squash`"])?;
        refused(&answers, "ferry pool start squashed4", &["`root_squash`", "`no_root_squash`"])?;
        refused(&answers, "ferry pool start nowhere", &["was not mounted on", "No such file or directory"])?;
        refused(&answers, "ferry pool start other", &["tmpfs (tmpfs) is mounted on \"/srv/other\""])?;
        refused(&answers, "ferry pool start version", &["NFS version 4.0, and the pool wants 4.1"])?;
        refused(&answers, "ferry pool start zeros", &["read back as zeros", "version 4.2", "version 4.1"])?;
        // What was mounted in vain is not left; what was there before is.
        let mounts = done(&answers, "grep /srv/")?;
        ensure!(mounts.lines().count() == 2, "{mounts}");
        for directory in [&lab.shared, &squashed] {
            let left = fs::read_dir(directory)?.next();
            ensure!(left.is_none(), "a nonce was left in {}", directory.display());
        }
        Ok(())
    })
}

#[test]
fn a_server_that_forgets_or_goes_away_hangs_nobody() -> Result<()> {
    play(|lab, nfs, directory| {
        let commands = [
            define(nfs, "shared", SHARE, "--nfs-version 3 --options nolock,soft,timeo=50,retrans=1"),
            define(nfs, "hard", SHARE, "--nfs-version 3 --options nolock,hard"),
            "ferry pool start shared".to_owned(),
            "ferry pool start hard".to_owned(),
            "echo ready-1".to_owned(),
            // Until the server has been made anew.
            "timeout 300 sh -c 'until ls /srv/shared 2>&1 | grep -q Stale; do sleep 0.5; done'".to_owned(),
            "ferry pool info shared".to_owned(),
            "echo ready-2".to_owned(),
            // Until the server is gone: then nothing connects.
            format!(
                "timeout 300 sh -c 'until timeout 2 nc {} 2049 < /dev/null; [ $? -eq 1 ]; do sleep 0.5; done'",
                nfs.address
            ),
            "ferry pool info hard".to_owned(),
            "ferry version".to_owned(),
        ];
        let mut host = boot(nfs, directory, "kvm1", &commands)?;
        host.hears("ready-1", GUEST_BOOT * 2)?;
        nfs.kill()?;
        // Every file handle is of an export that is not there any more.
        nfs.start(&[Export { id: 9, ..Export::share(&lab.shared) }])?;
        host.hears("ready-2", GUEST_BOOT * 2)?;
        nfs.kill()?;
        let answers = host.answers(HOST_DONE)?;
        done(&answers, "ferry pool start shared")?;
        done(&answers, "timeout 300 sh -c 'until").context("the handle never became stale")?;
        let stale = in_one_line(&done(&answers, "ferry pool info shared")?);
        ensure!(stale.contains("state broken") && stale.contains("stale file handle"), "{stale}");
        let gone = in_one_line(&done(&answers, "ferry pool info hard")?);
        ensure!(gone.contains("state broken") && gone.contains("did not answer within"), "{gone}");
        done(&answers, "ferry version").context("the agent hangs")?;
        Ok(())
    })
}
