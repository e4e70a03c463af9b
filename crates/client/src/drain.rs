//! Endpoints of an agent about emptying its host, and what agents ask each other for it.

use api::{Drain, DrainRequest, Room, StopDrain, Turn};
use futures_util::stream::Stream;
use uuid::Uuid;

use crate::client::Call;
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `POST /drain`: begins to move every domain that runs on the agent's host to others.
    pub async fn drain(&self, request: &DrainRequest) -> Result<Drain, ClientError> {
        self.json(Call::post("/drain").body(request)).await
    }

    /// `GET /drain/events`: the whole table whenever it has changed, a few times a second at most. Ends after the one that
    /// says that it has ended.
    pub fn drain_events(&self) -> impl Stream<Item = Result<Drain, ClientError>> + Send + use<> {
        self.events("/drain/events".to_owned(), |drain: &Drain| drain.ended)
    }

    /// `POST /drain/stop`: no further domain is begun with.
    pub async fn stop_drain(&self, stop: StopDrain) -> Result<(), ClientError> {
        self.done(Call::post("/drain/stop").body(&stop)).await
    }

    /// `GET /agent/room`: what a host has for further domains. The caller bounds it.
    pub async fn room(&self) -> Result<Room, ClientError> {
        self.json(Call::get("/agent/room").between_agents()).await
    }

    /// `POST /agent/migrations/{id}/turn`: whether what the domain has may go over now.
    pub async fn await_turn(&self, id: Uuid) -> Result<Turn, ClientError> {
        self.json(Call::post(format!("/agent/migrations/{id}/turn")).between_agents()).await
    }
}
