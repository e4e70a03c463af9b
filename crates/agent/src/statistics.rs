//! What was counted for one domain, for a person: what the page of metrics has of it, and its snapshots. It changes
//! nothing. Main function: [`statistics`].

use std::time::Duration;

use api::{DiskStatistics, InterfaceStatistics, Statistics};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::limits::SHOW_TIMEOUT;
use crate::metrics::{DiskFigures, Measures, gather};
use crate::node::Node;
use crate::snapshot;

/// Asks for all of it. What does not answer in time is left out.
pub(crate) async fn statistics(node: &Node, domain: &str) -> Result<Statistics, Failure> {
    let not_found = || Failure::DomainNotFound { domain: domain.to_owned(), host: node.config.host.clone() };
    let keeper = node.keeper(domain)?;
    let counters = gather::counters();
    let (measured, snapshots) = tokio::join!(
        gather::measure(&keeper, &counters),
        timeout(SHOW_TIMEOUT, snapshot::list(node, domain)),
    );
    let snapshots = match snapshots {
        Ok(Ok(snapshots)) => u64::try_from(snapshots.len()).ok(),
        Ok(Err(_)) | Err(_) => None,
    };
    Ok(Statistics { snapshots, ..shown(measured.ok_or_else(not_found)?) })
}

fn shown(measured: Measures) -> Statistics {
    let Measures { cpu_s, figures, taps, shown: _ } = measured;
    let disk = |disk: DiskFigures| {
        let DiskFigures { device: _, target, read_bytes, written_bytes, reads, writes, .. } = disk;
        let (failed_reads, failed_writes) = (disk.failed_reads, disk.failed_writes);
        let target = target?;
        Some(DiskStatistics { target, read_bytes, written_bytes, reads, writes, failed_reads, failed_writes })
    };
    // What a tap transmits, the guest receives.
    let interface = |(tap, seen): (String, network::Counters)| InterfaceStatistics {
        tap,
        received_bytes: seen.transmitted_bytes,
        received_packets: seen.transmitted_packets,
        received_dropped: seen.transmitted_dropped,
        transmitted_bytes: seen.received_bytes,
        transmitted_packets: seen.received_packets,
        transmitted_dropped: seen.received_dropped,
    };
    Statistics {
        cpu_ms: cpu_s.and_then(|s| u64::try_from(Duration::from_secs_f64(s).as_millis()).ok()),
        balloon_bytes: figures.balloon,
        disks: figures.disks.into_iter().filter_map(disk).collect(),
        interfaces: taps.into_iter().map(interface).collect(),
        snapshots: None,
    }
}
