//! What a KVM host that is a guest itself boots from: a kernel with an NFS client, and an initramfs with busybox, mount(8)
//! and its part for NFS, `ferry`, and the libraries of all of them. It runs what the lab gives it. Main function: [`run`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::kvm_host::HostImages;

use crate::cpio::Archive;
use crate::guest::{add_busybox, add_modules, copy_if_other};
use crate::{kernel, setup};

const INIT: &str = include_str!("kvm_host.sh");
const APPLETS: [&str; 17] = [
    "sh", "cat", "chmod", "chown", "echo", "grep", "insmod", "ip", "ls", "mkdir", "nc", "poweroff", "rm",
    "sleep", "stat", "touch", "timeout",
];
/// What is taken from this machine, with its libraries, and where it is put: mount(8) looks for its parts in /sbin.
const PROGRAMS: [(&str, &str); 3] =
    [("mount", "bin/mount"), ("umount", "bin/umount"), ("mount.nfs", "sbin/mount.nfs")];
/// Files of this machine that the C library and libtirpc read.
const FILES: [&str; 3] = ["/etc/netconfig", "/etc/protocols", "/etc/services"];

/// Builds all of it; `ferry` must be built.
pub(crate) fn run(target: &Path) -> Result<()> {
    if !kernel::HOST.is_there(target) {
        kernel::HOST.download(target).context("the hosts' kernel")?;
    }
    let images = HostImages::below(target);
    let vmlinuz = kernel::HOST.directory(target).join("vmlinuz");
    copy_if_other(&fs::read(vmlinuz).context("the hosts' kernel")?, &images.kernel)?;
    copy_if_other(&initramfs(target)?, &images.initramfs)?;
    let megabytes = fs::metadata(&images.initramfs)?.len() as f64 / 1e6;
    eprintln!("guest: a KVM host, initramfs of {megabytes:.1} MB in {}", images.initramfs.display());
    Ok(())
}

fn initramfs(target: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let ferry = stripped(target)?;
    let mut files = vec![(ferry.clone(), "bin/ferry".to_owned())];
    for (name, place) in PROGRAMS {
        let program = setup::find(name).with_context(|| format!("no {name}: run cargo xtask test --slow"))?;
        files.push((program, place.to_owned()));
    }
    let mut libraries = BTreeSet::new();
    for (program, _) in &files {
        libraries.extend(libraries_of(program)?);
    }
    let inside = |path: &Path| path.strip_prefix("/").unwrap_or(path).to_string_lossy().into_owned();
    files.extend(libraries.into_iter().map(|library| (library.clone(), inside(&library))));
    files.extend(
        FILES
            .map(PathBuf::from)
            .into_iter()
            .filter(|file| file.exists())
            .map(|file| (file.clone(), inside(&file))),
    );

    let mut directories: BTreeSet<PathBuf> =
        ["dev", "proc", "sys", "run", "srv", "tmp", "modules", "etc/ferry", "var/lib"]
            .map(PathBuf::from)
            .into();
    directories.extend(files.iter().filter_map(|(_, inside)| Path::new(inside).parent()).map(Path::to_owned));
    let all: BTreeSet<&Path> =
        directories.iter().flat_map(|path| path.ancestors()).filter(|path| *path != Path::new("")).collect();
    for directory in all {
        archive.directory(&directory.to_string_lossy());
    }
    archive.character_device("dev/console", 5, 1);
    archive.program("init", INIT.as_bytes());
    archive.program("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n");
    archive.link("etc/mtab", "/proc/mounts");
    for (file, inside) in files {
        archive.program(&inside, &fs::read(&file).with_context(|| file.display().to_string())?);
    }
    add_busybox(&mut archive, &APPLETS)?;
    add_modules(&mut archive, &kernel::HOST, target)?;
    Ok(archive.finish())
}

/// `ferry` without what only a debugger reads.
fn stripped(target: &Path) -> Result<PathBuf> {
    let (ferry, small) = (target.join("debug/ferry"), target.join("guest/ferry"));
    ensure!(ferry.exists(), "{} is not there: run cargo build -p ferry", ferry.display());
    let status = Command::new("strip").arg("-o").arg(&small).arg(&ferry).status().context("strip")?;
    ensure!(status.success(), "strip: {status}");
    Ok(small)
}

/// The shared libraries that a program needs, the loader among them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    ensure!(
        output.status.success(),
        "ldd {}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(paths_in(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths in what ldd prints.
fn paths_in(ldd: &str) -> Vec<PathBuf> {
    ldd.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let said = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths_in(said), expected);
    }
}
