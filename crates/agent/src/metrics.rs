//! What the agent measures, as a page for Prometheus (OpenMetrics text 1.0). It keeps no counters of its own: each page
//! is written anew from what the agent knows at that moment, and counters of migrations count those of this agent's
//! life. Main type: [`Measured`], gathered by [`gather::gather`].

pub(crate) mod gather;

use std::fmt::Error;

use api::{Domain, DomainState, Migration, Outcome, Progress, Role};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::limits::{BLACKOUT_BUCKETS_S, DURATION_BUCKETS_S};

/// The media type of a page.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything on one page.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// This host's name.
    pub(crate) host: String,
    /// Ferry's version.
    pub(crate) version: &'static str,
    /// Processors online.
    pub(crate) cpus: u32,
    /// Bytes.
    pub(crate) memory_total: u64,
    /// Bytes.
    pub(crate) memory_available: u64,
    pub(crate) domains: Vec<Measures>,
    /// Those that began, or were taken up, in this agent's life, with the last figures of those that run.
    pub(crate) migrations: Vec<(Migration, Option<Progress>)>,
}

/// What is measured of one domain.
#[derive(Debug, Clone)]
pub(crate) struct Measures {
    pub(crate) shown: Domain,
    /// Time on processors of its QEMU, in seconds.
    pub(crate) cpu_s: Option<f64>,
    pub(crate) figures: Figures,
    /// By tap, as the host sees them: what the tap transmits, the guest receives.
    pub(crate) taps: Vec<(String, network::Counters)>,
}

/// What QEMU says of a guest; empty while it moves or is silent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Threads of its vCPUs, by number.
    pub(crate) vcpu_threads: Vec<(u32, u32)>,
    /// Time on processors by vCPU, in seconds.
    pub(crate) vcpus_s: Vec<(u32, f64)>,
    /// Memory that the balloon leaves the guest, in bytes.
    pub(crate) balloon: Option<u64>,
    pub(crate) disks: Vec<DiskFigures>,
}

/// QAPI `BlockDeviceStats` of one disk.
#[derive(Debug, Clone)]
pub(crate) struct DiskFigures {
    /// The device, as QEMU knows it.
    pub(crate) device: String,
    /// The guest's name for it, as in `vda`; none of what is no disk of the definition.
    pub(crate) target: Option<String>,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) failed_reads: u64,
    pub(crate) failed_writes: u64,
}

/// The page.
pub(crate) fn page(measured: Measured) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(measured));
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("a String takes every write");
    page
}

type Labels = Vec<(&'static str, String)>;

/// Name, help, and where the value stands.
type Series<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// One metric after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, rows: Vec<(Labels, f64)>) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// `name` without the `_total` that a counter's samples end in.
    fn counter(&mut self, name: &str, help: &str, rows: Vec<(Labels, f64)>) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_counter(&value, None::<&Exemplar<Labels, f64>>)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, rows: Vec<(Labels, Histogram)>) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in rows {
            histogram.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Measured {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        self.host(&mut page)?;
        self.domains(&mut page)?;
        self.devices(&mut page)?;
        self.migrations(&mut page)?;
        self.progress(&mut page)
    }
}

const STATES: [DomainState; 8] = [
    DomainState::Running,
    DomainState::Suspended,
    DomainState::Stopped,
    DomainState::ShutOff,
    DomainState::Leaving,
    DomainState::Arriving,
    DomainState::InDoubt,
    DomainState::Moved,
];
const ROLES: [Role; 2] = [Role::Source, Role::Target];
/// Ends that stay: a doubt is an open migration.
const OUTCOMES: [Outcome; 3] = [Outcome::Moved, Outcome::Kept, Outcome::Lost];

impl Measured {
    fn host(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let none = Labels::new;
        let build = vec![("host", self.host.clone()), ("version", self.version.to_owned())];
        page.gauge("ferry_agent_info", "The agent that answers; always 1", vec![(build, 1.0)])?;
        page.gauge("ferry_host_cpus", "Processors online", vec![(none(), f64::from(self.cpus))])?;
        let total = vec![(none(), float(self.memory_total))];
        page.gauge("ferry_host_memory_total_bytes", "Memory of the host", total)?;
        let available = vec![(none(), float(self.memory_available))];
        page.gauge(
            "ferry_host_memory_available_bytes",
            "Memory that could be given to a guest now",
            available,
        )?;
        let count = |state| self.domains.iter().filter(|domain| domain.shown.state == state).count();
        let rows = STATES.map(|state| (vec![("state", word(&state))], float(count(state) as u64)));
        page.gauge("ferry_host_domains", "Domains of the host, by state", rows.to_vec())
    }

