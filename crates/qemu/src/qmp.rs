//! QMP client over a Unix socket: commands out, replies and events in.
//!
//! ```text
//! execute ──► waiters[id] ──► queue ──► writer task ──► socket (SCM_RIGHTS)
//!    ▲                                                     │
//!    └──────── oneshot ◄── waiters[id] ◄── reader task ◄───┘
//!                                              └──► broadcast: events
//! ```
//!
//! Replies may come in any order. A caller that is dropped or times out takes its waiter along; the reply that comes
//! later is dropped, and the stream goes on. It knows no command by name except the handshake, and never reconnects:
//! when QEMU closes the socket, every waiter gets [`QmpError::Gone`]. The main type is [`Qmp`].

pub mod codec;

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{OwnedMutexGuard, broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

pub use self::codec::{CodecError, Event, Failure};
use self::codec::{Decoder, Message, encode};
use crate::command::Command;
use crate::limits;

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU understood and said no.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// QAPI name of the command.
        command: String,
        /// QAPI `QapiErrorClass`, such as `GenericError` or `CommandNotFound`.
        class: String,
        /// QEMU's own words.
        description: String,
    },
    /// The connection is closed: QEMU ended or was killed.
    #[error("QEMU is gone: its QMP connection is closed")]
    Gone,
    /// No reply in time. QEMU may still carry the command out.
    #[error("QEMU did not answer {command} within {after:?}")]
    TimedOut {
        /// QAPI name of the command.
        command: String,
        /// How long was waited.
        after: Duration,
    },
    /// QEMU answered in a form that does not fit the command.
    #[error("QEMU's answer to {command} has an unexpected form")]
    Protocol {
        /// QAPI name of the command.
        command: String,
        /// What did not fit.
        #[source]
        source: serde_json::Error,
    },
    /// More file descriptors than a message can carry.
    #[error("{count} file descriptors do not fit one QMP command, which takes {limit}")]
    TooManyFds {
        /// How many were given.
        count: usize,
        /// How many fit.
        limit: usize,
    },
}

impl QmpError {
    /// Whether QEMU does not know the command.
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, Self::Refused { class, .. } if class == "CommandNotFound")
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket did not take the connection.
    #[error("no connection to the QMP socket")]
    Socket(#[source] io::Error),
    /// QEMU did not greet; another client may hold the monitor, which serves one at a time.
    #[error("QEMU sent no QMP greeting within {after:?}; another client may be connected")]
    Silent {
        /// How long was waited.
        after: Duration,
    },
    /// The first line was something else.
    #[error("the QMP socket did not open with a greeting")]
    NoGreeting(#[source] Option<CodecError>),
    /// `qmp_capabilities` failed.
    #[error("the QMP handshake failed")]
    Handshake(#[source] QmpError),
}

/// A QMP connection; clones share it. It closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Qmp {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    next_id: AtomicU64,
    out_of_band: bool,
    /// Held from the sending of descriptors until the reply: QEMU keeps only the descriptors it received last.
    passing_fds: Arc<tokio::sync::Mutex<()>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the callers and the two tasks share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    waiters: HashMap<u64, Waiter>,
    /// `None` once the connection is closed, so that receivers see the end.
    events: Option<broadcast::Sender<Event>>,
}

#[derive(Debug)]
struct Waiter {
    reply: oneshot::Sender<Result<Value, Failure>>,
    /// Freed when the reply is there, even if nobody waits for it any more.
    passing_fds: Option<OwnedMutexGuard<()>>,
}

#[derive(Debug)]
struct Outgoing {
    line: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, message: Message) {
        match message {
            Message::Greeting { .. } => tracing::warn!("QEMU greeted twice on one QMP connection"),
            Message::Event(event) => {
                tracing::debug!(event = event.name, data = %event.data, "QMP event");
                if let Some(events) = &self.state().events {
                    // An error only means that nobody listens.
                    let _ = events.send(event);
                }
            }
            Message::Reply { id, outcome } => {
                let waiter = id.and_then(|id| self.state().waiters.remove(&id));
                let late = match waiter {
                    Some(waiter) => waiter.reply.send(outcome).is_err(),
                    None => true,
                };
                if late {
                    tracing::debug!(id, "QMP reply that nobody waits for");
                }
            }
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.waiters.clear();
        state.events = None;
        drop(state);
        self.closed.send_replace(true);
    }
}

/// Forgets a waiter when its caller is dropped. A waiter that guards descriptors stays until its reply.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.waiters.get(&self.id).is_some_and(|waiter| waiter.passing_fds.is_none()) {
            state.waiters.remove(&self.id);
        }
    }
}

