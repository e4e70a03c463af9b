//! `cargo xtask guest`: builds the guest program, statically, and packs it with busybox and the kernel's modules
//! into an initramfs. Cargo decides what is rebuilt; the archive is written anew only when its bytes differ.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::guest::Images;

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::{kernel, setup};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const INIT: &str = include_str!("init.sh");
/// What of busybox goes under its own name into `/bin`; the rest is there as `busybox NAME`.
const APPLETS: [&str; 12] =
    ["sh", "mount", "umount", "insmod", "cat", "ip", "sleep", "sync", "poweroff", "echo", "ls", "ps"];

/// Builds all of it; the kernel must be there.
pub(crate) fn run(root: &Path, target: &Path) -> Result<Images> {
    let program = build(root, target)?;
    let images = Images::below(target);
    let kernel = kernel::GUEST.directory(target);
    copy_if_other(&fs::read(kernel.join("vmlinuz")).context("the guest's kernel")?, &images.kernel)?;
    copy_if_other(&initramfs(&program, target)?, &images.initramfs)?;
    let megabytes = fs::metadata(&images.initramfs)?.len() as f64 / 1e6;
    let version = fs::read_to_string(kernel.join("version"))?;
    eprintln!("guest: Linux {version}, initramfs of {megabytes:.1} MB in {}", images.initramfs.display());
    Ok(images)
}

/// The static guest program. Its flags must not touch the main build, so it has a target directory of its own.
fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    let own = target.join("guest-build");
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["build", "--quiet", "--package", "guest", "--bin", "guest", "--release", "--target", TRIPLE])
        .arg("--target-dir")
        .arg(&own)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("RUSTFLAGS")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .stdout(std::io::stderr())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "the guest program cannot be built");
    Ok(own.join(TRIPLE).join("release/guest"))
}

fn initramfs(program: &Path, target: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "data", "modules"] {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 5, 1);
    archive.program("init", INIT.as_bytes());
    archive.program("guest", &fs::read(program)?);
    add_busybox(&mut archive, &APPLETS)?;
    add_modules(&mut archive, &kernel::GUEST, target)?;
    Ok(archive.finish())
}

/// busybox, with these of its names, into `bin`.
pub(crate) fn add_busybox(archive: &mut Archive, applets: &[&str]) -> Result<()> {
    let busybox = setup::static_busybox().context("no static busybox: run cargo xtask setup")?;
    archive.program("bin/busybox", &fs::read(busybox)?);
    for applet in applets {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// A kernel's modules, and the order in which they load, into `modules`.
pub(crate) fn add_modules(archive: &mut Archive, kernel: &Kernel, target: &Path) -> Result<()> {
    for module in kernel.modules(target)? {
        let name = module.file_name().unwrap_or(OsStr::new("")).to_string_lossy();
        archive.program(&format!("modules/{name}"), &fs::read(&module)?);
    }
    Ok(())
}

/// Writes a file where it has other content.
pub(crate) fn copy_if_other(bytes: &[u8], to: &Path) -> Result<()> {
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    // A guest that boots from the old file right now keeps it.
    let new = to.with_extension("new");
    fs::write(&new, bytes).with_context(|| new.display().to_string())?;
    fs::rename(&new, to).with_context(|| to.display().to_string())
}
