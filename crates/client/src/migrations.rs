//! Endpoints of an agent about migrations, and the stream of a migration's events. One method an endpoint, no
//! decisions.

use api::{Migration, MigrationEvent, MigrationRequest, MigrationStarted, ResolveAs, ResolveRequest};
use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;
use uuid::Uuid;

use crate::client::Call;
use crate::connection::Connection;
use crate::domains::path;
use crate::events::Parser;
use crate::limits::{EVENT_BYTES_MAX, EVENTS_SILENCE, MIGRATE_WITHIN};
use crate::{Client, ClientError, ProtocolError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `POST /domains/{domain}/migrations`: checks everything on both hosts and begins. The answer comes before
    /// any memory moves; the rest is in [`Client::migration_events`].
    pub async fn migrate(
        &self,
        domain: &str,
        request: &MigrationRequest,
    ) -> Result<MigrationStarted, ClientError> {
        self.json(Call::post(path(domain, "/migrations")).body(request).within(MIGRATE_WITHIN)).await
    }

    /// `GET /migrations`: all that this host took part in.
    pub async fn migrations(&self) -> Result<Vec<Migration>, ClientError> {
        self.json(Call::get("/migrations")).await
    }

    /// `GET /migrations/{id}`.
    pub async fn migration(&self, id: Uuid) -> Result<Migration, ClientError> {
        self.json(Call::get(format!("/migrations/{id}"))).await
    }

    /// `POST /migrations/{id}/cancel`: asks the source to keep the domain. The migration's end tells whether that
    /// was still possible.
    pub async fn cancel_migration(&self, id: Uuid) -> Result<(), ClientError> {
        self.done(Call::post(format!("/migrations/{id}/cancel"))).await
    }

    /// `POST /migrations/{id}/resolve`: an operator's word about a migration in doubt.
    pub async fn resolve_migration(&self, id: Uuid, word: ResolveAs) -> Result<Migration, ClientError> {
        self.json(Call::post(format!("/migrations/{id}/resolve")).body(&ResolveRequest { word })).await
    }

    /// `GET /migrations/{id}/events`: everything that has happened to a migration and that happens from now on,
    /// in order. Ends after [`MigrationEvent::Ended`]; a stream that breaks off sooner gives an error, and asking
    /// again replays it from the beginning. Dropping the stream closes its connection and disturbs nothing.
    ///
    /// After an error the stream has ended.
    pub fn migration_events(
        &self,
        id: Uuid,
    ) -> impl Stream<Item = Result<MigrationEvent, ClientError>> + Send + use<> {
        try_unfold(Events::Asked { client: self.clone(), id }, Events::next)
    }
}

/// Where a stream of events stands.
enum Events {
    Asked { client: Client, id: Uuid },
    Open { client: Client, connection: Connection, body: Incoming, parser: Box<Parser> },
    Ended,
}

impl Events {
    async fn next(self) -> Result<Option<(MigrationEvent, Self)>, ClientError> {
        let (client, connection, mut body, mut parser) = match self {
            Self::Asked { client, id } => {
                let (connection, body) = client.stream(Call::get(format!("/migrations/{id}/events"))).await?;
                (client, connection, body, Box::new(Parser::default()))
            }
            Self::Open { client, connection, body, parser } => (client, connection, body, parser),
            Self::Ended => return Ok(None),
        };
        loop {
            if let Some(data) = parser.next() {
                let event = serde_json::from_slice(&data).map_err(|source| {
                    client.protocol(ProtocolError::Body { request: "an event".to_owned(), source })
                })?;
                let next = match &event {
                    MigrationEvent::Ended(_) => Self::Ended,
                    MigrationEvent::Phase { .. }
                    | MigrationEvent::Note { .. }
                    | MigrationEvent::Progress(_) => Self::Open { client, connection, body, parser },
                };
                return Ok(Some((event, next)));
            }
            let piece = read_piece(&client, &mut body).await?;
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
