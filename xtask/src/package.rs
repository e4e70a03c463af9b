//! `cargo xtask deb` makes the Debian package; `cargo xtask test --all` also tries it in a clean root of its own: install,
//! upgrade, removal and purge around a guest. Nothing of this machine but `target` is changed. Main functions: [`deb`],
//! [`try_out`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{apt, setup};

/// What happens inside the clean root.
const SCRIPT: &str = include_str!("package.sh");
/// What the clean root has beside a minimal Debian.
const WITHIN: &str = "systemd,qemu-system-x86,qemu-utils,seabios";

/// Makes `target/package/ferry.deb` and returns where it is.
///
/// # Errors
/// When the program does not build, or cargo-deb refuses.
pub(crate) fn deb(root: &Path, target: &Path) -> Result<PathBuf> {
    let release = ["build", "--quiet", "--release", "--package", "ferry"];
    run(Command::new("cargo").current_dir(root).args(release))?;
    let directory = root.join("target/package");
    fs::create_dir_all(&directory)?;
    run(Command::new(target.join("release/ferry")).arg("generate").arg("--out").arg(&directory))?;
    packed(root, &directory.join("ferry.deb"), "1")
}

fn packed(root: &Path, deb: &Path, revision: &str) -> Result<PathBuf> {
    let tools = root.join("target/tools");
    if setup::find("cargo-deb").is_none() && !tools.join("bin/cargo-deb").exists() {
        eprintln!("package: building cargo-deb from its source; this takes some minutes, once");
        run(Command::new("cargo").args(["install", "cargo-deb", "--locked", "--root"]).arg(&tools))?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).chain([tools.join("bin")]))?;
    let mut command = Command::new("cargo");
    command.current_dir(root).env("PATH", path);
    command.args(["deb", "--quiet", "--package", "ferry", "--no-build", "--deb-revision", revision]);
    run(command.arg("--output").arg(deb))?;
    eprintln!("package: {}", deb.display());
    Ok(deb.to_owned())
}

/// Makes the package and tries it.
///
/// # Errors
/// What is not as it should be; without root, or where no clean root can be made.
pub(crate) fn try_out(root: &Path, target: &Path) -> Result<()> {
    ensure!(setup::is_root(), "a clean root is made with mmdebstrap, and only root may mount");
    let deb = deb(root, target)?;
    let directory = root.join("target/package");
    let newer = packed(root, &directory.join("newer.deb"), "2")?;
    let clean = debian(&directory, WITHIN)?;
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| directory.join("try").join(name));
    if directory.join("try").exists() {
        fs::remove_dir_all(directory.join("try"))?;
    }
    for each in [&upper, &work, &merged] {
        fs::create_dir_all(each)?;
    }
    for (file, name) in [(&deb, "ferry.deb"), (&newer, "newer.deb")] {
        fs::create_dir_all(upper.join("tmp"))?;
        fs::copy(file, upper.join("tmp").join(name))?;
    }
    fs::write(upper.join("tmp/package.sh"), SCRIPT)?;
    // Namespaces of its own: mounts and whatever still runs go with the last process.
    let inside = "mount -t overlay overlay -o \"lowerdir=$1,upperdir=$2,workdir=$3\" \"$4\" && \
                  mount -t proc proc \"$4/proc\" && mount --rbind /dev \"$4/dev\" && \
                  exec chroot \"$4\" sh /tmp/package.sh";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", inside, "sh"]);
    run(command.args([&clean, &upper, &work, &merged]))
}

/// A minimal Debian with these packages, separated by commas, in `directory`; made once.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn debian(directory: &Path, packages: &str) -> Result<PathBuf> {
    let root = directory.join("root");
    let done = directory.join("root.done");
    if done.exists() {
        return Ok(root);
    }
    if setup::find("mmdebstrap").is_none() {
        apt::install(&["mmdebstrap"], None).or_else(|_| {
            apt::update()?;
            apt::install(&["mmdebstrap"], None)
        })?;
    }
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let release = apt::codename()?;
    let sources = directory.join("clean.sources");
    fs::write(&sources, apt::sources_of_release(&release)?)?;
    // A QEMU that is new enough may be in the release's backports suite only.
    let mut command = Command::new("mmdebstrap");
    command.arg("--variant=minbase").arg(format!("--include={packages}"));
    command.arg(format!("--aptopt=APT::Default-Release \"{release}-backports\""));
    run(command.arg(&release).arg(&root).arg(&sources))?;
    fs::write(done, "")?;
    Ok(root)
}

/// Runs a program that must succeed.
///
/// # Errors
/// When it does not.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
