//! Facts about this host that decide whether a domain can run here: processor, memory, kernel, KVM's device
//! file, free space; and what a libvirt here has of a domain.
//!
//! It never changes anything, never starts a program, and never concludes (that KVM works is not known from
//! its device file; the qemu crate tries it). The main type is [`Facts`].

mod cpuinfo;
mod facts;
mod libvirt;
mod meminfo;
mod process;
mod processors;
mod resources;
mod tsc;

pub use facts::{Facts, FactsError, boot_id, free_space, uptime};
pub use libvirt::{Known, libvirt_domain};
pub use process::{process_time, thread_time};
pub use processors::ProcessorTime;
pub use resources::{Hugepages, clock_source, descriptors_max, hugepage_default, hugepages, userfaultfd};
pub use tsc::tsc_khz;
