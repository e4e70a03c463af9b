//! Hosts that join others: tokens, the list of hosts, and what a host that joins says to the host that holds the CA's
//! key, the *issuer*. Main types: [`Token`], [`JoinRequest`], [`KnownHost`], and between agents [`Admission`] and
//! [`Roster`].

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Neighbour;

/// A text that no log and no error ever shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// `POST /hosts/tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// How long the token lets a host in, in seconds; an hour where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<u64>,
    /// The one host that it lets in; any where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Address and port where this host is reached, where its configuration has no `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// A token: it lets one host join, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// What is said to the host that is to join.
    pub token: Secret,
    /// The host that made it, and that holds the CA's key.
    pub issuer: String,
    /// Its address and port.
    pub address: String,
    /// When the token ends, RFC 3339, by the issuer's clock.
    pub expires_at: String,
    /// SHA-256 of the CA's certificate, in hexadecimal digits.
    pub ca_fingerprint: String,
    /// Whether the CA was made for this token.
    pub ca_made: bool,
}

/// `POST /hosts/join`: this host joins another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinRequest {
    /// What `POST /hosts/tokens` of the other host answered.
    pub token: Secret,
    /// Where the other host is reached, where it is not where the token says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Address and port where others reach this host, where its configuration has no `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Whether the certificate that this host has is given up for the new one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// A host that has joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// This host.
    pub host: String,
    /// Where others reach it.
    pub address: String,
    /// The host that holds the CA's key.
    pub issuer: String,
    /// When this host's certificate ends, RFC 3339. It is renewed before.
    pub certificate_until: String,
    /// The other hosts.
    pub hosts: Vec<Neighbour>,
}

/// `GET /hosts`: a host that this one knows, or itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnownHost {
    /// Its name.
    pub name: String,
    /// Its agent's address and port; empty where this host does not listen.
    pub address: String,
    /// Whether it can be worked with.
    pub state: HostState,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it holds the CA's key.
    pub issuer: bool,
    /// Whether it stands in the configuration alone; the others have joined.
    pub configured: bool,
    /// When its certificate ends, RFC 3339, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<String>,
    /// Ferry's version there, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ferry: Option<String>,
    /// The newest version of the conversation between agents that it speaks, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
}

/// Whether a host can be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// It is the one that answers.
    Here,
    /// It answered.
    Joined,
    /// It did not answer, or not as a host that is trusted.
    Unreachable,
    /// It was removed.
    Revoked,
}

/// `POST /agent/hosts`: what a host says that joins. Its key never leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Admission {
    /// Which token.
    pub id: Uuid,
    /// The token's secret.
    pub secret: Secret,
    /// The host's name.
    pub host: String,
    /// Address and port of its agent.
    pub address: String,
    /// A PKCS #10 request, PEM. Only its key counts, which it proves to have.
    pub request: String,
}

/// What a host is given that joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Admitted {
    /// Its certificate, PEM.
    pub certificate: String,
    /// The CA's certificate, PEM.
    pub ca: String,
    /// All hosts.
    pub roster: Roster,
}

/// `GET /agent/hosts`, `PUT /agent/hosts`: all hosts that have joined, as the issuer knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Roster {
    /// Grows with each change.
    pub version: u64,
    /// The host that keeps it and holds the CA's key.
    pub issuer: String,
    /// The hosts, in the order in which they joined.
    pub hosts: Vec<Member>,
    /// The CA's revocation list (RFC 5280, section 5), PEM.
    pub revocations: String,
}

/// A host that has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Address and port of its agent.
    pub address: String,
    /// Its certificates that have not ended, the newest last.
    pub certificates: Vec<Certificate>,
    /// When it was removed, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_s: Option<i64>,
}

/// A certificate that the CA has given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// When it ends, in seconds since 1970.
    pub until_s: i64,
}

/// `PUT /agent/address`: a host that has joined is reached elsewhere than the issuer knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentAddress {
    /// Address and port of its agent.
    pub address: String,
}

/// `POST /agent/certificates`: a host that has joined asks for its next certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewal {
    /// As [`Admission::request`].
    pub request: String,
}

/// The next certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewed {
    /// PEM.
    pub certificate: String,
}

#[cfg(test)]
mod tests {
    use super::{JoinRequest, Secret};

    #[test]
    fn a_secret_is_sent_and_never_shown() {
        let token = Secret("open sesame".to_owned());
        let request = JoinRequest { token, address: None, listen: None, replace: false };
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"token":"open sesame"}"#);
        assert!(!format!("{request:?}").contains("sesame"), "{request:?}");
    }
}
