//! Endpoints of an agent about devices that come and go. One method an endpoint, no decisions.

use api::{AttachRequest, DetachRequest, Domain, MediaRequest};

use crate::client::Call;
use crate::domains::path;
use crate::limits::DEVICE_WITHIN;
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
impl Client {
    /// `POST /domains/{domain}/devices`.
    pub async fn attach(&self, domain: &str, request: &AttachRequest) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/devices")).body(request).within(DEVICE_WITHIN)).await
    }

    /// `POST /domains/{domain}/devices/detach`: answered when the guest has let go of it, or has not.
    pub async fn detach(&self, domain: &str, request: &DetachRequest) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/devices/detach")).body(request).within(DEVICE_WITHIN)).await
    }

    /// `POST /domains/{domain}/media`.
    pub async fn change_media(&self, domain: &str, request: &MediaRequest) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/media")).body(request).within(DEVICE_WITHIN)).await
    }
}
