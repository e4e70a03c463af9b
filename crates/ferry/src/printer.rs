//! What commands print: text for people in columns, or JSON. Colour goes where standard output is a terminal and
//! NO_COLOR is not set; without a terminal lines are 80 columns wide. It asks nobody anything. Main type:
//! [`Printer`].

pub(crate) mod pools;

use std::io::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anstyle::{AnsiColor, Style};
use api::{
    Bridge, DiskStatistics, Domain, DomainEvent, DomainState, Host, HostState, InterfaceStatistics, Joined,
    KnownHost, Migration, Problem, Snapshot, Statistics, Token, Vnc,
};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use crate::failure::Failure;
use crate::limits::{WIDTH, WIDTH_MIN};
use crate::measure::{bytes, milliseconds};
use crate::story;

const ERROR: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));

/// Where and how a command's words come out.
pub(crate) struct Printer {
    json: bool,
    width: usize,
}

impl Printer {
    /// For this process's standard streams.
    pub(crate) fn new(json: bool) -> Self {
        // Some terminals say that they have no columns.
        let width = Table::new().width().filter(|width| *width > 0).unwrap_or(WIDTH);
        Self { json, width: usize::from(width.max(WIDTH_MIN)) }
    }

    /// Whether JSON was asked for.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Columns of a line.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Prints an answer in the form that was asked for.
    pub(crate) fn answer<T: serde::Serialize>(&self, value: &T, text: impl FnOnce(usize) -> String) {
        if self.json {
            self.line(value);
        } else {
            out(&text(self.width));
        }
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn line<T: serde::Serialize>(&self, value: &T) {
        let text =
            serde_json::to_string(value).expect("API types have string keys and no fallible serializer");
        out(&format!("{text}\n"));
    }

    /// Tells on standard error what went wrong.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            err(&format!("{}\n", json!({ "error": failure.problem() })));
            return;
        }
        let text = match failure {
            Failure::Definition { problem, path, xml } => definition_problem(problem, path, xml, self.width),
            Failure::Client(_)
            | Failure::Resolve(_)
            | Failure::Usage { .. }
            | Failure::Unfinished { .. }
            | Failure::Here(_) => problem(&failure.problem(), self.width),
        };
        err(&text);
    }

    /// Tells something on standard error that is no answer.
    pub(crate) fn note(&self, text: &str) {
        err(&format!("{text}\n"));
    }
}

/// Writes to standard output. A reader that has gone away has read enough.
pub(crate) fn out(text: &str) {
    let mut stream = anstream::stdout().lock();
    if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
        tracing::debug!("nobody reads standard output");
    }
}

/// Writes bytes that are no text to standard output.
pub(crate) fn out_bytes(bytes: &[u8]) {
    let mut stream = std::io::stdout().lock();
    if stream.write_all(bytes).and_then(|()| stream.flush()).is_err() {
        tracing::debug!("nobody reads standard output");
    }
}

fn err(text: &str) {
    let mut stream = anstream::stderr().lock();
    if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
        tracing::debug!("nobody reads standard error");
    }
}

/// Breaks text at spaces; the first line begins with `first`, the others with `rest`. Lines of the text that fit
/// stay as they are. Ends with a line break.
pub(crate) fn wrap(text: &str, first: &str, rest: &str, width: usize) -> String {
    let mut wrapped = String::new();
    for (number, paragraph) in text.lines().enumerate() {
        let mut line = String::from(if number == 0 { first } else { rest });
        if line.chars().count() + paragraph.chars().count() <= width {
            line.push_str(paragraph);
            wrapped.push_str(line.trim_end());
            wrapped.push('\n');
            continue;
        }
        let mut begun = false;
        for word in paragraph.split_whitespace() {
            if begun && line.chars().count() + 1 + word.chars().count() > width {
                wrapped.push_str(line.trim_end());
                wrapped.push('\n');
                line = String::from(rest);
                begun = false;
            }
            if begun {
                line.push(' ');
            }
            line.push_str(word);
            begun = true;
        }
        wrapped.push_str(line.trim_end());
        wrapped.push('\n');
    }
    wrapped
}

