//! `bridge`: made, confirmed where that is proof that the host can still be reached, listed, removed.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use api::{Bridge as Made, BridgeRequest};
use client::ClientError;
use serde_json::json;
use tokio::time::timeout;

use super::Desk;
use crate::args::{Bridge, BridgeCreate};
use crate::failure::{Exit, Failure};
use crate::printer;
use crate::resolve::Agent;

pub(super) async fn bridge(desk: &Desk<'_>, place: &Agent, typed: &Bridge) -> Result<Exit, Failure> {
    match typed {
        Bridge::Create(typed) => create(desk, place, typed).await?,
        Bridge::List => {
            let bridges = desk.client.bridges().await?;
            desk.printer.answer(&bridges, |width| printer::bridges(&bridges, width));
        }
        Bridge::Confirm(typed) => confirmed(desk, &desk.client.confirm_bridge(&typed.name).await?),
        Bridge::Delete(typed) => {
            desk.client.delete_bridge(&typed.name).await?;
            let deleted = json!({ "deleted": typed.name });
            desk.printer.answer(&deleted, |_| {
                format!("Bridge {} is removed; its uplink has what it had.\n", typed.name)
            });
        }
    }
    Ok(Exit::Done)
}

async fn create(desk: &Desk<'_>, place: &Agent, typed: &BridgeCreate) -> Result<(), Failure> {
    let request = BridgeRequest {
        vlan: typed.vlan,
        mtu: typed.mtu,
        confirm_within_ms: u64::try_from(typed.confirm_within.as_millis()).unwrap_or(u64::MAX),
        ..BridgeRequest::on(&typed.name, &typed.uplink)
    };
    let made = desk.client.create_bridge(&request).await.map_err(|error| match error.may_have_arrived() {
        true => cut_off(error, &request),
        false => error.into(),
    })?;
    if made.undone_at.is_none() {
        desk.printer.answer(&made, |_| told(&made));
        return Ok(());
    }
    let proven = match place {
        // The answer has come over the network, and so does the next.
        Agent::Ssh { .. } => made.lost.is_empty(),
        Agent::Local { .. } => asked(desk, &made, typed.confirm_within).await?,
    };
    if proven {
        let made = desk.client.confirm_bridge(&made.name).await;
        confirmed(desk, &made.map_err(|error| cut_off(error, &request))?);
    } else {
        desk.printer.answer(&made, |width| told(&made) + &unconfirmed(&made, width));
    }
    Ok(())
}

/// No answer means what the bridge was tried for.
fn cut_off(error: ClientError, request: &BridgeRequest) -> Failure {
    if let ClientError::Problem(_) = error {
        return error.into();
    }
    Failure::Unfinished {
        message: format!(
            "the host does not answer since {} was to become a port of {}",
            request.uplink, request.name
        ),
        mend: match request.confirm_within_ms {
            0 => "nothing undoes the bridge by itself: look at the host's own console, the uplink's cable and its switch"
                .to_owned(),
            ms => format!(
                "wait {} s: without being confirmed the bridge is undone by itself; then look at the uplink's cable, its switch and the agent's log",
                ms.div_ceil(1000)
            ),
        },
    }
}

/// Asks the person at the terminal, who may sit behind the uplink. No answer in time is none.
async fn asked(desk: &Desk<'_>, made: &Made, within: Duration) -> Result<bool, Failure> {
    if desk.printer.json() || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut terminal = anstream::stderr();
    let question = unconfirmed(made, desk.printer.width()) + "Press Enter to keep it. ";
    terminal.write_all(question.as_bytes()).and_then(|()| terminal.flush()).context("cannot ask")?;
    let answer = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    match timeout(within, answer).await {
        Ok(Ok(read)) => Ok(read.context("cannot read the answer")? > 0),
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

fn told(made: &Made) -> String {
    let ports = made.ports.join(", ");
    let addresses =
        if made.addresses.is_empty() { String::new() } else { format!(" and {}", made.addresses.join(", ")) };
    let kept = match &made.kept_by {
        Some(keeper) => format!("{keeper} makes it again when the host boots."),
        None => "It is gone when the host boots: nothing that Ferry knows configures its uplink.".to_owned(),
    };
    let mut text = format!("Bridge {} is there, with {ports}{addresses}.\n{kept}\n", made.name);
    if !made.unrenewed.is_empty() {
        let unrenewed = made.unrenewed.join(", ");
        text += &format!(
            "{unrenewed} came from a DHCP server, and nothing that Ferry knows renews it on the bridge: start a DHCP client \
             on {} before the lease ends.\n",
            made.name
        );
    }
    text
}

fn unconfirmed(made: &Made, width: usize) -> String {
    let mut text = String::new();
    if !made.lost.is_empty() {
        let lost = format!("Hosts that were reached before and are not now: {}.", made.lost.join(", "));
        text += &printer::wrap(&lost, "", "", width);
    }
    let at = made.undone_at.as_deref().unwrap_or("once");
    let undone = format!("It is undone at {at}, unless `ferry bridge confirm {}` keeps it.", made.name);
    text + &printer::wrap(&undone, "", "", width)
}

fn confirmed(desk: &Desk<'_>, made: &Made) {
    desk.printer.answer(made, |_| told(made) + "It stays.\n");
}
