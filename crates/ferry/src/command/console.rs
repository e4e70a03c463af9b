//! `console`: a person's terminal, or a script's standard streams, at a guest's console.

use anyhow::Context;
use client::Heard;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::Desk;
use crate::args::Console;
use crate::failure::{Exit, Failure};
use crate::limits::CONSOLE_BUFFER_BYTES;
use crate::terminal::Raw;

/// Why it was left.
enum Left {
    /// By its key, or at the end of what a script types.
    Here,
    /// By a signal.
    Signalled,
    /// The guest's side ended, and why.
    There(Heard),
}

pub(super) async fn console(desk: &Desk<'_>, typed: &Console) -> Result<Exit, Failure> {
    let mut console = desk.client.console(&typed.domain, typed.devname.as_deref(), typed.force).await?;
    let raw = Raw::enter().context("the terminal cannot be made raw")?;
    let escape = raw.is_some().then_some(typed.escape);
    if escape.is_some() {
        let key = char::from(typed.escape | 0x40);
        desk.printer.note(&format!("At the console of {}; Ctrl-{key} leaves it.\r", typed.domain));
    }
    let left = carry(&mut console, escape).await;
    // The terminal first: what is said next is for a person.
    drop(raw);
    if escape.is_some() {
        desk.printer.note("");
    }
    match left? {
        Left::Here => {
            console.leave().await;
            Ok(Exit::Done)
        }
        Left::Signalled => {
            console.leave().await;
            Ok(Exit::Interrupted)
        }
        Left::There(Heard::Ended(why)) => {
            desk.printer.note(&why);
            Ok(Exit::Done)
        }
        Left::There(Heard::Broken(how)) => Err(Failure::Unfinished {
            message: format!("the connection to the console of {} broke: {how}", typed.domain),
            mend: "the guest goes on; open the console again when the agent answers".to_owned(),
        }),
        Left::There(Heard::Bytes(_)) => unreachable!("bytes are written out and end nothing"),
    }
}

/// Carries bytes both ways until somebody leaves.
async fn carry(console: &mut client::Console, escape: Option<u8>) -> Result<Left, Failure> {
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    let mut buffer = vec![0; CONSOLE_BUFFER_BYTES];
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut signals = [
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
        listen(SignalKind::interrupt())?,
        listen(SignalKind::quit())?,
    ];
    loop {
        let [terminated, hung_up, interrupted, quit] = &mut signals;
        tokio::select! {
            heard = console.hear() => match heard {
                Heard::Bytes(bytes) => {
                    let written = async { output.write_all(&bytes).await?; output.flush().await };
                    written.await.context("standard output takes nothing more")?;
                }
                Heard::Ended(_) | Heard::Broken(_) => return Ok(Left::There(heard)),
            },
            length = input.read(&mut buffer) => {
                let typed = &buffer[..length.context("standard input cannot be read")?];
                let leaves = escape.and_then(|escape| typed.iter().position(|byte| *byte == escape));
                console.type_in(&typed[..leaves.unwrap_or(typed.len())]).await;
                if leaves.is_some() || typed.is_empty() {
                    return Ok(Left::Here);
                }
            },
            _ = terminated.recv() => return Ok(Left::Signalled),
            _ = hung_up.recv() => return Ok(Left::Signalled),
            _ = interrupted.recv() => return Ok(Left::Signalled),
            _ = quit.recv() => return Ok(Left::Signalled),
        }
    }
}