/// Names and values in two columns.
#[derive(Default)]
pub(crate) struct Facts(Vec<(String, String)>);

impl Facts {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn render(&self, width: usize) -> String {
        let longest = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let rest = " ".repeat(longest + 4);
        self.0
            .iter()
            .map(|(name, value)| wrap(value, &format!("  {name:<longest$}  "), &rest, width))
            .collect()
    }
}

pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>, width: usize) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .force_no_tty()
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX))
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    format!("{}\n", table.trim_fmt())
}

/// `ferry list`.
pub(crate) fn domains(domains: &[Domain], all: bool, width: usize) -> String {
    if domains.is_empty() {
        return if all {
            "No domain is defined here.\n".to_owned()
        } else {
            "No domain runs here; `ferry list --all` shows all that are defined.\n".to_owned()
        };
    }
    let rows = domains.iter().map(|domain| {
        [
            domain.name.clone(),
            state(domain.state).to_owned(),
            domain.vcpus.to_string(),
            bytes(domain.memory_bytes),
            remark(domain),
        ]
    });
    table(["NAME", "STATE", "VCPUS", "MEMORY", "REMARK"], rows.collect(), width)
}

fn remark(domain: &Domain) -> String {
    let mut remarks = Vec::new();
    if let Some(owner) = &domain.owner {
        remarks.push(format!("on {owner}"));
    }
    remarks.extend(domain.reason.clone());
    if !domain.persistent {
        remarks.push("transient".to_owned());
    }
    if domain.autostart {
        remarks.push("autostart".to_owned());
    }
    remarks.join("; ")
}

/// What a domain is doing, in words.
pub(crate) fn state(state: DomainState) -> &'static str {
    match state {
        DomainState::Running => "running",
        DomainState::Suspended => "suspended",
        DomainState::Stopped => "stopped",
        DomainState::ShutOff => "shut off",
        DomainState::Leaving => "leaving",
        DomainState::Arriving => "arriving",
        DomainState::InDoubt => "in doubt",
        DomainState::Moved => "moved",
    }
}

/// `ferry info`.
pub(crate) fn domain(domain: &Domain, statistics: &Statistics, width: usize) -> String {
    let mut facts = Facts::default();
    facts.add("uuid", &domain.uuid.to_string());
    let doing = match &domain.reason {
        Some(reason) => format!("{} ({reason})", state(domain.state)),
        None => state(domain.state).to_owned(),
    };
    facts.add("state", &doing);
    if let Some(owner) = &domain.owner {
        facts.add("on host", owner);
    }
    if let Some(migration) = &domain.migration {
        facts.add("migration", &migration.to_string());
    }
    facts.add("definition", if domain.persistent { "kept" } else { "transient" });
    if domain.persistent {
        facts.add("autostart", if domain.autostart { "yes" } else { "no" });
    }
    facts.add("memory", &bytes(domain.memory_bytes));
    if let Some(left) = statistics.balloon_bytes {
        facts.add("balloon", &format!("leaves the guest {}", bytes(left)));
    }
    facts.add("vcpus", &domain.vcpus.to_string());
    if let Some(cpu_ms) = statistics.cpu_ms {
        facts.add("cpu time", &milliseconds(cpu_ms));
    }
    facts.add("machine", &domain.machine);
    for disk in &domain.disks {
        let readonly = if disk.readonly { ", read-only" } else { "" };
        let source = if disk.source.is_empty() { "no medium" } else { &disk.source };
        let counted = statistics.disks.iter().find(|counted| counted.target == disk.target);
        let counted = counted.map(transferred).unwrap_or_default();
        facts.add("disk", &format!("{}: {source} ({}{readonly}){counted}", disk.target, disk.format));
    }
    for interface in &domain.interfaces {
        let tap = interface.tap.as_ref().map_or_else(String::new, |tap| format!(" through {tap}"));
        let counted =
            statistics.interfaces.iter().find(|counted| Some(&counted.tap) == interface.tap.as_ref());
        let counted = counted.map(carried).unwrap_or_default();
        facts.add("interface", &format!("{} on {}{tap}{counted}", interface.mac, interface.bridge));
    }
    if let Some(count) = statistics.snapshots {
        facts.add("snapshots", &count.to_string());
    }
    if let Some(console) = &domain.console {
        facts.add("console", console);
    }
    if let Some(pid) = domain.pid {
        facts.add("qemu", &format!("process {pid}"));
    }
    if let Some(started) = &domain.started_at {
        facts.add("since", started);
    }
    facts.add("log", &domain.log);
    format!("{}\n{}", domain.name, facts.render(width))
}

