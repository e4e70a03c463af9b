//! A person at a guest's console: bytes go both ways between a WebSocket and the terminal or socket that QEMU has for
//! it, one person at a time. Main types: [`Consoles`], [`Opened`].
//!
//! ```text
//! binary message  ◄─►  bytes of the guest's console, cut anywhere
//! text message     ─►  why it ended; the last one, then the WebSocket is closed
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::{DomainEvent, EventKind};
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{Stream, StreamExt};
use qemu::command::{Chardev, QueryChardev};
use qemu::console::{Input, Output, Place};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::bytes::Buf;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::failure::{Failure, ScreenFailure};
use crate::keeper::Looked;
use crate::limits::{CONSOLE_BYTES, CONSOLE_END_TIMEOUT, CONSOLE_STALL_TIMEOUT};
use crate::node::Node;

/// Which consoles somebody is at.
#[derive(Clone, Default)]
pub(crate) struct Consoles(Arc<Mutex<HashMap<(Uuid, String), CancellationToken>>>);

/// A seat at a console; free again when it is dropped.
struct Seat {
    consoles: Consoles,
    console: (Uuid, String),
    taken_over: CancellationToken,
}

impl Consoles {
    /// Takes the seat; from somebody else only by force.
    fn sit(&self, console: (Uuid, String), force: bool) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = taken.get(&console) {
            if !force {
                return None;
            }
            other.cancel();
        }
        let taken_over = CancellationToken::new();
        taken.insert(console.clone(), taken_over.clone());
        Some(Seat { consoles: self.clone(), console, taken_over })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.taken_over.is_cancelled() {
            self.consoles.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.console);
        }
    }
}

/// A console that somebody is at.
pub(crate) struct Opened {
    seat: Seat,
    domain: String,
    output: Output,
    input: Input,
    news: std::pin::Pin<Box<dyn Stream<Item = DomainEvent> + Send>>,
}

/// Opens the console `wanted` of a guest, or its first one.
pub(crate) async fn open(
    node: &Node,
    guest: &Looked,
    wanted: Option<&str>,
    force: bool,
) -> Result<Opened, Failure> {
    let news = node.news.listen(None).boxed();
    let chardevs = guest.process.qmp.execute(QueryChardev).await?;
    let no_console = |known| {
        Failure::Screen(ScreenFailure::NoConsole {
            domain: guest.name.clone(),
            wanted: wanted.map(str::to_owned),
            known,
        })
    };
    let (name, place) = choose(&chardevs, wanted).map_err(no_console)?;
    let busy =
        || Failure::Screen(ScreenFailure::ConsoleBusy { domain: guest.name.clone(), console: name.clone() });
    let seat = node.consoles.sit((guest.uuid, name.clone()), force).ok_or_else(busy)?;
    let unopened = |source| {
        Failure::Screen(ScreenFailure::ConsoleClosed {
            domain: guest.name.clone(),
            console: name.clone(),
            source,
        })
    };
    let (output, input) = place.open().await.map_err(unopened)?;
    Ok(Opened { seat, domain: guest.name.clone(), output, input, news })
}

/// The console of that name, as libvirt (`serial0`) or QEMU (`serial-0`) has it, or the first that can be typed into:
/// serial ports before others. The error names those that there are.
fn choose(chardevs: &[Chardev], wanted: Option<&str>) -> Result<(String, Place), Vec<String>> {
    let plain = |name: &str| name.replace('-', "");
    let mut usable: Vec<(String, Place)> = chardevs
        .iter()
        .filter(|chardev| ["serial-", "console-"].iter().any(|begin| chardev.label.starts_with(begin)))
        .filter_map(|chardev| Some((plain(&chardev.label), Place::of(chardev.filename.as_deref()?)?)))
        .collect();
    usable.sort_by_key(|(name, _)| (name.starts_with("console"), name.clone()));
    let fits = |(name, _): &(String, Place)| wanted.is_none_or(|wanted| plain(wanted) == *name);
    let chosen = usable.iter().find(|console| fits(console)).cloned();
    chosen.ok_or_else(|| usable.into_iter().map(|(name, _)| name).collect())
}

