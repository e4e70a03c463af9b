//! `events`: what happens to the domains of a host, as it happens.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use jiff::Timestamp;

use super::Desk;
use crate::args::Events;
use crate::failure::{Exit, Failure};
use crate::printer;
use crate::resolve;

pub(super) async fn events(desk: &Desk<'_>, typed: &Events) -> Result<Exit, Failure> {
    let since = typed.since.as_deref().map(|since| resolve::since(since, Timestamp::now())).transpose()?;
    let listening = listen(desk, typed, since.as_deref());
    match typed.timeout.map(Duration::from_secs) {
        None => listening.await,
        Some(after) => tokio::time::timeout(after, listening).await.unwrap_or(Ok(Exit::Done)),
    }
}

async fn listen(desk: &Desk<'_>, typed: &Events, since: Option<&str>) -> Result<Exit, Failure> {
    let mut events = pin!(desk.client.domain_events(typed.domain.as_deref(), since));
    while let Some(event) = events.try_next().await? {
        if typed.event.is_empty() || typed.event.contains(&event.event) {
            desk.printer.answer(&event, |width| printer::event(&event, width));
        }
    }
    Ok(Exit::Done)
}