/// What a guest did to a disk, on a line of its own.
fn transferred(disk: &DiskStatistics) -> String {
    let (read, written) = (bytes(disk.read_bytes), bytes(disk.written_bytes));
    let mut text =
        format!("\nread {read} ({} requests), wrote {written} ({} requests)", disk.reads, disk.writes);
    if (disk.failed_reads, disk.failed_writes) != (0, 0) {
        text.push_str(&format!("\n{} reads and {} writes failed", disk.failed_reads, disk.failed_writes));
    }
    text
}

/// What a guest's network card carried, on a line of its own.
fn carried(interface: &InterfaceStatistics) -> String {
    let (received, sent) = (bytes(interface.received_bytes), bytes(interface.transmitted_bytes));
    let (packets_in, packets_out) = (interface.received_packets, interface.transmitted_packets);
    let mut text =
        format!("\nreceived {received} ({packets_in} packets), sent {sent} ({packets_out} packets)");
    let (lost_in, lost_out) = (interface.received_dropped, interface.transmitted_dropped);
    if (lost_in, lost_out) != (0, 0) {
        text.push_str(&format!("\n{lost_in} packets to it and {lost_out} from it dropped"));
    }
    text
}

/// `ferry vncdisplay`.
pub(crate) fn vnc(vnc: &Vnc) -> String {
    match (&vnc.socket, &vnc.host, vnc.port) {
        (Some(socket), _, _) => format!("{socket}\n"),
        (None, Some(host), Some(port)) if host.contains(':') => format!("[{host}]:{port}\n"),
        (None, host, port) => {
            format!("{}:{}\n", host.as_deref().unwrap_or_default(), port.unwrap_or_default())
        }
    }
}

/// A line of `ferry events`.
pub(crate) fn event(event: &DomainEvent, width: usize) -> String {
    // To the millisecond: people compare them with other logs.
    let at = event.at.parse().map_or_else(|_| event.at.clone(), |at: jiff::Timestamp| format!("{at:.3}"));
    let detail = event.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let line = format!("{at}  {}  {}{detail}", event.domain, event.event.as_str());
    wrap(&line, "", "    ", width)
}

/// `ferry snapshot list`.
pub(crate) fn snapshots(snapshots: &[Snapshot], width: usize) -> String {
    if snapshots.is_empty() {
        return "It has no snapshots.\n".to_owned();
    }
    let rows = snapshots.iter().map(|snapshot| {
        let memory =
            if snapshot.memory_bytes == 0 { "none".to_owned() } else { bytes(snapshot.memory_bytes) };
        [snapshot.name.clone(), snapshot.created_at.clone(), memory, snapshot.disks.join(", ")]
    });
    table(["NAME", "MADE", "MEMORY", "DISKS"], rows.collect(), width)
}

