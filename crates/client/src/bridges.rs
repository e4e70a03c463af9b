//! Endpoints of an agent about its host's bridges. One method an endpoint, no decisions.

use std::time::Duration;

use api::{Bridge, BridgeRequest};

use crate::client::{Call, segment};
use crate::limits::BRIDGE_WITHIN;
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `GET /bridges`: all of the host, by name.
    pub async fn bridges(&self) -> Result<Vec<Bridge>, ClientError> {
        self.json(Call::get("/bridges")).await
    }

    /// `POST /bridges`: answers when the bridge has taken its uplink's place, or it has been undone.
    pub async fn create_bridge(&self, request: &BridgeRequest) -> Result<Bridge, ClientError> {
        let within = BRIDGE_WITHIN + Duration::from_millis(request.confirm_within_ms);
        self.json(Call::post("/bridges").body(request).within(within)).await
    }

    /// `POST /agent/bridges`: one agent asks another.
    pub async fn order_bridge(&self, request: &BridgeRequest) -> Result<Bridge, ClientError> {
        self.json(Call::post("/agent/bridges").body(request).within(BRIDGE_WITHIN).between_agents()).await
    }

    /// `POST /bridges/{bridge}/confirm`: it stays.
    pub async fn confirm_bridge(&self, name: &str) -> Result<Bridge, ClientError> {
        self.json(Call::post(format!("/bridges/{}/confirm", segment(name)))).await
    }

    /// `DELETE /bridges/{bridge}`: its uplink takes back what it carried.
    pub async fn delete_bridge(&self, name: &str) -> Result<(), ClientError> {
        self.done(Call::delete(format!("/bridges/{}", segment(name))).within(BRIDGE_WITHIN)).await
    }
}
