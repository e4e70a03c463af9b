//! Where the guest's memory comes from and how it is divided: `<memoryBacking>`, `<numatune>`, `<cpu><numa>`. Only the cells
//! are seen by the guest. It never knows what a host has; QEMU refuses what is not there.

use std::collections::BTreeSet;

use crate::domain::Bytes;
use crate::limits::{NUMA_CELLS_MAX, VCPUS_MAX};
use crate::reader::{Node, Reader, is, whole};
use crate::word::words;

/// `<memoryBacking>` and `<numatune>`, as far as they are about all memory of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryBacking {
    /// `<source type=…>`.
    pub source: MemorySource,
    /// `<hugepages>`.
    pub hugepages: Option<Hugepages>,
    /// `<access mode=…>`: whether other processes may see it; none leaves QEMU's default (no).
    pub shared: Option<bool>,
    /// `<discard/>`: what a guest that ended leaves is thrown away, not written back.
    pub discard: bool,
    /// `<nosharepages/>`: the host does not merge equal pages (QEMU's `mem-merge=off`).
    pub unmerged: bool,
    /// `<locked/>`: the host does not swap (QEMU's `-overcommit mem-lock=on`).
    pub locked: bool,
    /// `<allocation mode='immediate'/>`: all of it is taken at start (QEMU's `prealloc`).
    pub immediate: bool,
    /// `<allocation threads=…>`: how many threads take it.
    pub threads: Option<u32>,
    /// `<numatune><memory>`: nodes of the host.
    pub host_nodes: Option<HostNodes>,
}

/// What the host's pages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemorySource {
    /// `anonymous`, the default.
    #[default]
    Anonymous,
    /// `memfd`.
    Memfd,
    /// `file`: a file in the host's shared memory.
    File,
}

/// Large pages of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// `<page size=…>`; none is the host's default.
    pub size: Option<Bytes>,
}

/// Nodes of the host, and how memory is taken from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNodes {
    /// `mode`.
    pub mode: HostNodeMode,
    /// `nodeset`.
    pub nodes: BTreeSet<u32>,
}

words! {
    /// How memory is taken from nodes of the host.
    pub enum HostNodeMode {
        /// From these alone (QEMU's policy `bind`); the default.
        Strict = "strict",
        /// From these first.
        Preferred = "preferred",
        /// In turns.
        Interleave = "interleave",
    }
}

/// `<cpu><numa><cell>`: a NUMA node of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaCell {
    /// `id`: counts from 0 without gaps.
    pub id: u32,
    /// `cpus`: numbers of its vCPUs.
    pub cpus: BTreeSet<u32>,
    /// `memory`, whole MiB.
    pub memory: Bytes,
    /// `memAccess`: as [`MemoryBacking::shared`], for this cell.
    pub shared: Option<bool>,
    /// `discard`: as [`MemoryBacking::discard`], for this cell.
    pub discard: bool,
    /// `<distances><sibling id=… value=…>`: to which cell, how far (10 is near).
    pub distances: Vec<(u32, u8)>,
    /// `<numatune><memnode>`: nodes of the host for this cell.
    pub host_nodes: Option<HostNodes>,
}

impl MemoryBacking {
    /// Reads `<memoryBacking>`, and `<memory>` of `<numatune>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> MemoryBacking {
        let mut read = MemoryBacking { host_nodes: numatune(reader, root), ..MemoryBacking::default() };
        let Some(node) = reader.child(root, "memoryBacking") else { return read };
        const CHILDREN: &[&str] =
            &["hugepages", "nosharepages", "locked", "source", "access", "allocation", "discard"];
        reader.vocabulary(node, &[], CHILDREN);
        read.unmerged = reader.present(node, "nosharepages");
        read.locked = reader.present(node, "locked");
        read.discard = reader.present(node, "discard");
        read.hugepages = reader.child(node, "hugepages").map(|node| hugepages(reader, node));
        if let Some(source) = reader.child(node, "source") {
            reader.vocabulary(source, &["type"], &[]);
            reader.only(source, "type", &["anonymous", "memfd", "file"], "write type='memfd', or remove it");
            read.source = match source.attribute("type") {
                Some("memfd") => MemorySource::Memfd,
                Some("file") => MemorySource::File,
                _ => MemorySource::Anonymous,
            };
        }
        if let Some(access) = reader.child(node, "access") {
            reader.vocabulary(access, &["mode"], &[]);
            read.shared = reader.flag(access, "mode", "shared", "private");
        }
        if let Some(allocation) = reader.child(node, "allocation") {
            reader.vocabulary(allocation, &["mode", "threads"], &[]);
            read.immediate = reader.flag(allocation, "mode", "immediate", "ondemand").unwrap_or(false);
            read.threads = reader.number(allocation, "threads", 1..=VCPUS_MAX);
        }
        read
    }
}

