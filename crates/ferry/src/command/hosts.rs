//! `host token`, `host join`, `host list`, `host remove`: hosts come to know each other. Main functions: [`token`],
//! [`join`].

use std::io::BufRead as _;

use anyhow::Context;
use api::{JoinRequest, Secret, TokenRequest};
use serde_json::json;

use super::Desk;
use crate::args::{HostJoin, HostToken};
use crate::failure::{Exit, Failure};
use crate::printer;

pub(super) async fn token(desk: &Desk<'_>, typed: &HostToken) -> Result<Exit, Failure> {
    let request = TokenRequest {
        // A negative time is none that a token could have, and refused as such.
        valid_s: Some(u64::try_from(typed.expires.as_secs()).unwrap_or(0)),
        host: typed.name.clone(),
        listen: typed.listen.clone(),
    };
    let token = desk.client.create_token(&request).await?;
    desk.printer.answer(&token, |width| printer::token(&token, width));
    Ok(Exit::Done)
}

pub(super) async fn join(desk: &Desk<'_>, typed: &HostJoin) -> Result<Exit, Failure> {
    let token = match typed.token.as_str() {
        "-" => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).context("standard input cannot be read")?;
            line.trim().to_owned()
        }
        token => token.to_owned(),
    };
    let request = JoinRequest {
        token: Secret(token),
        address: typed.address.clone(),
        listen: typed.listen.clone(),
        replace: typed.replace,
    };
    let joined = desk.client.join(&request).await?;
    desk.printer.answer(&joined, |width| printer::joined(&joined, width));
    Ok(Exit::Done)
}

pub(super) async fn list(desk: &Desk<'_>) -> Result<Exit, Failure> {
    let hosts = desk.client.hosts().await?;
    desk.printer.answer(&hosts, |width| printer::hosts(&hosts, width));
    Ok(Exit::Done)
}

pub(super) async fn remove(desk: &Desk<'_>, host: &str) -> Result<Exit, Failure> {
    desk.client.remove_host(host).await?;
    let removed = json!({ "removed": host });
    desk.printer.answer(&removed, |_| {
        format!("Host {host} is removed: the others refuse its certificate from now on.\n")
    });
    Ok(Exit::Done)
}
