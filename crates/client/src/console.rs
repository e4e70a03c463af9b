//! A domain's console over an agent's WebSocket. It knows nothing of terminals. Main type: [`Console`].

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::client::{Call, segment};
use crate::connection::Connection;
use crate::domains::path;
use crate::limits::CONSOLE_MESSAGE_BYTES_MAX;
use crate::{Client, ClientError};

/// An open console; it is left when this is dropped.
pub struct Console {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    // Whatever carries the bytes, such as ssh, lives as long as this.
    _connection: Connection,
}

/// What comes out of a console.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// What the guest wrote.
    Bytes(Bytes),
    /// The guest's side has ended, and why; nothing comes after it.
    Ended(String),
    /// The connection to the agent has ended, and how; nothing comes after it.
    Broken(String),
}

impl Client {
    /// `GET /domains/{domain}/console`: opens the console `devname`, or the first one; by force also where somebody
    /// else is at it.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
    pub async fn console(
        &self,
        domain: &str,
        devname: Option<&str>,
        force: bool,
    ) -> Result<Console, ClientError> {
        let devname = devname.map(|name| format!("&devname={}", segment(name))).unwrap_or_default();
        let call = Call::get(path(domain, &format!("/console?force={force}{devname}")));
        let (connection, upgraded) = self.upgrade(call).await?;
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        Ok(Console { socket, _connection: connection })
    }
}

impl Console {
    /// The next that comes out. Cancel safe.
    pub async fn hear(&mut self) -> Heard {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Heard::Bytes(bytes),
                Some(Ok(Message::Text(why))) => return Heard::Ended(why.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => {
                    return Heard::Broken("the agent closed it".to_owned());
                }
                Some(Err(error)) => return Heard::Broken(error.to_string()),
            }
        }
    }

    /// Types bytes. Where that fails, [`Console::hear`] says why.
    pub async fn type_in(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(CONSOLE_MESSAGE_BYTES_MAX) {
            if let Err(error) = self.socket.send(Message::Binary(Bytes::copy_from_slice(part))).await {
                tracing::debug!(%error, "a console took nothing more");
                return;
            }
        }
    }

    /// Leaves it in order.
    pub async fn leave(mut self) {
        if let Err(error) = self.socket.close(None).await {
            tracing::debug!(%error, "a console was closed already");
        }
    }
}
