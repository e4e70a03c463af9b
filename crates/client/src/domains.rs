//! Endpoints of an agent about its domains, its host and itself. One method an endpoint, no decisions.

use std::time::Duration;

use api::{
    AutostartRequest, DefineRequest, Domain, EditRequest, Host, InstallRequest, Nvram, RebootRequest,
    RenameRequest, ShutdownRequest, SizeRequest, Statistics, Version,
};

use crate::client::{Call, segment};
use crate::limits::{SHUTDOWN_SLACK, START_WITHIN};
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`]. A domain is given
/// by its name or its UUID.
impl Client {
    /// `GET /version`.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.json(Call::get("/version")).await
    }

    /// `GET /host`.
    pub async fn host(&self) -> Result<Host, ClientError> {
        self.json(Call::get("/host")).await
    }

    /// `GET /openapi.json`: the description of the whole interface.
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.json(Call::get("/openapi.json")).await
    }

    /// `GET /domains`: those with a QEMU process, or with `all` every one that is defined.
    pub async fn domains(&self, all: bool) -> Result<Vec<Domain>, ClientError> {
        self.json(Call::get(format!("/domains?all={all}"))).await
    }

    /// `POST /domains`: defines a domain from libvirt domain XML.
    pub async fn define(&self, xml: impl Into<String>) -> Result<Domain, ClientError> {
        let request = DefineRequest { xml: xml.into(), transient: false };
        self.json(Call::post("/domains").body(&request)).await
    }

    /// `POST /domains`: starts a domain from libvirt domain XML that is not kept.
    pub async fn create(&self, xml: impl Into<String>) -> Result<Domain, ClientError> {
        let request = DefineRequest { xml: xml.into(), transient: true };
        self.json(Call::post("/domains").body(&request).within(START_WITHIN)).await
    }

    /// `POST /installs`: makes and starts a new domain.
    pub async fn install(&self, request: &InstallRequest) -> Result<Domain, ClientError> {
        self.json(Call::post("/installs").body(request).within(START_WITHIN)).await
    }

    /// `GET /domains/{domain}/statistics`: what its QEMU, its taps and its disks have counted.
    pub async fn statistics(&self, domain: &str) -> Result<Statistics, ClientError> {
        self.json(Call::get(path(domain, "/statistics"))).await
    }

    /// `GET /domains/{domain}`.
    pub async fn domain(&self, domain: &str) -> Result<Domain, ClientError> {
        self.json(Call::get(path(domain, ""))).await
    }

    /// `DELETE /domains/{domain}`: forgets the definition. What becomes of its UEFI variables must be said where it has
    /// some.
    pub async fn undefine(&self, domain: &str, nvram: Option<Nvram>) -> Result<(), ClientError> {
        let query = match nvram {
            None => "",
            Some(Nvram::Remove) => "?nvram=remove",
            Some(Nvram::Keep) => "?nvram=keep",
        };
        self.done(Call::delete(path(domain, query))).await
    }

    /// `GET /domains/{domain}/xml`: the definition, byte for byte.
    pub async fn xml(&self, domain: &str) -> Result<String, ClientError> {
        self.text(Call::get(path(domain, "/xml"))).await
    }

    /// `GET /domains/{domain}/xml?inactive=true`: the definition for its next start, byte for byte.
    pub async fn inactive_xml(&self, domain: &str) -> Result<String, ClientError> {
        self.text(Call::get(path(domain, "/xml?inactive=true"))).await
    }

    /// `PUT /domains/{domain}/xml`: replaces the definition for its next start, where that still is `replaces`.
    pub async fn edit(
        &self,
        domain: &str,
        xml: impl Into<String>,
        replaces: impl Into<String>,
    ) -> Result<Domain, ClientError> {
        let request = EditRequest { xml: xml.into(), replaces: replaces.into() };
        self.json(Call::put(path(domain, "/xml")).body(&request)).await
    }

    /// `POST /domains/{domain}/size`: other vCPUs or memory from the next start on.
    pub async fn resize(&self, domain: &str, size: &SizeRequest) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/size")).body(size)).await
    }

    /// `POST /domains/{domain}/autostart`: whether it starts when its host boots.
    pub async fn autostart(&self, domain: &str, enabled: bool) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/autostart")).body(&AutostartRequest { enabled })).await
    }

    /// `POST /domains/{domain}/rename`.
    pub async fn rename(&self, domain: &str, name: impl Into<String>) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/rename")).body(&RenameRequest { name: name.into() })).await
    }

    /// `POST /domains/{domain}/start`.
    pub async fn start(&self, domain: &str) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/start")).within(START_WITHIN)).await
    }

    /// `POST /domains/{domain}/shutdown`: asks the guest to power itself off and waits up to `wait`, in whole
    /// seconds; zero asks and does not wait.
    pub async fn shutdown(&self, domain: &str, wait: Duration) -> Result<Domain, ClientError> {
        let request = ShutdownRequest { timeout_s: wait.as_secs() };
        let call = Call::post(path(domain, "/shutdown")).body(&request);
        self.json(call.within(wait.saturating_add(SHUTDOWN_SLACK))).await
    }

    /// `POST /domains/{domain}/reboot`: asks the guest to shut itself down, boots it again, and waits up to `wait` for
    /// that, in whole seconds; zero asks and does not wait.
    pub async fn reboot(&self, domain: &str, wait: Duration) -> Result<Domain, ClientError> {
        let request = RebootRequest { timeout_s: wait.as_secs() };
        let call = Call::post(path(domain, "/reboot")).body(&request);
        self.json(call.within(wait.saturating_add(SHUTDOWN_SLACK))).await
    }

    /// `POST /domains/{domain}/reset`: presses the reset button.
    pub async fn reset(&self, domain: &str) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/reset"))).await
    }

    /// `POST /domains/{domain}/destroy`: pulls the plug.
    pub async fn destroy(&self, domain: &str) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/destroy"))).await
    }

    /// `POST /domains/{domain}/suspend`: stops its vCPUs.
    pub async fn suspend(&self, domain: &str) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/suspend"))).await
    }

    /// `POST /domains/{domain}/resume`.
    pub async fn resume(&self, domain: &str) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/resume"))).await
    }
}

pub(crate) fn path(domain: &str, rest: &str) -> String {
    format!("/domains/{}{rest}", segment(domain))
}