impl Qmp {
    /// Takes a fresh connection through greeting and `qmp_capabilities`; out-of-band execution is switched on where
    /// QEMU offers it.
    pub async fn connect(stream: UnixStream) -> Result<Self, ConnectError> {
        let mut decoder = Decoder::new(limits::QMP_LINE_BYTES_MAX);
        let after = limits::QMP_GREETING_TIMEOUT;
        let offered = tokio::time::timeout(after, greeting(&stream, &mut decoder))
            .await
            .map_err(|_| ConnectError::Silent { after })??;
        let out_of_band = offered.iter().any(|name| name == "oob");

        let stream = Arc::new(stream);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiters: HashMap::new(),
                events: Some(broadcast::Sender::new(limits::QMP_EVENT_QUEUE)),
            }),
            closed: watch::Sender::new(false),
        });
        let (outgoing, queue) = mpsc::channel(limits::QMP_SEND_QUEUE);
        let reader = tokio::spawn(read(Arc::clone(&stream), decoder, Arc::clone(&shared)));
        let writer = tokio::spawn(write(stream, queue, Arc::clone(&shared)));
        let tasks = [reader.abort_handle(), writer.abort_handle()];
        let passing_fds = Arc::default();
        let next_id = AtomicU64::new(1);
        let qmp =
            Self { inner: Arc::new(Inner { shared, outgoing, next_id, out_of_band, passing_fds, tasks }) };

        let enable = if out_of_band { json!(["oob"]) } else { json!([]) };
        qmp.execute_value("qmp_capabilities", json!({ "enable": enable }))
            .await
            .map_err(ConnectError::Handshake)?;
        Ok(qmp)
    }

    /// Sends a command and waits for its reply, at most [`limits::QMP_REPLY_TIMEOUT`].
    ///
    /// Dropping the future does not take the command back: QEMU may carry it out.
    pub async fn execute<C: Command>(&self, command: C) -> Result<C::Reply, QmpError> {
        self.execute_within(command, limits::QMP_REPLY_TIMEOUT).await
    }

    /// [`Qmp::execute`] with a time-out of the caller's.
    pub async fn execute_within<C: Command>(
        &self,
        command: C,
        within: Duration,
    ) -> Result<C::Reply, QmpError> {
        let arguments = arguments_of(&command)?;
        let sending = Sending { name: C::NAME, arguments, fds: Vec::new(), out_of_band: false, within };
        typed(C::NAME, self.send(sending).await?)
    }

    /// Sends a command that QEMU runs at once, past those that wait (`exec-oob`): `yank`, `migrate-pause`,
    /// `migrate-recover`. Where QEMU offers no out-of-band execution it is sent like any other.
    pub async fn execute_oob<C: Command>(&self, command: C) -> Result<C::Reply, QmpError> {
        let arguments = arguments_of(&command)?;
        let within = limits::QMP_REPLY_TIMEOUT;
        let out_of_band = self.inner.out_of_band;
        let sending = Sending { name: C::NAME, arguments, fds: Vec::new(), out_of_band, within };
        typed(C::NAME, self.send(sending).await?)
    }

    /// Sends a command together with file descriptors (`getfd`, `add-fd`). They are closed here once sent.
    pub async fn execute_with_fds<C: Command>(
        &self,
        command: C,
        fds: Vec<OwnedFd>,
    ) -> Result<C::Reply, QmpError> {
        if fds.len() > limits::QMP_FDS_MAX {
            return Err(QmpError::TooManyFds { count: fds.len(), limit: limits::QMP_FDS_MAX });
        }
        let arguments = arguments_of(&command)?;
        let within = limits::QMP_REPLY_TIMEOUT;
        let sending = Sending { name: C::NAME, arguments, fds, out_of_band: false, within };
        typed(C::NAME, self.send(sending).await?)
    }

    /// Sends a command by name; `arguments` is its argument object, or `Null` for none.
    pub async fn execute_value(&self, name: &str, arguments: Value) -> Result<Value, QmpError> {
        let within = limits::QMP_REPLY_TIMEOUT;
        self.send(Sending { name, arguments, fds: Vec::new(), out_of_band: false, within }).await
    }

    /// Events from now on. Take the receiver *before* sending the command whose events matter.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        match &self.inner.shared.state().events {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// Resolves when the connection is closed. Cancel safe.
    pub async fn closed(&self) {
        // The sender lives as long as `self`, so the wait ends only with the value.
        let _ = self.inner.shared.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        *self.inner.shared.closed.borrow()
    }

    async fn send(&self, sending: Sending<'_>) -> Result<Value, QmpError> {
        let Sending { name, arguments, fds, out_of_band, within } = sending;
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let timed_out = || QmpError::TimedOut { command: name.to_owned(), after: within };
        tokio::time::timeout(within, self.exchange(id, name, &arguments, fds, out_of_band))
            .await
            .map_err(|_| timed_out())?
    }

    async fn exchange(
        &self,
        id: u64,
        name: &str,
        arguments: &Value,
        fds: Vec<OwnedFd>,
        out_of_band: bool,
    ) -> Result<Value, QmpError> {
        let shared = &self.inner.shared;
        let passing_fds = match fds.is_empty() {
            true => None,
            false => Some(Arc::clone(&self.inner.passing_fds).lock_owned().await),
        };
        let line = encode(name, arguments, id, out_of_band);
        tracing::trace!(id, command = name, "QMP command");
        let room = self.inner.outgoing.reserve().await.map_err(|_| QmpError::Gone)?;
        let (reply, answered) = oneshot::channel();
        let _forget = {
            let mut state = shared.state();
            if state.events.is_none() {
                return Err(QmpError::Gone);
            }
            state.waiters.insert(id, Waiter { reply, passing_fds });
            Forget { shared, id }
        };
        room.send(Outgoing { line, fds });
        answered.await.map_err(|_| QmpError::Gone)?.map_err(|failure| QmpError::Refused {
            command: name.to_owned(),
            class: failure.class,
            description: failure.description,
        })
    }
}

