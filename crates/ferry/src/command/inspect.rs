//! `list`, `info`, `host info`, `version`: look and change nothing.

use api::{Domain, Protocols, Statistics};
use client::ClientError;
use serde::Serialize;
use serde_json::json;

use super::Desk;
use crate::failure::{Exit, Failure, chain};
use crate::printer;

pub(super) async fn list(desk: &Desk<'_>, all: bool) -> Result<Exit, Failure> {
    let domains = desk.client.domains(all).await?;
    desk.printer.answer(&domains, |width| printer::domains(&domains, all, width));
    Ok(Exit::Done)
}

/// A domain and what was counted for it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    domain: Domain,
    statistics: Statistics,
}

pub(super) async fn info(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    let domain = desk.client.domain(domain).await?;
    let statistics = match desk.client.statistics(&domain.uuid.to_string()).await {
        Ok(statistics) => statistics,
        // An agent of the release before counts nothing for us.
        Err(ClientError::Problem(problem)) if problem.code == "no-endpoint" => Statistics::default(),
        Err(error) => return Err(error.into()),
    };
    let shown = Shown { domain, statistics };
    desk.printer.answer(&shown, |width| printer::domain(&shown.domain, &shown.statistics, width));
    Ok(Exit::Done)
}

pub(super) async fn host(desk: &Desk<'_>) -> Result<Exit, Failure> {
    let host = desk.client.host().await?;
    desk.printer.answer(&host, |width| printer::host(&host, width));
    Ok(Exit::Done)
}

/// An agent that cannot be reached is part of the answer: people ask for the version to find out why.
pub(super) async fn version(desk: &Desk<'_>) -> Result<Exit, Failure> {
    let ferry = env!("CARGO_PKG_VERSION");
    let (agent, text) = match desk.client.version().await {
        Ok(agent) => {
            let text = format!("agent {} on {}, protocol {}", agent.ferry, agent.host, agent.protocols());
            (Some(agent), text)
        }
        Err(error) if error.is_unreachable() => (None, format!("agent: {}", chain(&error))),
        Err(error) => return Err(error.into()),
    };
    let ours = Protocols::OURS;
    let answer = json!({ "ferry": ferry, "protocol": ours.newest, "agent": agent });
    desk.printer.answer(&answer, |width| {
        let agent = printer::wrap(&text, "", "  ", width);
        format!("ferry {ferry}, protocol {ours}\n{agent}")
    });
    Ok(Exit::Done)
}
