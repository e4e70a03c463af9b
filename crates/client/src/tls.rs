//! TLS between agents: version 1.3 only, both sides with a certificate of the same CA, and none that the CA has revoked.
//! Reads PEM bytes; it opens no files and keeps no keys. Main functions: [`client_config`], [`server_config`], and for a
//! host that has no certificate yet [`joining_config`].

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

pub use crate::trust::{Distrust, Fingerprint, joining_config};

/// The one application protocol that agents speak (RFC 7301).
pub const ALPN: &[u8] = b"http/1.1";

/// Why certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM.
    #[error("the {what} is not readable as PEM")]
    Pem {
        /// Which: `CA`, `certificate`, `key` or `revocation list`.
        what: &'static str,
        /// What is wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("the {what} holds no certificate")]
    NoCertificate {
        /// Which: `CA`, `certificate` or `revocation list`.
        what: &'static str,
    },
    /// The CA's certificate is no trust anchor.
    #[error("the CA's certificate cannot be used")]
    Ca {
        /// Why.
        source: rustls::Error,
    },
    /// No verifier of peers can be made with this CA.
    #[error("the CA's certificate cannot verify anybody")]
    Verifier {
        /// Why.
        source: VerifierBuilderError,
    },
    /// Certificate and key do not work with each other or with TLS 1.3.
    #[error("the certificate and its key cannot be used")]
    Identity {
        /// Why.
        source: rustls::Error,
    },
}

/// The PEM texts of a host: whom it trusts, and what it shows.
#[derive(Clone, Copy)]
pub struct Papers<'a> {
    /// The CA's certificate.
    pub ca: &'a [u8],
    /// What the CA has revoked, where there is a list.
    pub revocations: Option<&'a [u8]>,
    /// The host's certificate.
    pub certificate: &'a [u8],
    /// Its key.
    pub key: &'a [u8],
}

impl Papers<'_> {
    /// The host's certificate and the CA's: who knows only the CA's fingerprint wants to see both.
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let mut chain = certificates(self.certificate)?;
        chain.extend(parse("CA", self.ca)?);
        Ok(chain)
    }

    fn crls(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        self.revocations.map(crl).transpose().map(|crl| crl.into_iter().collect())
    }
}

/// What becomes of those who connect and show no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// The handshake fails.
    Refused,
    /// They get in, and whoever serves them must know that they are nobody.
    Admitted,
}

/// TLS of the side that connects: it trusts the CA of `papers` alone and shows the certificate.
///
/// # Errors
///
/// [`TlsError`] when a PEM text is malformed, empty, or certificate and key do not fit.
pub fn client_config(papers: Papers<'_>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // A list that another CA left in its place says nothing.
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(papers.ca)?, Arc::clone(&provider))
        .with_crls(papers.crls()?)
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .build()
        .map_err(|source| TlsError::Verifier { source })?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Identity { source })?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(papers.chain()?, key(papers.key)?)
        .map_err(|source| TlsError::Identity { source })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// TLS of the side that listens: nobody with a certificate of another CA gets past the handshake, and without one only
/// where `strangers` says so.
///
/// # Errors
///
/// [`TlsError`], as for [`client_config`].
pub fn server_config(papers: Papers<'_>, strangers: Strangers) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(papers.ca)?, Arc::clone(&provider))
        .with_crls(papers.crls()?)
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status();
    let verifier = match strangers {
        Strangers::Refused => verifier,
        Strangers::Admitted => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|source| TlsError::Verifier { source })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Identity { source })?
        .with_client_cert_verifier(verifier)
        .with_single_cert(papers.chain()?, key(papers.key)?)
        .map_err(|source| TlsError::Identity { source })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its DNS names.
    pub names: Vec<String>,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// When it begins to be valid, in seconds since 1970.
    pub from_s: i64,
    /// When it ends to be valid, in seconds since 1970.
    pub until_s: i64,
}

/// Describes the first certificate of a PEM text; `None` where it cannot be read. Nothing is verified.
#[must_use]
pub fn describe(pem: &[u8]) -> Option<Described> {
    let certificate = certificates(pem).ok()?.into_iter().next()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    let validity = parsed.validity();
    Some(Described {
        names: names(&certificate),
        serial: hex(parsed.raw_serial()),
        from_s: validity.not_before.timestamp(),
        until_s: validity.not_after.timestamp(),
    })
}

/// The DNS names in a certificate's subject alternative names; empty when it has none or cannot be read. Only
/// meaningful for a certificate that a handshake has verified.
#[must_use]
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// The serial number of a certificate, as in [`Described::serial`]; empty when it cannot be read.
#[must_use]
pub fn serial(certificate: &CertificateDer<'_>) -> String {
    x509_parser::parse_x509_certificate(certificate)
        .map(|(_, parsed)| hex(parsed.raw_serial()))
        .unwrap_or_default()
}

/// The serial numbers in a CA's revocation list, PEM.
///
/// # Errors
///
/// [`TlsError::Pem`] where it is none.
pub fn revoked(crl_pem: &[u8]) -> Result<BTreeSet<String>, TlsError> {
    let list = crl(crl_pem)?;
    let (_, parsed) = x509_parser::parse_x509_crl(&list)
        .map_err(|_| TlsError::NoCertificate { what: "revocation list" })?;
    Ok(parsed.iter_revoked_certificates().map(|revoked| hex(revoked.raw_serial())).collect())
}

/// Whether a revocation list names a CA as the one that made it; both PEM. Nothing is verified.
#[must_use]
pub fn is_list_of(crl_pem: &[u8], ca_pem: &[u8]) -> bool {
    let (Ok(list), Ok(ca)) = (crl(crl_pem), certificates(ca_pem)) else { return false };
    let (Ok((_, list)), Some(Ok((_, ca)))) =
        (x509_parser::parse_x509_crl(&list), ca.first().map(|ca| x509_parser::parse_x509_certificate(ca)))
    else {
        return false;
    };
    list.issuer().as_raw() == ca.subject().as_raw()
}

/// Hexadecimal digits, two a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn crl(pem: &[u8]) -> Result<CertificateRevocationListDer<'static>, TlsError> {
    CertificateRevocationListDer::from_pem_slice(pem)
        .map_err(|source| TlsError::Pem { what: "revocation list", source })
}

pub(crate) fn roots(ca_pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in parse("CA", ca_pem)? {
        roots.add(certificate).map_err(|source| TlsError::Ca { source })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse("certificate", pem)
}

fn parse(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if certificates.is_empty() { Err(TlsError::NoCertificate { what }) } else { Ok(certificates) }
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsError::Pem { what: "key", source })
}
