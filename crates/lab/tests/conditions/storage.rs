//! Storage that both hosts see in different ways; pools and NFS servers that differ or are gone.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::guest::{Guest, create_disk};
use lab::host::{Host, Mount};
use lab::limits::LOOK;
use lab::nfs::{Export, SHARE};
use lab::preflight::{check, expect, in_order, real};
use rustix::fs::{FlockOperation, fcntl_lock};

/// Directories and disks that the target's agent sees otherwise.
pub(crate) fn mounts(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm2 = lab.kvm2();
    let above = lab.directory().join("above");
    let overlay = Mount::Overlay { at: lab.shared.clone(), above: above.clone() };
    let condition = "the target sees the directory through an overlay";
    kvm2.seeing(&overlay, || expect(lab, &["web1"], real("filesystem-differs", "warn", condition)))?;

    let larger = lab.directory().join("larger.qcow2");
    create_disk(&larger, guest.options.disk_mib * 2)?;
    let over = Mount::Bind { from: larger, at: guest.disk.clone() };
    let condition = "a larger disk lies over the disk on the target";
    kvm2.seeing(&over, || expect(lab, &["web1"], real("image-differs", "fail", condition)))
}

/// Somebody else holds the lock of every nonce before the target tries it.
pub(crate) fn locks(lab: &Lab) -> Result<()> {
    let (over, held) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut locked = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let entries = fs::read_dir(&lab.shared).into_iter().flatten().flatten();
                let nonces =
                    entries.filter(|it| it.file_name().to_string_lossy().starts_with(".ferry-check-"));
                for nonce in nonces.filter_map(|it| File::options().write(true).open(it.path()).ok()) {
                    if fcntl_lock(&nonce, FlockOperation::NonBlockingLockExclusive).is_ok() {
                        held.store(true, Ordering::Relaxed);
                        locked.push(nonce);
                    }
                }
                thread::sleep(LOOK / 10);
            }
        });
        let condition = "somebody else holds a lock on what is written beside the disk";
        let found = expect(lab, &["web1"], real("lock-unavailable", "warn", condition));
        over.store(true, Ordering::Relaxed);
        found
    })?;
    ensure!(held.load(Ordering::Relaxed), "no nonce was ever locked");
    Ok(())
}

fn fixed(lab: &Lab) -> Result<()> {
    let (report, exit) = check(lab.kvm1(), &["web1", "--to", "kvm2", "--fix", "--yes"])?;
    ensure!(report.wrong().is_empty() && exit == 0, "not mended: {:#?}", report.wrong());
    in_order(lab, "web1").map(drop)
}

fn pool(host: &Host, words: &str) -> Result<()> {
    host.ferry_output(["pool"].into_iter().chain(words.split(' '))).map(drop)
}

/// A pool of the disk's directory, and what `--fix` does about it.
pub(crate) fn pools(lab: &Lab) -> Result<()> {
    let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
    pool(kvm1, &format!("define --name disks --type dir --path {}", lab.shared.display()))?;
    pool(kvm1, "start disks")?;
    let condition = "the target does not have the disk's pool";
    expect(lab, &["web1"], real("pool-differs", "warn", condition))?;
    fixed(lab)?;
    pool(kvm2, "stop disks")?;
    let condition = "the disk's pool is not started on the target";
    expect(lab, &["web1"], real("pool-differs", "warn", condition))?;
    fixed(lab)?;
    for host in lab.hosts() {
        pool(host, "stop disks")?;
        pool(host, "undefine disks")?;
    }
    Ok(())
}

/// The disk's directory as the mount of an export, which it is not: what counts here is the server.
pub(crate) fn nfs(lab: &Lab) -> Result<()> {
    let server = lab.nfs()?;
    let define = |host: &Host, source: &str| {
        let path = lab.shared.display();
        pool(host, &format!("define --name nfs --type netfs --nfs-version 3 --path {path} --source {source}"))
    };
    let share = format!("{}:{SHARE}", server.address);
    lab.hosts().iter().try_for_each(|host| define(host, &share))?;
    in_order(lab, "web1")?;
    let table = "inet ferry_rpc";
    let nft = |line: &str| {
        let output = server.namespace.command("nft").arg(line).output()?;
        ensure!(output.status.success(), "nft {line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    nft(&format!(
        "add table {table}\nadd chain {table} input {{ type filter hook input priority 0; }}\n\
         add rule {table} input tcp dport 111 reject with tcp reset\n"
    ))?;
    let condition = "the NFS server's packet filter lets nobody ask rpcbind";
    expect(lab, &["web1"], real("nfs-unreachable", "fail", condition))?;
    nft(&format!("delete table {table}"))?;
    server.kill()?;
    let condition = "the NFS server is killed";
    expect(lab, &["web1"], real("nfs-unreachable", "fail", condition))?;
    let backup = Export { name: "/backup".into(), ..Export::share(&lab.shared) };
    server.start(&[backup])?;
    let condition = "the NFS server exports something else";
    expect(lab, &["web1"], real("export-missing", "fail", condition))?;
    server.kill()?;
    server.start(&[Export::share(&lab.shared)])?;
    define(lab.kvm2(), &format!("{}:/other", server.address))?;
    let condition = "the disk's pool is another export on the target";
    expect(lab, &["web1", "--skip", "export-missing"], real("pool-differs", "warn", condition))?;
    lab.hosts().iter().try_for_each(|host| pool(host, "undefine nfs"))
}