/// `ferry bridge list`.
pub(crate) fn bridges(bridges: &[Bridge], width: usize) -> String {
    if bridges.is_empty() {
        return "There is no bridge; `ferry bridge create` makes one.\n".to_owned();
    }
    let rows = bridges.iter().map(|bridge| {
        let mut remarks = Vec::new();
        if let Some(at) = &bridge.undone_at {
            remarks.push(format!("undone at {at} unless confirmed"));
        }
        if let Some(vlan) = bridge.vlan {
            remarks.push(format!("VLAN {vlan}"));
        }
        if !bridge.up {
            remarks.push("down".to_owned());
        }
        if let Some(keeper) = &bridge.kept_by {
            remarks.push(format!("kept by {keeper}"));
        }
        let [ports, addresses] = [&bridge.ports, &bridge.addresses].map(|it| it.join(" "));
        [bridge.name.clone(), bridge.mtu.to_string(), ports, addresses, remarks.join("; ")]
    });
    table(["NAME", "MTU", "PORTS", "ADDRESSES", "REMARK"], rows.collect(), width)
}

/// `ferry host info`.
pub(crate) fn host(host: &Host, width: usize) -> String {
    let mut facts = Facts::default();
    facts.add("kernel", &host.kernel);
    let nx = if host.cpu.nx { "" } else { ", without no-execute pages" };
    facts.add("processors", &format!("{} × {} ({}{nx})", host.cpu.count, host.cpu.model, host.cpu.arch));
    facts.add(
        "memory",
        &format!("{}, {} available", bytes(host.memory_total_bytes), bytes(host.memory_available_bytes)),
    );
    facts.add("qemu", &format!("{} at {}", host.qemu_version, host.emulator));
    for accelerator in &host.accelerators {
        let works = match (&accelerator.reason, accelerator.usable) {
            (_, true) => "works".to_owned(),
            (Some(reason), false) => format!("does not work: {reason}"),
            (None, false) => "does not work".to_owned(),
        };
        facts.add(&accelerator.name, &works);
    }
    facts.add("domains", &format!("{} active", host.domains_active));
    for neighbour in &host.neighbours {
        facts.add("knows", &format!("{} at {}", neighbour.name, neighbour.address));
    }
    format!("{}\n{}", host.name, facts.render(width))
}

/// `ferry host token`.
pub(crate) fn token(token: &Token, width: usize) -> String {
    let made = "This host has a CA now, and its agent holds the key: keep a copy of its directory `ca` below the state \
                directory.";
    let made = if token.ca_made { wrap(made, "", "", width) } else { String::new() };
    let said = format!("On the host that is to join, before {}:", token.expires_at);
    let fingerprint = wrap(&format!("The CA's fingerprint: {}", token.ca_fingerprint), "", "  ", width);
    // Not wrapped: somebody copies it.
    format!("{made}{said}\n  ferry host join {} --token {}\n{fingerprint}", token.address, token.token.0)
}

/// `ferry host join`.
pub(crate) fn joined(joined: &Joined, width: usize) -> String {
    let others: Vec<_> = joined.hosts.iter().map(|host| host.name.as_str()).collect();
    let said = format!(
        "Host {} has joined {} and is reached at {}. Its certificate ends at {} and is renewed before by {}, which holds the CA's key.",
        joined.host,
        others.join(", "),
        joined.address,
        joined.certificate_until,
        joined.issuer
    );
    wrap(&said, "", "", width)
}

/// `ferry host list`.
pub(crate) fn hosts(hosts: &[KnownHost], width: usize) -> String {
    let rows = hosts.iter().map(|host| {
        let state = match host.state {
            HostState::Here => "here",
            HostState::Joined if host.configured => "configured",
            HostState::Joined => "joined",
            HostState::Unreachable => "unreachable",
            HostState::Revoked => "revoked",
        };
        let mut remarks = Vec::from_iter(host.issuer.then(|| "holds the CA's key".to_owned()));
        remarks.extend(host.reason.clone());
        let until = host.certificate_until.as_deref().and_then(|until| until.get(..10)).unwrap_or("-");
        let ferry = host.ferry.as_deref().unwrap_or("-");
        let words = [&host.name, &host.address, state, ferry, until];
        let [name, address, state, ferry, until] = words.map(str::to_owned);
        [name, address, state, ferry, until, remarks.join("; ")]
    });
    table(["NAME", "ADDRESS", "STATE", "FERRY", "CERTIFICATE", "REMARK"], rows.collect(), width)
}

