//! Why two sides of TLS do not trust each other, in words of its own; and trust in a CA of which only the fingerprint is
//! known, for a host that joins. Main types: [`Distrust`], [`Fingerprint`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError,
    RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::tls::{ALPN, TlsError, hex};

/// SHA-256 of a CA's certificate (its DER form).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of the first certificate of a PEM text; `None` where there is none.
    #[must_use]
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        CertificateDer::from_pem_slice(pem).ok().map(|certificate| Self::of(&certificate))
    }

    fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(NoFingerprint);
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| NoFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

/// Why two sides do not trust each other's certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The other side belongs to another CA than the token does.
    #[error("it belongs to another CA than the token: {}", list(.shown))]
    CaDiffers {
        /// The fingerprints of what it showed besides its own certificate.
        shown: Vec<String>,
    },
    /// The CA has revoked this side's certificate.
    #[error("this host has been removed: its certificate is revoked")]
    RevokedHere,
    /// The CA has revoked the other side's certificate.
    #[error("that host has been removed: its certificate is revoked")]
    RevokedThere,
    /// The other side's certificate is not valid at the time of this side's clock.
    #[error("by the clock of this host ({}), that host's certificate {}", day(*.now_s), when(*.limit_s, *.now_s))]
    Clock {
        /// What this side's clock says, in seconds since 1970.
        now_s: i64,
        /// When the certificate began or ended to be valid.
        limit_s: i64,
    },
    /// This side's certificate is not valid at the time of the other side's clock.
    #[error("by the clock of that host, this host's certificate is not valid; the clock of this host says {}", day(*.now_s))]
    ClockThere {
        /// What this side's clock says, in seconds since 1970.
        now_s: i64,
    },
    /// The other side lets nobody in who has no certificate.
    #[error("that host does not hold the CA's key, and takes in no host without a certificate")]
    NotIssuer,
}

fn list(fingerprints: &[String]) -> String {
    match fingerprints {
        [] => "it showed no CA".to_owned(),
        some => format!("it showed the fingerprint {}", some.join(" and ")),
    }
}

fn when(limit_s: i64, now_s: i64) -> String {
    let word = if limit_s > now_s { "is not valid before" } else { "expired at" };
    format!("{word} {}", day(limit_s))
}

/// A time as people and RFC 3339 write it.
fn day(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).map_or_else(|_| unix_s.to_string(), |time| time.to_string())
}

impl Distrust {
    /// An error of TLS, in words of its own where it is about trust.
    pub(crate) fn explain(error: std::io::Error) -> std::io::Error {
        match Self::meant(&error) {
            Some(distrust) => std::io::Error::new(error.kind(), distrust),
            None => error,
        }
    }

    /// What was explained.
    pub(crate) fn of(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().cloned()
    }

    /// What rustls' error, inside an I/O error, means.
    fn meant(error: &std::io::Error) -> Option<Self> {
        let now_s = jiff::Timestamp::now().as_second();
        let seconds = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.downcast_ref::<Self>().cloned()
            }
            Error::InvalidCertificate(CertificateError::Revoked) => Some(Self::RevokedThere),
            Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after: limit })
            | Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before: limit }) => {
                Some(Self::Clock { now_s: seconds(time), limit_s: seconds(limit) })
            }
            Error::AlertReceived(AlertDescription::CertificateRevoked) => Some(Self::RevokedHere),
            Error::AlertReceived(AlertDescription::CertificateExpired) => Some(Self::ClockThere { now_s }),
            Error::AlertReceived(AlertDescription::CertificateRequired) => Some(Self::NotIssuer),
            _ => None,
        }
    }
}

/// TLS of a host that joins: it has no certificate, and trusts the one CA whose certificate has this fingerprint. That
/// certificate must be among those that the other side shows. Clocks are not looked at: a host that joins compares them
/// itself, and can then say what both of them show.
///
/// # Errors
///
/// [`TlsError::Identity`] where this build of rustls speaks no TLS 1.3.
pub fn joining_config(ca: Fingerprint) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(ByFingerprint { ca, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Identity { source })?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ByFingerprint {
    ca: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(ca) = intermediates.iter().find(|shown| Fingerprint::of(shown) == self.ca) else {
            let shown = intermediates.iter().map(|shown| Fingerprint::of(shown).to_string()).collect();
            let error = OtherError(Arc::new(Distrust::CaDiffers { shown }));
            return Err(Error::InvalidCertificate(CertificateError::Other(error)));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        let now = valid_time(end_entity, now);
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("agents speak TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let supported = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, supported)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The time nearest to `now` at which a certificate is valid.
fn valid_time(certificate: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return now };
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let (from, until) = (seconds(parsed.validity().not_before), seconds(parsed.validity().not_after));
    if from > until {
        return now;
    }
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs().clamp(from, until)))
}

#[cfg(test)]
mod tests {
    use super::{Distrust, Fingerprint};

    #[test]
    fn fingerprints_are_64_digits() {
        let text = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        assert_eq!(text.parse::<Fingerprint>().expect("is one").to_string(), text);
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('a', "g"), &"é".repeat(32)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn clocks_are_said() {
        let early = Distrust::Clock { now_s: 0, limit_s: 86_400 };
        assert_eq!(
            early.to_string(),
            "by the clock of this host (1970-01-01T00:00:00Z), that host's certificate is not valid before \
             1970-01-02T00:00:00Z"
        );
        let late = Distrust::Clock { now_s: 172_800, limit_s: 86_400 };
        assert!(late.to_string().ends_with("expired at 1970-01-02T00:00:00Z"), "{late}");
    }
}
