//! A token as text, and what the issuer keeps of it: only a hash of its secret. Main types: [`JoinToken`],
//! [`TokenRecord`].
//!
//! The text is the JSON of a [`JoinToken`] in base64 for URLs (RFC 4648, section 5), so that no shell finds a meaning
//! in it.

use api::Secret;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use client::tls::{Fingerprint, hex};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::written;
use crate::failure::JoinFailure;
use crate::limits::{TOKEN_ATTEMPTS_MAX, TOKEN_SECRET_BYTES};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JoinToken {
    /// The host that made it; its certificate carries the name.
    pub(super) issuer: String,
    /// Where its agent is reached.
    pub(super) address: String,
    /// SHA-256 of its CA's certificate.
    pub(super) ca: String,
    pub(super) id: Uuid,
    pub(super) secret: Secret,
}

impl JoinToken {
    pub(super) fn text(&self) -> Secret {
        let json = serde_json::to_vec(self).expect("strings are always JSON");
        Secret(BASE64_URL_SAFE_NO_PAD.encode(json))
    }

    pub(super) fn read(text: &Secret) -> Result<(JoinToken, Fingerprint), JoinFailure> {
        let malformed = || JoinFailure::TokenMalformed;
        let json = BASE64_URL_SAFE_NO_PAD.decode(text.0.trim()).map_err(|_| malformed())?;
        let token: JoinToken = serde_json::from_slice(&json).map_err(|_| malformed())?;
        let ca = token.ca.parse().map_err(|_| malformed())?;
        Ok((token, ca))
    }
}

/// A new secret, in hexadecimal digits.
pub(super) fn make_secret() -> Secret {
    let mut bytes = [0; TOKEN_SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel gives random numbers once it is up");
    Secret(hex(&bytes))
}

/// What the issuer keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) id: Uuid,
    secret_sha256: String,
    /// When it ends, in seconds since 1970.
    pub(super) until_s: i64,
    /// The one host that it lets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// How often it came with a wrong secret.
    #[serde(default)]
    refused: u32,
    /// The host that joined with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) used_by: Option<String>,
}

impl TokenRecord {
    pub(super) fn new(id: Uuid, secret: &Secret, until_s: i64, host: Option<String>) -> TokenRecord {
        TokenRecord { id, secret_sha256: hash(secret), until_s, host, refused: 0, used_by: None }
    }

    /// Whether it lets `host` in now; where `again`, also the host that it has let in. A wrong secret is counted, and hears
    /// nothing about the token.
    pub(super) fn check(
        &mut self,
        secret: &Secret,
        host: &str,
        again: bool,
        now_s: i64,
        issuer: &str,
    ) -> Result<(), JoinFailure> {
        if self.refused >= TOKEN_ATTEMPTS_MAX {
            return Err(JoinFailure::TokenVoid { attempts: self.refused });
        }
        // Hashes are compared, and in constant time: how long it takes says nothing about the secret.
        if verify_slices_are_equal(hash(secret).as_bytes(), self.secret_sha256.as_bytes()).is_err() {
            self.refused += 1;
            return Err(JoinFailure::TokenWrong);
        }
        if let Some(by) = self.used_by.as_ref().filter(|by| !again || *by != host) {
            return Err(JoinFailure::TokenUsed { by: by.clone() });
        }
        if now_s >= self.until_s {
            let (at, now) = (written(self.until_s), written(now_s));
            return Err(JoinFailure::TokenExpired { at, now, host: issuer.to_owned() });
        }
        if let Some(bound) = self.host.as_ref().filter(|bound| *bound != host) {
            return Err(JoinFailure::TokenForAnother { bound: bound.clone(), host: host.to_owned() });
        }
        Ok(())
    }
}

fn hash(secret: &Secret) -> String {
    hex(digest(&SHA256, secret.0.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[track_caller]
    fn check(record: &mut TokenRecord, said: &str, host: &str, now_s: i64, expect: &str) {
        let answer = record.check(&secret(said), host, false, now_s, "kvm1");
        let answer = answer.map_or_else(|failure| failure.to_string(), |()| "in".to_owned());
        assert!(answer.contains(expect), "{answer}");
    }

    #[test]
    fn a_token_lets_the_right_host_in_once_and_in_time() {
        let mut record = TokenRecord::new(Uuid::nil(), &secret("right"), 100, Some("kvm2".into()));
        check(&mut record, "right", "kvm2", 99, "in");
        check(&mut record, "right", "kvm2", 100, "expired at 1970-01-01T00:01:40Z; the clock of host kvm1");
        check(&mut record, "right", "kvm3", 99, "is for host kvm2");
        check(&mut record, "wrong", "kvm2", 99, "secret is wrong");
        record.used_by = Some("kvm2".into());
        check(&mut record, "right", "kvm2", 99, "host kvm2 has joined with it");
        // Who does not know the secret does not learn that either.
        check(&mut record, "wrong", "kvm2", 99, "secret is wrong");
    }

    #[test]
    fn attempts_are_limited() {
        let mut record = TokenRecord::new(Uuid::nil(), &secret("right"), 100, None);
        for _ in 0..TOKEN_ATTEMPTS_MAX {
            check(&mut record, "wrong", "kvm2", 0, "secret is wrong");
        }
        check(&mut record, "right", "kvm2", 0, "lets nobody in any more");
    }

    #[test]
    fn the_text_says_everything_and_junk_is_refused() {
        let token = JoinToken {
            issuer: "kvm1".into(),
            address: "192.0.2.1:7700".into(),
            ca: "00".repeat(32),
            id: Uuid::nil(),
            secret: make_secret(),
        };
        let text = token.text();
        assert!(
            text.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{}",
            text.0
        );
        assert_eq!(JoinToken::read(&text).unwrap().0, token);
        let cut = secret(&text.0[..text.0.len() - 4]);
        for junk in [secret(""), secret("é"), secret("e30"), cut] {
            assert!(JoinToken::read(&junk).is_err(), "{}", junk.0);
        }
        assert_eq!(token.secret.0.len(), 2 * TOKEN_SECRET_BYTES);
        assert_ne!(make_secret(), make_secret());
    }

    #[test]
    fn what_is_kept_does_not_hold_the_secret() {
        let made = make_secret();
        let record = TokenRecord::new(Uuid::nil(), &made, 100, None);
        assert!(!serde_json::to_string(&record).unwrap().contains(&made.0));
    }
}