/// `ferry migrations list`.
pub(crate) fn migrations(migrations: &[Migration], width: usize) -> String {
    if migrations.is_empty() {
        return "This host took part in no migration.\n".to_owned();
    }
    let rows = migrations.iter().map(|migration| {
        let report = &migration.report;
        [
            report.id.to_string(),
            report.domain.clone(),
            format!("{} → {}", report.source, report.target),
            story::phase_name(report.phase).to_owned(),
        ]
    });
    table(["MIGRATION", "DOMAIN", "HOSTS", "PHASE"], rows.collect(), width)
}

/// A problem: what was wrong, every detail on its own line, and what to do.
pub(crate) fn problem(problem: &Problem, width: usize) -> String {
    let mut text = headline(problem, width);
    for detail in &problem.details {
        text.push_str(&wrap(&detail.message, "  • ", "    ", width));
        if !detail.mend.is_empty() {
            text.push_str(&wrap(&detail.mend, "    → ", "      ", width));
        }
    }
    text.push_str(&mend(problem, width));
    text
}

fn headline(problem: &Problem, width: usize) -> String {
    let text = wrap(&problem.detail, "error: ", "  ", width);
    text.replacen("error:", &format!("{ERROR}error:{ERROR:#}"), 1)
}

fn mend(problem: &Problem, width: usize) -> String {
    problem.mend.as_ref().map_or_else(String::new, |mend| wrap(mend, "→ ", "  ", width))
}

/// A problem with a definition: each detail under the line of XML that it is about.
pub(crate) fn definition_problem(problem: &Problem, path: &str, xml: &str, width: usize) -> String {
    let mut placed = Vec::new();
    let mut unplaced = problem.clone();
    unplaced.details.clear();
    for detail in &problem.details {
        match detail.line.and_then(|line| offset(xml, line, detail.column.unwrap_or(1))) {
            Some(at) => placed.push((at, detail)),
            None => unplaced.details.push(detail.clone()),
        }
    }
    let mut text = headline(problem, width);
    let renderer = Renderer::styled().term_width(width);
    for (at, detail) in placed {
        let end = xml[at..].find(['\n', '>']).map_or(xml.len(), |length| at + length);
        let end = if xml[end..].starts_with('>') { end + 1 } else { end };
        let annotation = AnnotationKind::Primary.span(at..end.max(at));
        let mut group = Group::with_title(Level::ERROR.primary_title(detail.message.as_str()))
            .element(Snippet::source(xml).path(path).annotation(annotation));
        if !detail.mend.is_empty() {
            group = group.element(Level::HELP.message(detail.mend.as_str()));
        }
        text.push_str(&renderer.render(&[group]));
        text.push('\n');
    }
    let rest = self::problem(&unplaced, width);
    let after_headline = &rest[self::headline(&unplaced, width).len()..];
    text.push_str(after_headline);
    text
}

/// The byte at a line and column, both counted from 1; nothing beyond the text.
fn offset(text: &str, line: u32, column: u32) -> Option<usize> {
    let mut begin = 0;
    for _ in 1..line {
        begin += text[begin..].find('\n')? + 1;
    }
    let rest = &text[begin..];
    let length = rest.find('\n').unwrap_or(rest.len());
    let column = usize::try_from(column).ok()?.saturating_sub(1);
    let within = rest[..length].char_indices().nth(column).map_or(length, |(at, _)| at);
    (line > 0).then_some(begin + within)
}

#[cfg(test)]
#[path = "printer_tests.rs"]
mod tests;