fn hugepages<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Hugepages {
    reader.vocabulary(node, &[], &["page"]);
    let Some(page) = reader.child(node, "page") else { return Hugepages { size: None } };
    reader.vocabulary(page, &["size", "unit"], &[]);
    let size = reader.required(page, "size", "write `size`, in KiB where no `unit` is written");
    let bytes = size.and_then(|size| reader.amount_of(page, size));
    if bytes.is_some_and(|bytes| !bytes.is_power_of_two()) {
        reader.refuse_attribute(page, "size", "no page has this size", "write 2 and unit='MiB', for one");
    }
    Hugepages { size: bytes.map(Bytes) }
}

fn numatune<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Option<HostNodes> {
    let node = reader.child(root, "numatune")?;
    reader.vocabulary(node, &[], &["memory", "memnode"]);
    let memory = reader.child(node, "memory")?;
    reader.vocabulary(memory, &["mode", "nodeset", "placement"], &[]);
    host_nodes(reader, memory)
}

/// `mode` and `nodeset`; none where the host is left to choose.
fn host_nodes<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<HostNodes> {
    let left_to_the_host = "kept in the definition and not applied";
    if node.attribute("mode") == Some("restrictive") || node.attribute("placement") == Some("auto") {
        reader.note(node, left_to_the_host, "write mode='strict' and a `nodeset`, if it matters");
        return None;
    }
    let mode = if node.has_attribute("mode") { reader.word(node, "mode")? } else { HostNodeMode::Strict };
    let nodeset = reader.required(node, "nodeset", "write the nodes of the host as `nodeset`")?;
    let nodes = numbers(reader, node, "nodeset", nodeset, 1023)?;
    Some(HostNodes { mode, nodes })
}

/// Reads `<numa>` of `<cpu>`, and `<memnode>` of `<numatune>`.
pub(crate) fn cells<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Vec<NumaCell> {
    let mut cells: Vec<NumaCell> = Vec::new();
    let numa = reader.child(root, "cpu").and_then(|cpu| reader.child(cpu, "numa"));
    if let Some(numa) = numa {
        reader.vocabulary(numa, &[], &["cell"]);
    }
    for node in numa.into_iter().flat_map(|numa| numa.children()).filter(|child| is(*child, "cell")) {
        if let Some(cell) = cell(reader, node, cells.len()) {
            if let Some(cpu) = cells.iter().find_map(|other| other.cpus.intersection(&cell.cpus).next()) {
                let message = format!("vCPU {cpu} is in two cells");
                reader.refuse_attribute(node, "cpus", message, "put every vCPU into one cell");
            }
            cells.push(cell);
        }
    }
    memnodes(reader, root, &mut cells);
    cells
}

