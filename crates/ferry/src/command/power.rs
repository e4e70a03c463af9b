//! `start`, `shutdown`, `reboot`, `reset`, `destroy`, `suspend`, `resume`.

use std::time::Duration;

use api::{Domain, DomainState};

use super::Desk;
use crate::args::{Reboot, Shutdown};
use crate::failure::{Exit, Failure};
use crate::printer;

fn tell(desk: &Desk<'_>, domain: &Domain) -> Exit {
    desk.printer.answer(domain, |_| format!("Domain {} is {}.\n", domain.name, printer::state(domain.state)));
    Exit::Done
}

pub(super) async fn start(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    Ok(tell(desk, &desk.client.start(domain).await?))
}

pub(super) async fn destroy(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    Ok(tell(desk, &desk.client.destroy(domain).await?))
}

pub(super) async fn suspend(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    Ok(tell(desk, &desk.client.suspend(domain).await?))
}

pub(super) async fn resume(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    Ok(tell(desk, &desk.client.resume(domain).await?))
}

pub(super) async fn reset(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    let domain = desk.client.reset(domain).await?;
    desk.printer.answer(&domain, |_| format!("Domain {} was reset.\n", domain.name));
    Ok(Exit::Done)
}

pub(super) async fn reboot(desk: &Desk<'_>, typed: &Reboot) -> Result<Exit, Failure> {
    let domain = desk.client.reboot(&typed.domain, Duration::from_secs(typed.timeout)).await?;
    let name = &domain.name;
    if domain.pid.is_none() {
        return Err(Failure::Unfinished {
            message: format!("{name} has ended and was not booted again"),
            mend: format!("`ferry info {name}` may say why; `ferry start {name}` boots it"),
        });
    }
    desk.printer.answer(&domain, |_| match typed.timeout {
        0 => format!("Domain {name} was asked to shut itself down; it is booted again then.\n"),
        _ => format!("Domain {name} was booted again.\n"),
    });
    Ok(Exit::Done)
}

pub(super) async fn shutdown(desk: &Desk<'_>, typed: &Shutdown) -> Result<Exit, Failure> {
    let domain = desk.client.shutdown(&typed.domain, Duration::from_secs(typed.timeout)).await?;
    if domain.state == DomainState::ShutOff {
        return Ok(tell(desk, &domain));
    }
    if typed.timeout == 0 {
        desk.printer.answer(&domain, |_| format!("Domain {} was asked to power itself off.\n", domain.name));
        return Ok(Exit::Done);
    }
    Err(Failure::Unfinished {
        message: format!(
            "{} did not power itself off within {} s; it is {}",
            domain.name,
            typed.timeout,
            printer::state(domain.state)
        ),
        mend: format!(
            "look at its console, wait longer with --timeout, or end it with `ferry destroy {}`",
            domain.name
        ),
    })
}
