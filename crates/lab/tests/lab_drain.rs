//! A host is emptied with one command, while the guests work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::{Guest, GuestOptions, Settings, Status};
use lab::host::Host;
use lab::limits::GUEST_BOOT;
use lab::trial::play;
use serde_json::Value;

const GUESTS: u8 = 12;
/// One that cannot leave: it is on a bridge that no other host has.
const STUCK: &str = "web7";

/// Empties `host` and gives the exit code and the last table.
fn drain(host: &Host, options: &[&str]) -> Result<(i32, Value)> {
    let mut command = host.ferry();
    let output =
        command.args(["--json", "drain", host.name]).args(options).output().context("ferry drain")?;
    let printed = String::from_utf8(output.stdout)?;
    let last =
        printed.lines().last().with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code().unwrap_or(-1), serde_json::from_str(last)?))
}

/// The domains that stand so.
fn domains<'a>(table: &'a Value, state: &str) -> Vec<&'a Value> {
    let rows = table["domains"].as_array().into_iter().flatten();
    rows.filter(|row| row["state"] == state).collect()
}

/// Starts the guests and waits until all of them work. Nobody floods them with pings: there are more of them than processors.
fn begin(lab: &Lab) -> Result<Vec<(Guest, Status)>> {
    let guests: Vec<Guest> = (1..=GUESTS).map(|number| lab.guest(options(number))).collect::<Result<_>>()?;
    for guest in &guests {
        lab.kvm1().ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        lab.kvm1().ferry_output(["start", guest.options.name.as_str()])?;
    }
    guests
        .into_iter()
        .map(|guest| {
            let first = guest.wait_until_serving(GUEST_BOOT)?;
            Ok((guest, first))
        })
        .collect()
}

fn options(number: u8) -> GuestOptions {
    let mut options = GuestOptions::small(&format!("web{number}"));
    options.part += number;
    options.settings = Settings {
        address: lab::network::guest(options.part),
        ping_every: Duration::from_millis(200),
        memory_mib: 16,
        rate_pages: 20,
        records_rate: 2,
        ..options.settings
    };
    options
}

/// The guest works on `host` as if nothing had happened.
fn is_unharmed(guest: &Guest, first: &Status, host: &Host) -> Result<()> {
    let shown: Value = host.ferry_json(&["info", &guest.options.name])?;
    ensure!(shown["state"] == "running", "on {}: {shown}", host.name);
    let now = guest.check()?;
    ensure!(now.boot_id == first.boot_id, "the guest was booted again");
    ensure!((now.memory_errors, now.records_lost) == (0, 0), "{now:?}");
    ensure!(now.record_last > first.record_last, "it writes no more records: {now:?}");
    Ok(())
}

#[test]
fn all_guests_go_but_the_one_that_cannot_and_it_is_named() -> Result<()> {
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let guests = begin(lab)?;
        kvm1.run_line("ip link add br7 type bridge")?;
        kvm1.run_line("ip link set br7 up")?;
        kvm1.ferry_output(["attach-interface", STUCK, "bridge", "br7"])?;

        // First in the mind only: nothing is changed.
        let (exit, table) = drain(kvm1, &["--dry-run"])?;
        ensure!((exit, domains(&table, "fits").len()) == (5, 11), "exit {exit}: {table}");
        let shown: Vec<Value> = kvm2.ferry_json(&["list", "--all"])?;
        ensure!(shown.is_empty(), "{shown:?}");

        let wrong = kvm1.ferry_refusal(&["drain", kvm2.name])?;
        ensure!((wrong.code.as_str(), wrong.exit) == ("drain-other-host", 4), "{wrong:?}");

        let (exit, table) = drain(kvm1, &["--to", kvm2.name])?;
        ensure!(exit == 5, "exit {exit}: {table}");
        ensure!(domains(&table, "moved").len() == 11, "{table}");
        let [stays] = domains(&table, "stays")[..] else { anyhow::bail!("{table}") };
        ensure!(stays["domain"] == STUCK, "{stays}");
        let why = &stays["not_there"][0];
        let said = why["reason"].as_str().unwrap_or_default();
        ensure!(
            why["host"] == kvm2.name && said.contains("bridge-missing") && said.contains("br7"),
            "{stays}"
        );
        for (guest, first) in &guests {
            let host = if guest.options.name == STUCK { kvm1 } else { kvm2 };
            is_unharmed(guest, first, host).with_context(|| guest.options.name.clone())?;
        }
        Ok(())
    })
}
