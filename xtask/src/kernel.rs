//! The kernels of guests: the distribution's own kernel package for virtual machines, downloaded with apt and unpacked,
//! never installed. Of its modules only the needed ones are kept, unpacked, in the order in which they load. Main type:
//! [`Kernel`].
//!
//! ```text
//! target/guest/<directory>/vmlinuz, version, modules/order, modules/wanted, modules/<name>.ko
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt;

/// Packages whose only purpose is to depend on the newest small kernel: Debian's, then Ubuntu's.
const KERNEL_PACKAGES: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-virtual"];

/// A kernel, and what of it is kept.
pub(crate) struct Kernel {
    directory: &'static str,
    /// What its guests use; what these need in turn is read out of the modules themselves.
    modules: &'static [&'static str],
    /// Whether it is that of the release's backports suite.
    backports: bool,
}

/// The test guest's.
pub(crate) const GUEST: Kernel = Kernel {
    directory: "guest/kernel",
    modules: &[
        "virtio_pci",
        "virtio_blk",
        "virtio_net",
        "virtio_balloon",
        "virtio_rng",
        "virtio_console",
        "button",
        "evdev",
        "pvpanic_mmio",
    ],
    backports: false,
};

/// That of a KVM host that is a guest itself: it has an NFS client, and one that is new enough to read by READ_PLUS
/// (CONFIG_NFS_V4_2_READ_PLUS).
pub(crate) const HOST: Kernel = Kernel {
    directory: "guest/host-kernel",
    modules: &["virtio_pci", "virtio_blk", "virtio_net", "nfsv3", "nfsv4", "bridge", "8021q"],
    backports: true,
};

impl Kernel {
    /// Where the kernel lies once it is there.
    pub(crate) fn directory(&self, target: &Path) -> PathBuf {
        target.join(self.directory)
    }

    /// Whether there is nothing to do: a kernel is there, with the modules that are wanted now.
    pub(crate) fn is_there(&self, target: &Path) -> bool {
        fs::read_to_string(self.directory(target).join("modules/wanted"))
            .is_ok_and(|wanted| wanted == self.modules.join("\n"))
    }

    /// Its modules with their file names, in any order; `order` is among them.
    pub(crate) fn modules(&self, target: &Path) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.directory(target).join("modules"))?;
        let mut modules: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        modules.sort();
        Ok(modules)
    }

    /// Downloads and unpacks the kernel. Done or not done at all: the directory is renamed into place at the end.
    pub(crate) fn download(&self, target: &Path) -> Result<()> {
        download(self, target)
    }
}

fn download(wanted: &Kernel, target: &Path) -> Result<()> {
    let kernel = wanted.directory(target);
    let work = kernel.with_extension("new");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let suite = if wanted.backports { Some(apt::ensure_backports()?) } else { None };
    for package in packages(suite.as_deref())? {
        apt::download(&package, &work)?;
    }
    for file in files_below(&work)?.iter().filter(|file| file.extension().is_some_and(|end| end == "deb")) {
        let done = Command::new("dpkg").arg("-x").arg(file).arg(&unpacked).status().context("dpkg")?;
        ensure!(done.success(), "dpkg -x {} failed", file.display());
        fs::remove_file(file)?;
    }
    choose(&unpacked, &work, wanted.modules).context("the kernel package is not as expected")?;
    fs::remove_dir_all(&unpacked)?;
    if kernel.exists() {
        fs::remove_dir_all(&kernel)?;
    }
    fs::rename(&work, &kernel)?;
    Ok(())
}

/// The packages that hold the kernel and its modules.
fn packages(suite: Option<&str>) -> Result<Vec<String>> {
    for name in KERNEL_PACKAGES {
        let found: Vec<String> = apt::depends(name, suite)?
            .into_iter()
            .filter(|package| package.starts_with("linux-image-") || package.starts_with("linux-modules-"))
            .collect();
        if let Some(image) = found.iter().find(|package| package.starts_with("linux-image-")) {
            let mut all = vec![image.clone()];
            // Ubuntu ships the modules in a package of their own.
            all.extend(
                apt::depends(image, suite)?
                    .into_iter()
                    .filter(|package| package.starts_with("linux-modules-")),
            );
            return Ok(all);
        }
    }
    bail!(
        "apt knows none of {}: run apt-get update, or see the machine's apt sources",
        KERNEL_PACKAGES.join(", ")
    )
}