struct Sending<'a> {
    name: &'a str,
    arguments: Value,
    fds: Vec<OwnedFd>,
    out_of_band: bool,
    within: Duration,
}

fn arguments_of<C: Command>(command: &C) -> Result<Value, QmpError> {
    serde_json::to_value(command).map_err(|source| QmpError::Protocol { command: C::NAME.to_owned(), source })
}

fn typed<R: serde::de::DeserializeOwned>(name: &str, value: Value) -> Result<R, QmpError> {
    serde_json::from_value(value).map_err(|source| QmpError::Protocol { command: name.to_owned(), source })
}

async fn greeting(stream: &UnixStream, decoder: &mut Decoder) -> Result<Vec<String>, ConnectError> {
    let mut buffer = vec![0; limits::QMP_READ_BYTES];
    loop {
        match decoder.next_message() {
            Some(Ok(Message::Greeting { capabilities })) => return Ok(capabilities),
            Some(Ok(Message::Reply { .. } | Message::Event(_))) => {
                return Err(ConnectError::NoGreeting(None));
            }
            Some(Err(error)) => return Err(ConnectError::NoGreeting(Some(error))),
            None => {}
        }
        match receive(stream, &mut buffer).await.map_err(ConnectError::Socket)? {
            0 => return Err(ConnectError::NoGreeting(None)),
            count => decoder.push(&buffer[..count]),
        }
    }
}

async fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

/// The reader task: everything that comes in, until the end of the stream.
async fn read(stream: Arc<UnixStream>, mut decoder: Decoder, shared: Arc<Shared>) {
    let mut buffer = vec![0; limits::QMP_READ_BYTES];
    loop {
        while let Some(message) = decoder.next_message() {
            match message {
                Ok(message) => shared.deliver(message),
                Err(error) => tracing::warn!(%error, "dropped a line from QEMU"),
            }
        }
        match receive(&stream, &mut buffer).await {
            Ok(0) => break,
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) => {
                tracing::debug!(%error, "QMP socket failed");
                break;
            }
        }
    }
    shared.close();
}

/// The writer task: whole lines in order, so that a dropped caller never leaves half of one.
async fn write(stream: Arc<UnixStream>, mut queue: mpsc::Receiver<Outgoing>, shared: Arc<Shared>) {
    while let Some(Outgoing { line, fds }) = queue.recv().await {
        if let Err(error) = send_all(&stream, &line, &fds).await {
            tracing::debug!(%error, "QMP socket failed");
            shared.close();
            return;
        }
    }
}

async fn send_all(stream: &UnixStream, line: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let mut sent = 0;
    while sent < line.len() {
        // Descriptors go with the first byte only.
        let fds = if sent == 0 { fds } else { &[] };
        sent += stream.async_io(Interest::WRITABLE, || send_some(stream, &line[sent..], fds)).await?;
    }
    Ok(())
}

fn send_some(stream: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<usize> {
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::QMP_FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
        debug_assert!(fits, "the space is sized for QMP_FDS_MAX");
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests;
