//! What a host has to give besides processors and memory: huge pages, file descriptors, and the clock that its kernel
//! counts time by. It changes none of them. Main type: [`Hugepages`].

use std::path::Path;

const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";
const UNPRIVILEGED_USERFAULTFD: &str = "/proc/sys/vm/unprivileged_userfaultfd";
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Huge pages of one size (Documentation/admin-guide/mm/hugetlbpage.rst of the kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hugepages {
    /// Bytes of one page.
    pub size_bytes: u64,
    /// Pages in the pool (`nr_hugepages`).
    pub total: u64,
    /// Those of them that nobody uses (`free_hugepages`).
    pub free: u64,
}

/// Huge pages of every size that this kernel knows, the smallest first; none where it knows none.
#[must_use]
pub fn hugepages() -> Vec<Hugepages> {
    hugepages_in(Path::new(HUGEPAGES))
}

fn hugepages_in(directory: &Path) -> Vec<Hugepages> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = |name| std::fs::read_to_string(entry.path().join(name)).ok()?.trim().parse().ok();
        Some(Hugepages {
            size_bytes: kib << 10,
            total: count("nr_hugepages")?,
            free: count("free_hugepages")?,
        })
    };
    let mut found: Vec<Hugepages> = entries.filter_map(|entry| read(entry.ok()?)).collect();
    found.sort_unstable();
    found
}

/// The size of a huge page where nobody names one, in bytes (`Hugepagesize` of proc_meminfo(5)).
#[must_use]
pub fn hugepage_default() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The kernel's clock source, as in `tsc`; none where it does not say.
#[must_use]
pub fn clock_source() -> Option<String> {
    std::fs::read_to_string(CLOCK_SOURCE).ok().map(|text| text.trim().to_owned())
}

/// Whether a program started by this one gets a userfaultfd that stops the kernel's own accesses too (userfaultfd(2)): the
/// kernel has it, and gives it to everybody or this is root. Where the kernel is older than the switch, 5.2, it is none.
#[must_use]
pub fn userfaultfd() -> bool {
    std::fs::read_to_string(UNPRIVILEGED_USERFAULTFD)
        .is_ok_and(|text| text.trim() == "1" || rustix::process::geteuid().is_root())
}

/// File descriptors that a program started by this one may have open (`RLIMIT_NOFILE` of getrlimit(2), the soft limit);
/// none where there is no limit.
#[must_use]
pub fn descriptors_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_of_every_size() {
        let directory = tempfile::tempdir().unwrap();
        for (name, free) in [("hugepages-1048576kB", "1\n"), ("hugepages-2048kB", "512\n"), ("other", "9\n")]
        {
            let size = directory.path().join(name);
            std::fs::create_dir(&size).unwrap();
            std::fs::write(size.join("nr_hugepages"), "600\n").unwrap();
            std::fs::write(size.join("free_hugepages"), free).unwrap();
        }
        let pages = |size_bytes, free| Hugepages { size_bytes, total: 600, free };
        assert_eq!(hugepages_in(directory.path()), [pages(2 << 20, 512), pages(1 << 30, 1)]);
        assert!(hugepages_in(&directory.path().join("none")).is_empty());
    }

    #[test]
    fn this_host_counts_time_and_descriptors() {
        assert!(clock_source().is_none_or(|source| !source.is_empty()));
        assert!(descriptors_max().is_none_or(|max| max > 64));
        assert!(hugepage_default().is_none_or(u64::is_power_of_two));
    }
}
