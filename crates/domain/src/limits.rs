//! The crate's bounds on what it reads. It never holds a limit of another crate.

use std::ops::RangeInclusive;

/// Longest definition that is read, in bytes. libvirt's own are near 10 KiB; the room is for metadata.
pub const XML_BYTES_MAX: usize = 1 << 20;

/// Most XML nodes (elements, texts, comments) in a definition, given to the XML parser.
pub const XML_NODES_MAX: u32 = 20_000;

/// Most attributes in a definition, counted as `=` signs before it is parsed: the XML parser compares each attribute of
/// an element with all others. libvirt's own have some hundred.
pub const XML_ATTRIBUTES_MAX: usize = 4_000;

/// Most declarations of namespaces in a definition, counted before it is parsed: the XML parser compares those in force
/// with each other for every element that has one of its own. libvirt's own have a handful.
pub const XML_NAMESPACES_MAX: usize = 100;

/// Most problems that are reported for one definition; a last entry says when there were more.
pub const PROBLEMS_MAX: usize = 200;

/// Longest name of a domain, in bytes: it becomes a file name with an extension on both hosts.
pub const NAME_BYTES_MAX: usize = 200;

/// Most virtual CPUs, as many as QEMU's q35 machine takes.
pub const VCPUS_MAX: u32 = 4096;

/// Most memory, in bytes (64 TiB): keeps every later sum far from overflow.
pub const MEMORY_BYTES_MAX: u64 = 64 << 40;

/// How often a fresh MAC address is asked for before a freezer that repeats itself is refused.
pub const MAC_TRIES_MAX: usize = 16;

/// ISA serial ports that a PC has.
pub const SERIALS_MAX: u32 = 4;

/// ISA parallel ports that a PC has.
pub const PARALLELS_MAX: u32 = 3;

/// Highest index of a controller: a PCI bus number has eight bits.
pub const CONTROLLER_INDEX_MAX: u32 = 255;

/// Ports of a virtio-serial controller where the definition gives none (QEMU's `max_ports`).
pub const VIRTIO_SERIAL_PORTS: u32 = 31;

/// Ports of a `qemu-xhci` controller that freezing writes, as virt-install does.
pub const XHCI_PORTS: u32 = 15;

/// Fewest tries of `<spinlocks retries=…>` (libvirt's bound, 0xFFF).
pub const SPINLOCK_RETRIES_MIN: u32 = 4095;

/// Longest vendor that a hypervisor calls itself, in bytes: three CPUID registers.
pub const VENDOR_ID_BYTES_MAX: usize = 12;

/// Most entries of KVM's dirty ring for one vCPU (the kernel's KVM_DIRTY_RING_MAX_ENTRIES).
pub const DIRTY_RING_ENTRIES_MAX: u32 = 65_536;

/// How many bits a physical address of an x86 processor can have (QEMU's `phys-bits`).
pub const ADDRESS_BITS: RangeInclusive<u8> = 32..=52;

/// Most threads of a domain that serve disks.
pub const IOTHREADS_MAX: u32 = 1024;

/// Longest name of a disk, in bytes: QEMU's block nodes, whose names are at most 31 bytes long, are named after it.
pub const TARGET_BYTES_MAX: usize = 13;
/// Addresses that a guest can have on a vsock (vsock(7)): those below are the host's, the last means any.
pub const VSOCK_CID: RangeInclusive<u32> = 3..=u32::MAX - 1;

/// Most NUMA nodes of a guest (QEMU's `MAX_NODES`).
pub const NUMA_CELLS_MAX: u32 = 128;

/// Most message interrupts of a virtio-serial controller: a PCI function has no more (PCI 3.0, section 6.8.2).
pub const VIRTIO_SERIAL_VECTORS_MAX: u32 = 2048;

/// Ports of a USB hub (QEMU's `usb-hub`).
pub const USB_HUB_PORTS: u8 = 8;

/// Most pairs of queues of a virtio network card: a tap has no more queues (`MAX_TAP_QUEUES` of the kernel).
pub const INTERFACE_QUEUES_MAX: u32 = 256;

/// Root ports of a new q35 domain, as virt-install makes them: what its devices leave free is for those that come while it
/// runs.
pub const SPARE_ROOT_PORTS: usize = 14;

/// Most mount options of a pool; mount(2) takes a page of them.
pub const MOUNT_OPTIONS_MAX: usize = 64;
