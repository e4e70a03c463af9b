//! Gathers the facts from /proc, uname(2) and statvfs(3). The reading of their texts is in `cpuinfo` and
//! `meminfo`. The main type is [`Facts`].

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cpuinfo;
use crate::meminfo;

const CPUINFO: &str = "/proc/cpuinfo";
const MEMINFO: &str = "/proc/meminfo";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME: &str = "/proc/uptime";
const KVM: &str = "/dev/kvm";

/// What this host is, at the moment of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's name of the host (`nodename` of uname(2)). Not the name under which the operator
    /// configured it.
    pub hostname: String,
    /// The kernel's name of the architecture: "x86_64", or "i686" for a 32-bit kernel.
    pub machine_arch: String,
    /// The kernel's release: "6.12.95-amd64".
    pub kernel: String,
    /// "GenuineIntel", "AuthenticAMD" …
    pub cpu_vendor: String,
    /// The processor's name for people: "Intel(R) Xeon(R) Gold 6430".
    pub cpu_model: String,
    /// What *every* processor of the host can do, in the words of the kernel ("nx", "vmx"), which are not
    /// QEMU's in all cases.
    pub cpu_flags: BTreeSet<String>,
    /// Whether pages can be marked as not executable; off in some firmware set-ups, and a guest that uses
    /// it cannot go to a host without.
    pub nx: bool,
    /// Processors that are online, hyper-threads counted.
    pub cpus: u32,
    /// Bytes of memory that the kernel manages (`MemTotal` of proc_meminfo(5)).
    pub memory_total: u64,
    /// Bytes that could be used without swapping (`MemAvailable`).
    pub memory_available: u64,
    /// Whether /dev/kvm exists. It may still not work.
    pub kvm_device: bool,
}

/// Why a fact could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file cannot be read.
    #[error("cannot read {path:?}: is /proc mounted?")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file lacks a line, as on architectures that are not supported.
    #[error("{path:?} has no line {field:?}: hosts are x86-64 machines with Linux 3.14 or newer")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The line's name.
        field: &'static str,
    },
    /// The filesystem cannot be asked.
    #[error("cannot find the free space of {directory:?}")]
    FreeSpace {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Facts {
    /// Reads them all. Quick (a few small files that the kernel makes up), so it may be called on an
    /// asynchronous task.
    ///
    /// # Errors
    /// [`FactsError::Unreadable`], [`FactsError::Missing`].
    pub fn read() -> Result<Facts, FactsError> {
        let missing = |path: &str| {
            let path = path.into();
            move |field| FactsError::Missing { path, field }
        };
        let cpu = cpuinfo::parse(&text(CPUINFO)?).map_err(missing(CPUINFO))?;
        let memory = meminfo::parse(&text(MEMINFO)?).map_err(missing(MEMINFO))?;
        let uname = rustix::system::uname();
        Ok(Facts {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            machine_arch: uname.machine().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            cpu_vendor: cpu.vendor,
            cpu_model: cpu.model,
            nx: cpu.flags.contains("nx"),
            cpu_flags: cpu.flags,
            cpus: cpu.count,
            memory_total: memory.total,
            memory_available: memory.available,
            kvm_device: Path::new(KVM).exists(),
        })
    }
}

/// What is another one each time this host boots (`/proc/sys/kernel/random/boot_id` of random(4)).
///
/// # Errors
/// [`FactsError::Unreadable`].
pub fn boot_id() -> Result<String, FactsError> {
    let path = Path::new(BOOT_ID);
    let text = std::fs::read_to_string(path)
        .map_err(|source| FactsError::Unreadable { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

/// How long ago this host booted, the time counted in which it slept (`/proc/uptime` of proc(5)): a clock that nobody
/// sets.
///
/// # Errors
/// [`FactsError::Unreadable`].
pub fn uptime() -> Result<Duration, FactsError> {
    let path = Path::new(UPTIME);
    let unreadable = |source| FactsError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let seconds = text.split_ascii_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let uptime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    uptime.ok_or_else(|| {
        unreadable(std::io::Error::other(format!("{text:?} begins with no number of seconds")))
    })
}

/// Bytes that this process may still write to the filesystem that holds `directory` (`f_bavail`, statvfs(3)).
/// Blocks as long as the filesystem does: for ever on a dead NFS mount.
///
/// # Errors
/// [`FactsError::FreeSpace`].
pub fn free_space(directory: &Path) -> Result<u64, FactsError> {
    let stat = rustix::fs::statvfs(directory)
        .map_err(|errno| FactsError::FreeSpace { directory: directory.to_owned(), source: errno.into() })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn text(path: &str) -> Result<String, FactsError> {
    // Not necessarily UTF-8: a processor's name comes from its firmware.
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) => Err(FactsError::Unreadable { path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_facts() {
        let facts = Facts::read().unwrap();
        let threads = std::fs::read_dir("/sys/devices/system/cpu")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok()))
            .count();
        assert!(facts.cpus >= 1 && facts.cpus as usize <= threads, "{} of {threads}", facts.cpus);
        assert_eq!(facts.machine_arch, std::env::consts::ARCH);
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(facts.hostname, hostname.trim());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(facts.kernel, kernel.trim());
        assert!(facts.memory_available > 0 && facts.memory_available < facts.memory_total, "{facts:?}");
        assert_eq!(facts.nx, facts.cpu_flags.contains("nx"));
        assert!(facts.cpu_flags.contains("fpu"), "{facts:?}");
    }

    #[test]
    fn free_space_counts_bytes_and_needs_a_directory() {
        let free = free_space(Path::new("/proc/self")).unwrap();
        assert_eq!(free, 0, "procfs has no blocks");
        assert!(free_space(&std::env::temp_dir()).unwrap() > 1 << 20, "less than 1 MiB is free for tests");
        let error = free_space(Path::new("/no/such/directory")).unwrap_err();
        assert_eq!(error.to_string(), "cannot find the free space of \"/no/such/directory\"");
    }
}
