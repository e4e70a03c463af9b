//! Endpoints of an agent about migrations. One method an endpoint, no decisions.

use api::{
    Accuracy, CheckReport, CheckRequest, Migration, MigrationEvent, MigrationRequest, MigrationStarted, Plan,
    ResolveAs, ResolveRequest, Settings,
};
use futures_util::stream::Stream;
use uuid::Uuid;

use crate::client::Call;
use crate::domains::path;
use crate::limits::MIGRATE_WITHIN;
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `POST /domains/{domain}/check`: what stands in the way of a migration. It changes nothing.
    pub async fn check(&self, domain: &str, request: &CheckRequest) -> Result<CheckReport, ClientError> {
        self.json(Call::post(path(domain, "/check")).body(request).within(MIGRATE_WITHIN)).await
    }

    /// `POST /domains/{domain}/migrations`: checks everything on both hosts and begins. The answer comes before
    /// any memory moves; the rest is in [`Client::migration_events`].
    pub async fn migrate(
        &self,
        domain: &str,
        request: &MigrationRequest,
    ) -> Result<MigrationStarted, ClientError> {
        self.json(Call::post(path(domain, "/migrations")).body(request).within(MIGRATE_WITHIN)).await
    }

    /// `POST /domains/{domain}/plan`: what a live migration would be like. It changes nothing.
    pub async fn plan(&self, domain: &str, request: &MigrationRequest) -> Result<Plan, ClientError> {
        self.json(Call::post(path(domain, "/plan")).body(request).within(MIGRATE_WITHIN)).await
    }

    /// `GET /report`: how good predictions were.
    pub async fn accuracy(&self) -> Result<Accuracy, ClientError> {
        self.json(Call::get("/report")).await
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

    /// `POST /migrations/{id}/postcopy`: asks the source to hand the guest over now, and to send the rest of its memory
    /// afterwards.
    pub async fn switch_to_postcopy(&self, id: Uuid) -> Result<(), ClientError> {
        self.done(Call::post(format!("/migrations/{id}/postcopy"))).await
    }

    /// `POST /migrations/{id}/settings`: changes what a live migration may do.
    pub async fn set_migration(&self, id: Uuid, settings: &Settings) -> Result<(), ClientError> {
        self.done(Call::post(format!("/migrations/{id}/settings")).body(settings)).await
    }

    /// `POST /migrations/{id}/switchover`: brings a live migration to its end, whatever the blackout.
    pub async fn switch_migration_over(&self, id: Uuid) -> Result<(), ClientError> {
        self.done(Call::post(format!("/migrations/{id}/switchover"))).await
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
        self.events(format!("/migrations/{id}/events"), |event| matches!(event, MigrationEvent::Ended(_)))
    }
}