    /// A row for each domain that has the value.
    fn each(&self, value: impl Fn(&Measures) -> Option<f64>) -> Vec<(Labels, f64)> {
        let row = |domain: &Measures| Some((of(domain), value(domain)?));
        self.domains.iter().filter_map(row).collect()
    }

    /// Rows for each domain that has some.
    fn every<T>(
        &self,
        label: &'static str,
        parts: impl Fn(&Measures) -> &[T],
        part: impl Fn(&T) -> (String, f64),
    ) -> Vec<(Labels, f64)> {
        let mut rows = Vec::new();
        for domain in &self.domains {
            for found in parts(domain) {
                let (name, value) = part(found);
                let mut labels = of(domain);
                labels.push((label, name));
                rows.push((labels, value));
            }
        }
        rows
    }

    fn domains(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let state = |domain: &Measures| {
            let mut labels = of(domain);
            labels.push(("state", word(&domain.shown.state)));
            (labels, 1.0)
        };
        let states = self.domains.iter().map(state).collect();
        page.gauge("ferry_domain_state", "What the domain is doing here; always 1", states)?;
        let vcpus = self.each(|domain| Some(f64::from(domain.shown.vcpus)));
        page.gauge("ferry_domain_vcpus", "vCPUs", vcpus)?;
        let memory = self.each(|domain| Some(float(domain.shown.memory_bytes)));
        page.gauge("ferry_domain_memory_bytes", "Memory of the guest", memory)?;
        let balloon = self.each(|domain| domain.figures.balloon.map(float));
        page.gauge("ferry_domain_memory_balloon_bytes", "Memory that the balloon leaves the guest", balloon)?;
        let cpu = self.each(|domain| domain.cpu_s);
        page.counter("ferry_domain_cpu_seconds", "Time on processors of the domain's QEMU", cpu)?;
        let vcpus =
            self.every("vcpu", |domain| &domain.figures.vcpus_s, |(number, s)| (number.to_string(), *s));
        page.counter("ferry_domain_vcpu_seconds", "Time on processors of a vCPU", vcpus)
    }

    fn devices(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let disks: [Series<DiskFigures, u64>; 6] = [
            ("ferry_domain_disk_read_bytes", "Bytes that the guest read", |disk| disk.read_bytes),
            ("ferry_domain_disk_written_bytes", "Bytes that the guest wrote", |disk| disk.written_bytes),
            ("ferry_domain_disk_reads", "Reads of the guest", |disk| disk.reads),
            ("ferry_domain_disk_writes", "Writes of the guest", |disk| disk.writes),
            ("ferry_domain_disk_failed_reads", "Reads of the guest that failed", |disk| disk.failed_reads),
            ("ferry_domain_disk_failed_writes", "Writes of the guest that failed", |disk| disk.failed_writes),
        ];
        for (name, help, value) in disks {
            let rows = self.every(
                "disk",
                |domain| &domain.figures.disks,
                |disk| (disk.device.clone(), float(value(disk))),
            );
            page.counter(name, help, rows)?;
        }
        let taps: [Series<network::Counters, u64>; 6] = [
            ("ferry_domain_received_bytes", "Bytes that the guest received", |tap| tap.transmitted_bytes),
            ("ferry_domain_received_packets", "Packets that the guest received", |tap| {
                tap.transmitted_packets
            }),
            ("ferry_domain_received_dropped", "Packets to the guest that were dropped", |tap| {
                tap.transmitted_dropped
            }),
            ("ferry_domain_transmitted_bytes", "Bytes that the guest sent", |tap| tap.received_bytes),
            ("ferry_domain_transmitted_packets", "Packets that the guest sent", |tap| tap.received_packets),
            ("ferry_domain_transmitted_dropped", "Packets from the guest that were dropped", |tap| {
                tap.received_dropped
            }),
        ];
        for (name, help, value) in taps {
            let rows =
                self.every("tap", |domain| &domain.taps, |(tap, seen)| (tap.clone(), float(value(seen))));
            page.counter(name, help, rows)?;
        }
        Ok(())
    }

    /// The migrations of one side that have ended so.
    fn ended(&self, role: Role, outcome: Outcome) -> impl Iterator<Item = &Migration> {
        let migrations = self.migrations.iter().map(|(migration, _)| migration);
        migrations
            .filter(move |migration| migration.role == role && migration.report.outcome == Some(outcome))
    }

