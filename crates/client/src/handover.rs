//! Endpoints that one agent asks of another during a migration. Every request and reply carries the version of
//! the conversation; another version is an error before the body is looked at. Nothing here is repeated, least of
//! all a pledge. The order of the calls is in [`api`]'s handover types.

use api::{
    CheckOffer, Listening, Offer, Pledge, Protocols, Settlement, TargetFacts, TargetStatus, Ticket, Verdict,
    Verified,
};
use uuid::Uuid;

use crate::client::Call;
use crate::limits::{
    ABANDON_WITHIN, CHECK_WITHIN, LISTEN_WITHIN, OFFER_WITHIN, PLEDGE_WITHIN, TARGET_STATUS_WITHIN,
};
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `POST /agent/checks`: asks a host what a domain would find there. It changes nothing.
    pub async fn facts(&self, offer: &CheckOffer) -> Result<TargetFacts, ClientError> {
        let call = Call::post("/agent/checks").body(offer).within(CHECK_WITHIN);
        self.json(call.between_agents()).await
    }

    /// `POST /agent/migrations`: asks a target to make room for a domain. One that is shut off, or takes files along, is not
    /// offered to an agent that speaks no version with such: [`ClientError::ProtocolVersion`].
    pub async fn offer(&self, offer: &Offer) -> Result<Ticket, ClientError> {
        let call = Call::post("/agent/migrations").body(offer).within(OFFER_WITHIN);
        let takes_along = offer.offline || !offer.files.is_empty();
        let oldest = if takes_along { Protocols::COPIES } else { Protocols::OURS.oldest };
        self.json(call.between_agents().since(oldest)).await
    }

    /// `GET /agent/migrations/{id}`: whether the target is still there.
    pub async fn target_status(&self, id: Uuid) -> Result<TargetStatus, ClientError> {
        let call = Call::get(format!("/agent/migrations/{id}")).within(TARGET_STATUS_WITHIN);
        self.json(call.between_agents()).await
    }

    /// `POST /agent/migrations/{id}/pledge`: the source's irrevocable word. It is sent at most once by each call.
    /// An error of which [`ClientError::may_have_arrived`] says `true` decides nothing: the migration is in doubt.
    /// Call [`Client::connect`] beforehand, so that no handshake lies in the blackout.
    pub async fn pledge(&self, id: Uuid, token: Uuid) -> Result<Verdict, ClientError> {
        self.give(id, Pledge { token, nothing_left: false }).await
    }

    /// The pledge once more, of a source that has nothing left to serve the guest with.
    pub async fn nothing_left(&self, id: Uuid, token: Uuid) -> Result<Verdict, ClientError> {
        self.give(id, Pledge { token, nothing_left: true }).await
    }

    async fn give(&self, id: Uuid, pledge: Pledge) -> Result<Verdict, ClientError> {
        let call = Call::post(format!("/agent/migrations/{id}/pledge")).body(&pledge).within(PLEDGE_WITHIN);
        self.json(call.between_agents()).await
    }

    /// `POST /agent/migrations/{id}/listen`: asks a target whose connection for memory is broken for a new address.
    pub async fn listen_again(&self, id: Uuid, token: Uuid) -> Result<Listening, ClientError> {
        let pledge = Pledge { token, nothing_left: false };
        let call = Call::post(format!("/agent/migrations/{id}/listen")).body(&pledge).within(LISTEN_WITHIN);
        self.json(call.between_agents()).await
    }

    /// `DELETE /agent/migrations/{id}`: the domain stays on the source; the target gives everything back and says
    /// whether the guest ever ran there.
    pub async fn abandon(&self, id: Uuid) -> Result<Verdict, ClientError> {
        let call = Call::delete(format!("/agent/migrations/{id}")).within(ABANDON_WITHIN);
        self.json(call.between_agents()).await
    }

    /// `GET /agent/migrations/{id}/verified`: what the target sees of a domain that has moved. The caller bounds it.
    pub async fn verified(&self, id: Uuid) -> Result<Verified, ClientError> {
        self.json(Call::get(format!("/agent/migrations/{id}/verified")).between_agents()).await
    }

    /// `GET /agent/migrations/{id}/settlement`: asked of the source by a target that has lost its memory of it.
    pub async fn settlement(&self, id: Uuid) -> Result<Settlement, ClientError> {
        self.json(Call::get(format!("/agent/migrations/{id}/settlement")).between_agents()).await
    }
}