fn cell<'a>(reader: &mut Reader<'a>, node: Node<'a>, place: usize) -> Option<NumaCell> {
    reader.vocabulary(node, &["id", "cpus", "memory", "unit", "memAccess", "discard"], &["distances"]);
    let place = u32::try_from(place).ok().filter(|place| *place < NUMA_CELLS_MAX)?;
    let id = if node.has_attribute("id") { reader.number(node, "id", place..=place)? } else { place };
    let memory = reader.required(node, "memory", "write `memory`, in KiB where no `unit` is written")?;
    let memory = reader.amount_of(node, memory)?.next_multiple_of(1 << 20);
    let cpus = match node.attribute("cpus") {
        Some(cpus) => numbers(reader, node, "cpus", cpus, VCPUS_MAX - 1)?,
        None => BTreeSet::new(),
    };
    let mut distances = Vec::new();
    if let Some(list) = reader.child(node, "distances") {
        reader.vocabulary(list, &[], &["sibling"]);
        for sibling in list.children().filter(|child| is(*child, "sibling")) {
            reader.vocabulary(sibling, &["id", "value"], &[]);
            let other = reader.number(sibling, "id", 0..=NUMA_CELLS_MAX - 1)?;
            distances.push((other, reader.byte(sibling, "value", 10..=255)?));
        }
    }
    Some(NumaCell {
        id,
        cpus,
        memory: Bytes(memory),
        shared: reader.flag(node, "memAccess", "shared", "private"),
        discard: reader.flag(node, "discard", "yes", "no").unwrap_or(false),
        distances,
        host_nodes: None,
    })
}

fn memnodes<'a>(reader: &mut Reader<'a>, root: Node<'a>, cells: &mut [NumaCell]) {
    let Some(numatune) = reader.child(root, "numatune") else { return };
    for node in numatune.children().filter(|child| is(*child, "memnode")) {
        reader.vocabulary(node, &["cellid", "mode", "nodeset"], &[]);
        let id = reader.number(node, "cellid", 0..=NUMA_CELLS_MAX - 1);
        match cells.iter_mut().find(|cell| Some(cell.id) == id) {
            Some(cell) => cell.host_nodes = host_nodes(reader, node),
            None => reader.refuse(node, "<memnode> of a cell that is not there", "add the <cell> to <numa>"),
        }
    }
}

/// libvirt's sets of numbers: `0-3,8,^2`.
fn numbers<'a>(
    reader: &mut Reader<'a>,
    node: Node<'a>,
    name: &str,
    list: &str,
    max: u32,
) -> Option<BTreeSet<u32>> {
    let number = |text: &str| whole(text).and_then(|it| u32::try_from(it).ok()).filter(|it| *it <= max);
    let mut set = BTreeSet::new();
    for part in list.split(',') {
        let part = part.trim();
        let (without, part) = part.strip_prefix('^').map_or((false, part), |part| (true, part));
        let range = match part.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)),
            None => number(part).map(|it| (it, it)),
        };
        let Some((first, last)) = range.filter(|(first, last)| first <= last) else {
            let message = format!("`{list}` is not a set of numbers up to {max}");
            reader.refuse_attribute(node, name, message, "write it like 0-3,8");
            return None;
        };
        for number in first..=last {
            if without {
                set.remove(&number);
            } else {
                set.insert(number);
            }
        }
    }
    Some(set)
}

/// Whether the cells hold all of the guest, and no more.
pub(crate) fn check_cells<'a>(
    reader: &mut Reader<'a>,
    cpu: Node<'a>,
    cells: &[NumaCell],
    memory: Bytes,
    vcpus: u32,
) {
    let Some(node) = reader.child(cpu, "numa") else { return };
    let sum: u64 = cells.iter().map(|cell| cell.memory.0).sum();
    if sum != memory.0 {
        let message = format!("the cells have {} together, and <memory> is {memory}", Bytes(sum));
        reader.refuse(node, message, "make <memory> the sum of the cells");
    }
    let missing = (0..vcpus).find(|cpu| !cells.iter().any(|cell| cell.cpus.contains(cpu)));
    if let Some(cpu) = missing {
        reader.refuse(node, format!("vCPU {cpu} is in no cell"), "put every vCPU into a cell");
    }
    if let Some(cpu) = cells.iter().flat_map(|cell| &cell.cpus).find(|cpu| **cpu >= vcpus) {
        let message = format!("a cell has vCPU {cpu}, and <vcpu> is {vcpus}");
        reader.refuse(node, message, "name vCPUs from 0 on");
    }
    let far = |cell: &NumaCell| cell.distances.iter().any(|(other, _)| *other as usize >= cells.len());
    if cells.iter().any(far) {
        reader.refuse(node, "a distance to a cell that is not there", "remove the <sibling>");
    }
}