    fn migrations(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let count = |role| self.migrations.iter().filter(|(migration, _)| migration.role == role).count();
        let started = ROLES.map(|role| (vec![("role", word(&role))], float(count(role) as u64)));
        page.counter("ferry_migrations_started", "Migrations that began or were taken up", started.to_vec())?;
        let pairs = ROLES.into_iter().flat_map(|role| OUTCOMES.map(|outcome| (role, outcome)));
        let pairs: Vec<_> = pairs
            .map(|(role, outcome)| {
                let labels = vec![("role", word(&role)), ("outcome", word(&outcome))];
                (labels, self.ended(role, outcome).collect::<Vec<_>>())
            })
            .collect();
        let ended = pairs.iter().map(|(labels, ended)| (labels.clone(), float(ended.len() as u64)));
        page.counter("ferry_migrations_ended", "Migrations that ended", ended.collect())?;
        let durations = pairs.iter().map(|(labels, ended)| {
            let histogram = Histogram::new(DURATION_BUCKETS_S);
            ended.iter().for_each(|migration| histogram.observe(seconds(migration.report.wall_ms)));
            (labels.clone(), histogram)
        });
        page.histogram("ferry_migration_duration_seconds", "How long migrations took", durations.collect())?;
        let ends = OUTCOMES.into_iter().flat_map(|outcome| self.ended(Role::Source, outcome));
        let sent = ends.map(|migration| migration.report.memory.sent_bytes).sum();
        page.counter(
            "ferry_migration_sent_bytes",
            "Bytes that migrations from here sent for memory and devices, once they ended",
            vec![(Labels::new(), float(sent))],
        )?;
        let blackouts = Histogram::new(BLACKOUT_BUCKETS_S);
        for migration in self.ended(Role::Source, Outcome::Moved) {
            if let Some(blackout_ms) = migration.report.downtime.qemu_ms {
                blackouts.observe(seconds(blackout_ms));
            }
        }
        page.histogram(
            "ferry_migration_blackout_seconds",
            "How long guests that moved away stood still, by QEMU's downtime",
            vec![(Labels::new(), blackouts)],
        )
    }

    /// The migrations that have no end yet.
    fn progress(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let ended =
            |migration: &Migration| migration.report.outcome.is_some_and(|end| OUTCOMES.contains(&end));
        let open: Vec<_> = self.migrations.iter().filter(|(migration, _)| !ended(migration)).collect();
        let labels = |migration: &Migration| {
            let report = &migration.report;
            vec![
                ("domain", report.domain.clone()),
                ("migration", report.id.to_string()),
                ("role", word(&migration.role)),
            ]
        };
        let phases = open.iter().map(|(migration, _)| {
            let mut labels = labels(migration);
            labels.push(("phase", word(&migration.report.phase)));
            (labels, 1.0)
        });
        page.gauge("ferry_migration_phase", "Where an open migration stands; always 1", phases.collect())?;
        let figures: [Series<Progress, f64>; 7] = [
            ("ferry_migration_round", "The round that memory is in, from 1", |now| float(now.round)),
            ("ferry_migration_progress_sent_bytes", "Bytes sent so far", |now| float(now.sent_bytes)),
            ("ferry_migration_progress_left_bytes", "Bytes left in this round", |now| float(now.left_bytes)),
            ("ferry_migration_progress_memory_bytes", "Memory of the guest", |now| float(now.total_bytes)),
            ("ferry_migration_rate_bytes_per_second", "Throughput", |now| float(now.rate_bytes_per_s)),
            ("ferry_migration_dirty_bytes_per_second", "How fast the guest changes its memory", |now| {
                float(now.dirty_bytes_per_s)
            }),
            ("ferry_migration_expected_blackout_seconds", "The blackout if the guest stopped now", |now| {
                seconds(now.expected_blackout_ms)
            }),
        ];
        for (name, help, value) in figures {
            let row = |(migration, now): &&(Migration, Option<Progress>)| {
                now.as_ref().map(|now| (labels(migration), value(now)))
            };
            page.gauge(name, help, open.iter().filter_map(row).collect())?;
        }
        Ok(())
    }
}

fn of(domain: &Measures) -> Labels {
    vec![("domain", domain.shown.name.clone())]
}

/// The word that the API has for it.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).expect("states and phases are always JSON");
    value.as_str().unwrap_or_default().to_owned()
}

/// Prometheus has one kind of number; above 2^53 it is not exact.
fn float(value: u64) -> f64 {
    value as f64
}

fn seconds(ms: u64) -> f64 {
    float(ms) / 1000.0
}

#[cfg(test)]
mod tests;
