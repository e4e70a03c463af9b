//! Streams of server-sent events, read from an agent one by one. It knows none of the events.

use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::client::Call;
use crate::connection::Connection;
use crate::events::Parser;
use crate::limits::{EVENT_BYTES_MAX, EVENTS_SILENCE};
use crate::{Client, ClientError, ProtocolError};

impl Client {
    /// The events at `path`, until `is_last` finds the last one or the stream breaks off, which is an error. After an
    /// error the stream has ended.
    pub(crate) fn events<T: DeserializeOwned + Send>(
        &self,
        path: String,
        is_last: fn(&T) -> bool,
    ) -> impl Stream<Item = Result<T, ClientError>> + Send + use<T> {
        let client = self.clone();
        try_unfold(Asking::Asked(path), move |asking| {
            let client = client.clone();
            async move { asking.next(&client, is_last).await }
        })
    }
}

/// Where a stream of events stands.
enum Asking {
    Asked(String),
    Open { connection: Connection, body: Incoming, parser: Box<Parser> },
    Ended,
}

impl Asking {
    async fn next<T: DeserializeOwned>(
        self,
        client: &Client,
        is_last: fn(&T) -> bool,
    ) -> Result<Option<(T, Self)>, ClientError> {
        let (connection, mut body, mut parser) = match self {
            Self::Asked(path) => {
                let (connection, body) = client.stream(Call::get(path)).await?;
                (connection, body, Box::new(Parser::default()))
            }
            Self::Open { connection, body, parser } => (connection, body, parser),
            Self::Ended => return Ok(None),
        };
        loop {
            if let Some(data) = parser.next() {
                let event = serde_json::from_slice(&data).map_err(|source| {
                    client.protocol(ProtocolError::Body { request: "an event".to_owned(), source })
                })?;
                let next =
                    if is_last(&event) { Self::Ended } else { Self::Open { connection, body, parser } };
                return Ok(Some((event, next)));
            }
            let piece = read_piece(client, &mut body).await?;
            parser.feed(&piece).map_err(|_too_long| {
                client.protocol(ProtocolError::EventTooLong { limit: EVENT_BYTES_MAX })
            })?;
        }
    }
}

async fn read_piece(client: &Client, body: &mut Incoming) -> Result<Bytes, ClientError> {
    let frame = timeout(EVENTS_SILENCE, body.frame()).await.map_err(|_elapsed| ClientError::TimedOut {
        address: client.address(),
        request: "the next event".to_owned(),
        after: EVENTS_SILENCE,
    })?;
    match frame {
        Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
        Some(Err(error)) => {
            tracing::debug!(%error, "a stream of events broke");
            Err(ClientError::EventsCut { address: client.address() })
        }
        None => Err(ClientError::EventsCut { address: client.address() }),
    }
}