impl Opened {
    /// Carries bytes until either side ends, and says why it ended.
    pub(crate) async fn carry(mut self, mut socket: WebSocket) {
        let mut bytes = vec![0; CONSOLE_BYTES];
        // A guest that reads nothing must not keep its own words from being heard.
        let mut untyped = Bytes::new();
        let why = loop {
            tokio::select! {
                () = self.seat.taken_over.cancelled() => break Some("somebody else took the console over".to_owned()),
                read = self.output.read(&mut bytes) => match read {
                    Ok(length @ 1..) => {
                        let message = Message::Binary(bytes[..length].to_vec().into());
                        // Whoever takes nothing holds up the guest, which writes to this console.
                        match timeout(CONSOLE_STALL_TIMEOUT, socket.send(message)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(_)) | Err(_) => break None,
                        }
                    }
                    Ok(0) | Err(_) => break Some(self.ending().await),
                },
                written = self.input.write(&untyped), if !untyped.is_empty() => match written {
                    Ok(length) => untyped.advance(length),
                    Err(_) => break Some(self.ending().await),
                },
                typed = socket.recv(), if untyped.is_empty() => match typed {
                    Some(Ok(Message::Binary(typed))) => untyped = typed,
                    Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break None,
                },
            }
        };
        if let Some(why) = why {
            let farewell = async {
                socket.send(Message::Text(why.into())).await?;
                let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
                socket.send(Message::Close(Some(close))).await
            };
            if timeout(CONSOLE_STALL_TIMEOUT, farewell).await.is_err() {
                tracing::debug!(domain = self.domain, "nobody heard why the console ended");
            }
        }
    }

    /// QEMU has closed its end: waits until it is known what became of the guest.
    async fn ending(&mut self) -> String {
        let (uuid, domain) = (self.seat.console.0, &self.domain);
        let ended = async {
            while let Some(event) = self.news.next().await {
                let detail = event.detail.unwrap_or_default();
                match event.event {
                    EventKind::Moved if event.uuid == uuid => return format!("{domain} has moved {detail}"),
                    EventKind::Stopped | EventKind::Crashed | EventKind::Lost if event.uuid == uuid => {
                        return format!("{domain} is shut off: {detail}");
                    }
                    _other => {}
                }
            }
            format!("the console of {domain} was closed")
        };
        let unknown = format!("QEMU closed the console of {domain}");
        timeout(CONSOLE_END_TIMEOUT, ended).await.unwrap_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use qemu::command::Chardev;
    use uuid::Uuid;

    use super::{Consoles, choose};

    fn chardev(label: &str, filename: &str) -> Chardev {
        Chardev { label: label.into(), filename: Some(filename.into()), frontend_open: true }
    }

    #[track_caller]
    fn check(wanted: Option<&str>, expect: Result<&str, &[&str]>) {
        let chardevs = [
            chardev("qmp", "unix:/run/qmp.sock,server=on"),
            chardev("console-1", "pty:/dev/pts/5"),
            chardev("serial-1", "pty:/dev/pts/4"),
            chardev("serial-0", "file"),
        ];
        let chosen = choose(&chardevs, wanted).map(|(name, _)| name);
        let expect =
            expect.map(str::to_owned).map_err(|known| known.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(chosen, expect);
    }

    #[test]
    fn the_console_wanted_is_found_or_those_that_there_are_are_named() {
        check(None, Ok("serial1"));
        check(Some("serial1"), Ok("serial1"));
        check(Some("console-1"), Ok("console1"));
        check(Some("serial0"), Err(&["serial1", "console1"]));
        check(Some("qmp"), Err(&["serial1", "console1"]));
    }

    #[test]
    fn one_person_at_a_time_unless_by_force() {
        let consoles = Consoles::default();
        let console = || (Uuid::nil(), "serial0".to_owned());
        let first = consoles.sit(console(), false).expect("is free");
        assert!(consoles.sit(console(), false).is_none());
        let second = consoles.sit(console(), true).expect("is taken over");
        assert!(first.taken_over.is_cancelled());
        // Who was sent away does not free the seat of who came after.
        drop(first);
        assert!(consoles.sit(console(), false).is_none());
        drop(second);
        assert!(consoles.sit(console(), false).is_some());
    }
}
