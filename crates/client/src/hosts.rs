//! Endpoints of an agent about other hosts: tokens, joining, the list; and what agents say to each other about it. One
//! method an endpoint, no decisions.

use api::{
    Admission, Admitted, AgentAddress, Fix, JoinRequest, Joined, KnownHost, Renewal, Renewed, Roster, Token,
    TokenRequest,
};

use crate::client::{Call, segment};
use crate::limits::{JOIN_WITHIN, POOL_WITHIN};
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `GET /hosts`: asks each of them.
    pub async fn hosts(&self) -> Result<Vec<KnownHost>, ClientError> {
        self.json(Call::get("/hosts")).await
    }

    /// `POST /hosts/tokens`.
    pub async fn create_token(&self, request: &TokenRequest) -> Result<Token, ClientError> {
        self.json(Call::post("/hosts/tokens").body(request)).await
    }

    /// `POST /hosts/join`: the agent's host joins another one.
    pub async fn join(&self, request: &JoinRequest) -> Result<Joined, ClientError> {
        self.json(Call::post("/hosts/join").body(request).within(JOIN_WITHIN)).await
    }

    /// `DELETE /hosts/{host}`: its certificates are refused from now on.
    pub async fn remove_host(&self, host: &str) -> Result<(), ClientError> {
        self.done(Call::delete(format!("/hosts/{}", segment(host)))).await
    }

    /// `POST /hosts/{host}/fixes`: has another host make a mend that a check has found.
    pub async fn fix(&self, host: &str, fix: &Fix) -> Result<(), ClientError> {
        let call = Call::post(format!("/hosts/{}/fixes", segment(host)));
        self.done(call.body(fix).within(POOL_WITHIN)).await
    }

    /// `POST /agent/hosts`: a host that has no certificate yet asks for one.
    pub async fn admit(&self, admission: &Admission) -> Result<Admitted, ClientError> {
        self.json(Call::post("/agent/hosts").body(admission).between_agents()).await
    }

    /// `GET /agent/hosts`: all hosts, and what is revoked.
    pub async fn roster(&self) -> Result<Roster, ClientError> {
        self.json(Call::get("/agent/hosts").between_agents()).await
    }

    /// `PUT /agent/hosts`: the issuer hands it over.
    pub async fn hand_roster(&self, roster: &Roster) -> Result<(), ClientError> {
        self.done(Call::put("/agent/hosts").body(roster).between_agents()).await
    }

    /// `PUT /agent/address`: where the asking host is reached now.
    pub async fn relocate(&self, address: &AgentAddress) -> Result<(), ClientError> {
        self.done(Call::put("/agent/address").body(address).between_agents()).await
    }

    /// `POST /agent/certificates`: the next certificate for the same host.
    pub async fn renew(&self, renewal: &Renewal) -> Result<Renewed, ClientError> {
        self.json(Call::post("/agent/certificates").body(renewal).between_agents()).await
    }
}
