//! TLS between agents: version 1.3 only, both sides with a certificate of the same CA. Reads PEM bytes; it opens
//! no files and keeps no keys. Main functions: [`client_config`], [`server_config`], [`names`].

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The one application protocol that agents speak (RFC 7301).
pub const ALPN: &[u8] = b"http/1.1";

/// Why certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM.
    #[error("the {what} is not readable as PEM")]
    Pem {
        /// Which: `CA`, `certificate` or `key`.
        what: &'static str,
        /// What is wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("the {what} holds no certificate")]
    NoCertificate {
        /// Which: `CA` or `certificate`.
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

/// TLS of the side that connects: it trusts `ca_pem` alone and shows the certificate of `cert_pem`.
///
/// # Errors
///
/// [`TlsError`] when a PEM text is malformed, empty, or certificate and key do not fit.
pub fn client_config(ca_pem: &[u8], cert_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca_pem)?, Arc::clone(&provider))
        .build()
        .map_err(|source| TlsError::Verifier { source })?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Identity { source })?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(certificates(cert_pem)?, key(key_pem)?)
        .map_err(|source| TlsError::Identity { source })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// TLS of the side that listens: nobody without a certificate of `ca_pem` gets past the handshake.
///
/// # Errors
///
/// [`TlsError`], as for [`client_config`].
pub fn server_config(ca_pem: &[u8], cert_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?, Arc::clone(&provider))
        .build()
        .map_err(|source| TlsError::Verifier { source })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Identity { source })?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(cert_pem)?, key(key_pem)?)
        .map_err(|source| TlsError::Identity { source })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its DNS names.
    pub names: Vec<String>,
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

fn roots(ca_pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
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
