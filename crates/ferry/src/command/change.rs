//! `rename`, `autostart`, `setvcpus`, `setmem`: what the next start brings.

use api::SizeRequest;

use super::Desk;
use crate::args::{Autostart, Rename, Setmem, Setvcpus};
use crate::failure::{Exit, Failure};
use crate::measure::bytes;

pub(super) async fn rename(desk: &Desk<'_>, typed: &Rename) -> Result<Exit, Failure> {
    let domain = desk.client.rename(&typed.domain, typed.name.as_str()).await?;
    desk.printer.answer(&domain, |_| format!("Domain {} is now {}.\n", typed.domain, domain.name));
    Ok(Exit::Done)
}

pub(super) async fn autostart(desk: &Desk<'_>, typed: &Autostart) -> Result<Exit, Failure> {
    let domain = desk.client.autostart(&typed.domain, !typed.disable).await?;
    desk.printer.answer(&domain, |_| {
        let word = if domain.autostart { "starts" } else { "does not start" };
        format!("Domain {} {word} when its host boots.\n", domain.name)
    });
    Ok(Exit::Done)
}

pub(super) async fn setvcpus(desk: &Desk<'_>, typed: &Setvcpus) -> Result<Exit, Failure> {
    let size = SizeRequest { vcpus: Some(typed.count), ..SizeRequest::default() };
    let domain = desk.client.resize(&typed.domain, &size).await?;
    let given = format!("{} vCPUs", typed.count);
    desk.printer.answer(&domain, |_| resized(&domain, &given, &domain.vcpus.to_string()));
    Ok(Exit::Done)
}

pub(super) async fn setmem(desk: &Desk<'_>, typed: &Setmem) -> Result<Exit, Failure> {
    let size = SizeRequest { memory_bytes: Some(typed.memory_bytes), ..SizeRequest::default() };
    let domain = desk.client.resize(&typed.domain, &size).await?;
    let given = format!("{} of memory", bytes(typed.memory_bytes));
    desk.printer.answer(&domain, |_| resized(&domain, &given, &bytes(domain.memory_bytes)));
    Ok(Exit::Done)
}

/// A guest that runs keeps what it has.
fn resized(domain: &api::Domain, given: &str, has: &str) -> String {
    match domain.pid {
        Some(_) => {
            format!("Domain {} gets {given} at its next start; now it has {has}.\n", domain.name)
        }
        None => format!("Domain {} has {given}.\n", domain.name),
    }
}
