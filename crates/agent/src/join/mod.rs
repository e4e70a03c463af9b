//! How hosts come to know each other: one makes a token, another joins with it, all learn of each other, one is removed.
//!
//! ```text
//! the host that joins                          the issuer: it holds the CA's key
//!                                              `ferry host token`: id, secret, fingerprint of the CA, address
//!   TLS, trusting that CA alone           →
//!   compares both clocks                  ←    GET /version
//!   makes a key; POST /agent/hosts: id, secret, name, address, request for a certificate
//!                                         ←    certificate, CA, roster
//!   each minute: GET /agent/hosts         ←    roster: hosts, and the CA's list of revoked certificates
//!   before it ends: POST /agent/certificates ← the next certificate
//!   takes it                              ←    PUT /agent/hosts: a changed roster, to every host
//! ```
//!
//! Main functions: [`issue::token`], [`enter::join`], [`keep::keep_up`].

pub(crate) mod enter;
pub(crate) mod hosts;
pub(crate) mod issue;
pub(crate) mod keep;
pub(crate) mod list;
mod token;

use jiff::Timestamp;

/// A time in seconds since 1970 as people and RFC 3339 write it.
pub(crate) fn written(unix_s: i64) -> String {
    Timestamp::from_second(unix_s).map_or_else(|_| unix_s.to_string(), |time| time.to_string())
}

/// What this host's clock says, in seconds since 1970.
pub(crate) fn now_s() -> i64 {
    Timestamp::now().as_second()
}
