//! `agent`: the daemon, in the foreground. It logs to standard error and ends on SIGTERM or SIGINT; the guests
//! go on. Also the tracing of every other command.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::Agent;
use crate::failure::{Exit, Failure};

pub(super) async fn run(typed: Agent) -> Result<Exit, Failure> {
    trace_agent(typed.log.as_deref())?;
    let config = agent::Config::load(&typed.config).map_err(anyhow::Error::new)?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: ending; guests go on"),
            _ = interrupt.recv() => tracing::info!("SIGINT: ending; guests go on"),
        }
        token.cancel();
    });
    agent::run(config, shutdown).await.map_err(anyhow::Error::new)?;
    Ok(Exit::Done)
}

fn trace_agent(filter: Option<&str>) -> Result<(), Failure> {
    let filter = match filter {
        Some(filter) => EnvFilter::try_new(filter).map_err(|error| Failure::Usage {
            message: format!("--log {filter}: {error}"),
            mend: "write it as in info,agent=debug".to_owned(),
        })?,
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info")),
    };
    subscribe(filter);
    Ok(())
}

/// Commands log only where RUST_LOG asks for it.
pub(super) fn trace_client() {
    if let Ok(filter) = EnvFilter::try_from_default_env() {
        subscribe(filter);
    }
}

fn subscribe(filter: EnvFilter) {
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // Whoever reads the log may go away; a complaint about that, to the same reader, would be a panic.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .log_internal_errors(false);
    if subscriber.try_init().is_err() {
        tracing::debug!("tracing was set up before");
    }
}
