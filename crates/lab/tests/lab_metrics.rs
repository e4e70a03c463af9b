//! The page of metrics is read while a guest moves: on the Unix socket, and on an address of its own, where nothing else is
//! answered.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::limits::{HAPPENS, LOOK};
use lab::migration::Migration;
use lab::trial::{Trial, play};

const PORT: u16 = 7701;
const ANSWER: Duration = Duration::from_secs(10);

/// An HTTP request by hand; the status and the body.
fn ask(mut stream: impl Read + Write, path: &str) -> Result<(u16, String)> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: ferry\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

fn scrape(host: &Host) -> Result<String> {
    let (status, page) = ask(UnixStream::connect(host.socket())?, "/metrics")?;
    ensure!(status == 200 && page.ends_with("# EOF\n"), "{status}: {page}");
    Ok(page)
}

/// The value of the first sample whose name and labels begin so.
fn value(page: &str, begin: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(begin))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

fn positive(page: &str, begin: &str) -> Result<()> {
    ensure!(value(page, begin).is_some_and(|value| value > 0.0), "{begin} in\n{page}");
    Ok(())
}

#[test]
fn a_page_is_read_while_a_guest_moves() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let page = scrape(kvm1)?;
        positive(&page, "ferry_domain_state{domain=\"web1\",state=\"running\"}")?;
        for counter in ["cpu_seconds", "vcpu_seconds", "disk_writes", "received_packets", "transmitted_bytes"]
        {
            positive(&page, &format!("ferry_domain_{counter}_total{{domain=\"web1\""))?;
        }

        let migration = Migration::begin(kvm1, trial.name(), kvm2, &["--bandwidth", "20MiB/s"])?;
        let labels = format!("{{domain=\"web1\",migration=\"{}\",role=\"source\"", migration.id);
        let end = Instant::now() + HAPPENS;
        let page = loop {
            let page = scrape(kvm1)?;
            let sent = value(&page, &format!("ferry_migration_progress_sent_bytes{labels}"));
            if sent.is_some_and(|sent| sent > 0.0) {
                break page;
            }
            ensure!(Instant::now() < end, "no progress was seen:\n{page}");
            thread::sleep(LOOK);
        };
        positive(&page, &format!("ferry_migration_phase{labels},phase=\"streaming\"}}"))?;
        positive(&page, "ferry_domain_state{domain=\"web1\",state=\"leaving\"}")?;
        let arriving = scrape(kvm2)?;
        positive(&arriving, "ferry_domain_state{domain=\"web1\",state=\"arriving\"}")?;
        let report = migration.wait_for_end(HAPPENS)?;
        ensure!(report.outcome.as_deref() == Some("moved"), "{report:?}");

        let page = scrape(kvm1)?;
        let moved = "role=\"source\",outcome=\"moved\"}";
        ensure!(value(&page, &format!("ferry_migrations_ended_total{{{moved}")) == Some(1.0), "{page}");
        ensure!(value(&page, "ferry_migration_blackout_seconds_count") == Some(1.0), "{page}");
        positive(&page, "ferry_migration_sent_bytes_total")?;
        ensure!(value(&page, "ferry_migration_phase").is_none(), "an open migration is left:\n{page}");
        positive(&scrape(kvm2)?, "ferry_migrations_ended_total{role=\"target\",outcome=\"moved\"}")
    })
}

#[test]
fn prometheus_reaches_the_page_and_nothing_else() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let address = SocketAddr::from((host.address, PORT));
        let configuration = fs::read_to_string(host.configuration())?;
        fs::write(host.configuration(), format!("metrics_listen = \"{address}\"\n{configuration}"))?;
        host.stop_agent()?;
        host.start_agent()?;
        let from_outside = |path: &str| {
            let stream = lab.client.enter(|| TcpStream::connect_timeout(&address, ANSWER))??;
            ask(stream, path)
        };
        let (status, page) = from_outside("/metrics")?;
        ensure!(status == 200, "{status}: {page}");
        positive(&page, "ferry_agent_info{host=\"kvm1\"")?;
        for path in ["/api/v1/version", "/api/v1/domains", "/"] {
            let (status, said) = from_outside(path)?;
            ensure!(status == 404, "{path}: {status}: {said}");
        }
        Ok(())
    })
}
