//! What a domain's QEMU counts, for the page of metrics and for people. It changes nothing.

use domain::Domain;
use qemu::command::{BlockStats, QueryBalloon, QueryBlockstats, QueryCpusFast};
use qemu::command_line::plug;

use super::{Keeper, State};
use crate::limits::SHOW_TIMEOUT;
use crate::metrics::{DiskFigures, Figures};

impl Keeper {
    /// Empty where there is no QEMU, or where a migration has it; a question that fails leaves its part out.
    pub(super) async fn figures(&self) -> Figures {
        let State::Active { guest, .. } = &self.state else { return Figures::default() };
        let (qmp, domain) = (&guest.process.qmp, guest.definition.domain());
        let (cpus, balloon, blocks) = tokio::join!(
            qmp.execute_within(QueryCpusFast, SHOW_TIMEOUT),
            qmp.execute_within(QueryBalloon, SHOW_TIMEOUT),
            qmp.execute_within(QueryBlockstats, SHOW_TIMEOUT),
        );
        let threads = cpus.unwrap_or_default().into_iter();
        Figures {
            vcpu_threads: threads.filter_map(|cpu| Some((cpu.cpu_index, cpu.thread_id?))).collect(),
            vcpus_s: Vec::new(),
            balloon: balloon.ok().map(|balloon| balloon.actual),
            disks: blocks.unwrap_or_default().iter().filter_map(|stats| disk(domain, stats)).collect(),
        }
    }
}

/// A device of the guest; what is none, such as the flash of its firmware, is left out.
fn disk(domain: &Domain, stats: &BlockStats) -> Option<DiskFigures> {
    // The path of a part of the device: `/machine/peripheral/disk-vda/virtio-backend`. Of IDE and SATA drives QEMU tells
    // none, but the node, which is called as the device is.
    let name = stats.qdev.as_deref().or(stats.node_name.as_deref())?;
    let device = name.strip_prefix("/machine/peripheral/").unwrap_or(name).split('/').next()?.to_owned();
    let is_it = |number: &usize| plug::unplug_disk(domain, *number).device == device;
    let target = (0..domain.disks.len()).find(is_it).map(|number| domain.disks[number].target.clone());
    if stats.qdev.is_none() && target.is_none() {
        return None;
    }
    let count = |name: &str| stats.stats.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    Some(DiskFigures {
        device,
        target,
        read_bytes: count("rd_bytes"),
        written_bytes: count("wr_bytes"),
        reads: count("rd_operations"),
        writes: count("wr_operations"),
        failed_reads: count("failed_rd_operations"),
        failed_writes: count("failed_wr_operations"),
    })
}
