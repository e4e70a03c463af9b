//! Memory: `-m`, and where the definition says more, backends (`-object memory-backend-…`), `-numa`, `-overcommit`.
//!
//! QEMU names memory in the migration stream after its backend. Without one it is `pc.ram`, so a single backend is named
//! that: host-side settings may differ between two hosts, or change from one start to the next.

use std::ffi::OsString;

use domain::{Bytes, Domain, HostNodeMode, HostNodes, MemoryBacking, MemorySource, NumaCell};
use serde_json::{Map, Value, json};

use super::CommandLine;
use super::switch::{Plain, Properties, Switch};

/// The memory of a guest without NUMA nodes, as QEMU itself names it.
pub(super) const RAM: &str = "pc.ram";

/// Where the kernel keeps files in memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// `-m`.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// MiB.
    pub size_mib: u64,
}

impl Switch for Memory {
    fn name(&self) -> &'static str {
        "-m"
    }

    fn value(&self) -> Option<OsString> {
        Some(format!("size={}M", self.size_mib).into())
    }
}

/// Whether all memory has one backend, which `-machine` has to name.
pub(super) fn has_backend(domain: &Domain) -> bool {
    let MemoryBacking {
        source,
        hugepages,
        shared,
        discard,
        unmerged: _,
        locked: _,
        immediate,
        threads,
        host_nodes,
    } = &domain.memory_backing;
    let said = *source != MemorySource::Anonymous
        || hugepages.is_some()
        || shared.is_some()
        || *discard
        || *immediate
        || threads.is_some()
        || host_nodes.is_some();
    said && domain.numa_cells.is_empty()
}

/// Writes size, backends and nodes.
pub(super) fn push(line: &mut CommandLine, domain: &Domain) {
    let backing = &domain.memory_backing;
    line.push(&Memory { size_mib: domain.memory.mib() });
    if has_backend(domain) {
        line.push(&Backend { id: RAM.to_owned(), size: domain.memory, backing, cell: None });
    }
    if backing.locked {
        line.push(&Plain("-overcommit", "mem-lock=on"));
    }
    for cell in &domain.numa_cells {
        let id = format!("ram-node{}", cell.id);
        line.push(&Backend { id: id.clone(), size: cell.memory, backing, cell: Some(cell) });
        line.push(&NumaNode { cell, memory: &id });
    }
    for cell in &domain.numa_cells {
        for (other, distance) in &cell.distances {
            // QEMU's own words for from and to.
            let value =
                Properties::new("dist").with("src", cell.id).with("dst", *other).with("val", *distance);
            line.push(&Plain("-numa", &value.to_string()));
        }
    }
}

/// `-object memory-backend-ram`, `-memfd` or `-file`.
#[derive(Clone, Debug)]
pub struct Backend<'a> {
    /// Its name, also in the migration stream.
    pub id: String,
    /// How much.
    pub size: Bytes,
    /// What is said of all memory.
    pub backing: &'a MemoryBacking,
    /// What is said of one cell.
    pub cell: Option<&'a NumaCell>,
}

impl Backend<'_> {
    fn options(&self) -> Map<String, Value> {
        let backing = self.backing;
        let kind = match (backing.source, backing.hugepages) {
            (MemorySource::File, None) => "memory-backend-file",
            // Large pages are asked of the kernel without a mount point in between.
            (MemorySource::Memfd, _) | (_, Some(_)) => "memory-backend-memfd",
            (MemorySource::Anonymous, None) => "memory-backend-ram",
        };
        let shared = self.cell.and_then(|cell| cell.shared).or(backing.shared);
        let nodes = self.cell.and_then(|cell| cell.host_nodes.as_ref()).or(backing.host_nodes.as_ref());
        let mut options = Map::new();
        let mut add = |name: &str, value: Value| options.insert(name.to_owned(), value);
        add("qom-type", kind.into());
        add("id", self.id.as_str().into());
        add("size", self.size.0.into());
        // Its plain id in the migration stream, as QEMU does for the memory that it makes itself.
        add("x-use-canonical-path-for-ramblock-id", false.into());
        if kind == "memory-backend-file" {
            add("mem-path", SHARED_MEMORY.into());
            if backing.discard || self.cell.is_some_and(|cell| cell.discard) {
                add("discard-data", true.into());
            }
        }
        if let Some(hugepages) = backing.hugepages {
            add("hugetlb", true.into());
            if let Some(size) = hugepages.size {
                add("hugetlbsize", size.0.into());
            }
        }
        // A memfd is shared unless it is told otherwise.
        if shared.is_some() || kind == "memory-backend-memfd" {
            add("share", shared.unwrap_or(false).into());
        }
        // Large pages that run out later would kill the guest: all are taken at the start, as in libvirt.
        if backing.immediate || backing.hugepages.is_some() {
            add("prealloc", true.into());
            if let Some(threads) = backing.threads {
                add("prealloc-threads", threads.into());
            }
        }
        if let Some(HostNodes { mode, nodes }) = nodes {
            let policy = match mode {
                HostNodeMode::Strict => "bind",
                HostNodeMode::Preferred => "preferred",
                HostNodeMode::Interleave => "interleave",
            };
            add("host-nodes", json!(nodes));
            add("policy", policy.into());
        }
        options
    }
}

impl Switch for Backend<'_> {
    fn name(&self) -> &'static str {
        "-object"
    }

    fn value(&self) -> Option<OsString> {
        Some(Value::from(self.options()).to_string().into())
    }
}

/// `-numa node`.
#[derive(Clone, Copy, Debug)]
pub struct NumaNode<'a> {
    /// The guest's node.
    pub cell: &'a NumaCell,
    /// Its backend.
    pub memory: &'a str,
}

impl Switch for NumaNode<'_> {
    fn name(&self) -> &'static str {
        "-numa"
    }

    fn value(&self) -> Option<OsString> {
        let mut value = Properties::new("node").with("nodeid", self.cell.id);
        for cpu in &self.cell.cpus {
            value = value.with("cpus", *cpu);
        }
        Some(value.with("memdev", self.memory).into_os_string())
    }
}