fn choose(unpacked: &Path, into: &Path, wanted: &[&str]) -> Result<()> {
    let files = files_below(unpacked)?;
    let vmlinuz = files
        .iter()
        .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .context("no vmlinuz in it")?;
    let version = vmlinuz.file_name().unwrap_or_default().to_string_lossy().replacen("vmlinuz-", "", 1);
    let builtin =
        files.iter().find(|file| file.ends_with("modules.builtin")).context("no modules.builtin in it")?;
    let builtin = fs::read_to_string(builtin)?;
    let modules: HashMap<String, &PathBuf> =
        files.iter().filter_map(|file| Some((module_name(&file.to_string_lossy())?, file))).collect();
    let builtin: Vec<String> = builtin.lines().filter_map(module_name).collect();

    fs::create_dir_all(into.join("modules"))?;
    let mut order = Vec::new();
    for name in wanted {
        place(name, &modules, &builtin, &into.join("modules"), &mut order)?;
    }
    let order: String = order.iter().map(|name| format!("{name}.ko\n")).collect();
    fs::write(into.join("modules/order"), order)?;
    fs::write(into.join("modules/wanted"), wanted.join("\n"))?;
    fs::write(into.join("version"), version)?;
    fs::copy(vmlinuz, into.join("vmlinuz"))?;
    Ok(())
}

/// Puts a module, after all that it needs, into the directory and the order.
fn place(
    name: &str,
    modules: &HashMap<String, &PathBuf>,
    builtin: &[String],
    into: &Path,
    order: &mut Vec<String>,
) -> Result<()> {
    if order.iter().any(|placed| placed == name) || builtin.iter().any(|built| built == name) {
        return Ok(());
    }
    let file = modules.get(name).with_context(|| format!("no module {name} in it"))?;
    let content = unpack(file)?;
    for needed in depends(&content) {
        place(&needed, modules, builtin, into, order)?;
    }
    fs::write(into.join(format!("{name}.ko")), content)?;
    order.push(name.to_owned());
    Ok(())
}

fn unpack(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(file).with_context(|| file.display().to_string()),
    };
    let output = Command::new(program).arg("-dc").arg(file).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} cannot unpack {}", file.display());
    Ok(output.stdout)
}

/// `kernel/drivers/char/hw_random/virtio-rng.ko.xz` is the module `virtio_rng`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, end) = file.split_once(".ko")?;
    ["", ".xz", ".zst", ".gz"].contains(&end).then(|| name.replace('-', "_"))
}

/// The modules that a module names in its `.modinfo` section: `depends=a,b` between NUL bytes.
fn depends(module: &[u8]) -> Vec<String> {
    const WORD: &[u8] = b"\0depends=";
    let Some(start) = module.windows(WORD.len()).position(|window| window == WORD) else { return Vec::new() };
    let list = module[start + WORD.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(list)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        // Links are not followed: packages hold "build" links that lead nowhere.
        if entry.file_type()?.is_dir() {
            found.extend(files_below(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: Option<&str>) {
        assert_eq!(module_name(path).as_deref(), expect, "{path}");
    }

    #[test]
    fn module_names() {
        check("/x/kernel/drivers/char/hw_random/virtio-rng.ko.xz", Some("virtio_rng"));
        check("kernel/fs/ext4/ext4.ko", Some("ext4"));
        check("kernel/net/failover.ko.zst", Some("failover"));
        check("lib/modules/modules.order", None);
        check("a.kobject", None);
    }

    #[test]
    fn needed_modules_are_read_from_modinfo() {
        assert_eq!(depends(b"ELF\0license=GPL\0depends=virtio,net-failover\0x"), ["virtio", "net_failover"]);
        assert!(depends(b"\0depends=\0").is_empty());
        assert!(depends(b"").is_empty());
    }
}
