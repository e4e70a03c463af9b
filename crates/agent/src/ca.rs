//! A small CA: its own certificate, those that hosts and their QEMUs know each other by, and the list of those that it
//! has revoked. Keys are written for their owner alone. Main type: [`Ca`].

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{Span, Timestamp, Zoned, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::ServerName;
use uuid::Uuid;

use crate::identity::{self, CERTIFICATE_MODE, KEY_MODE};
use crate::limits::{CA_YEARS, HOST_YEARS, JOINED_DAYS};

/// The CA's certificate in its directory.
pub const CERTIFICATE: &str = "ca.pem";
/// The CA's key there.
pub const KEY: &str = "ca-key.pem";

/// Why a CA could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of the CA cannot be read or written.
    #[error("{path} cannot be {verb}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificate or key are not what they should be, or cannot be used for this.
    #[error("{what}")]
    Certificate {
        /// What could not be done.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A validity lies beyond the calendar.
    #[error("the clock is beyond the calendar")]
    Clock(#[from] jiff::Error),
}

fn fault(what: &'static str) -> impl FnOnce(rcgen::Error) -> CaError {
    move |source| CaError::Certificate { what, source }
}

/// A CA with its key.
pub struct Ca {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Ca {
    /// Makes a CA that is valid for [`CA_YEARS`].
    ///
    /// # Errors
    /// [`CaError`] where the system gives no random numbers.
    pub fn make() -> Result<Ca, CaError> {
        let mut params = params(Span::new().years(CA_YEARS))?;
        let distinct = Uuid::new_v4().simple().to_string();
        params.distinguished_name.push(DnType::CommonName, format!("Ferry CA {}", &distinct[..8]));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(fault("no key can be made"))?;
        let certificate = params.self_signed(&key).map_err(fault("the CA cannot sign itself"))?;
        Ca::new(certificate.pem(), key.serialize_pem())
    }

    fn new(certificate: String, key: String) -> Result<Ca, CaError> {
        let pair = KeyPair::from_pem(&key).map_err(fault("the CA's key cannot be read"))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, pair)
            .map_err(fault("the CA's certificate cannot be read"))?;
        Ok(Ca { certificate, key, issuer })
    }

    /// Reads the CA in a directory; `None` where it holds no key.
    ///
    /// # Errors
    /// [`CaError`] where it cannot be read.
    pub fn load(directory: &Path) -> Result<Option<Ca>, CaError> {
        let read = |name| {
            let path = directory.join(name);
            std::fs::read_to_string(&path).map_err(|source| CaError::File { path, verb: "read", source })
        };
        match read(KEY) {
            Err(CaError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(key) => Ca::new(read(CERTIFICATE)?, key).map(Some),
        }
    }

    /// Writes the CA into a directory, which is made.
    ///
    /// # Errors
    /// [`CaError::File`].
    pub fn save(&self, directory: &Path) -> Result<(), CaError> {
        let written = |name: &str, text: &str, mode| {
            let path = directory.join(name);
            identity::write(&path, text, mode).map_err(|source| CaError::File {
                path,
                verb: "written",
                source,
            })
        };
        identity::make_directory(directory).map_err(|source| CaError::File {
            path: directory.to_owned(),
            verb: "made",
            source,
        })?;
        written(CERTIFICATE, &self.certificate, CERTIFICATE_MODE)?;
        // The key last: with it, the CA is there.
        written(KEY, &self.key, KEY_MODE)
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Makes a host's certificate with its key, for somebody who carries both to the host. Valid for [`HOST_YEARS`].
    ///
    /// # Errors
    /// [`CaError::Certificate`] where the name cannot stand in a certificate.
    pub fn issue(&self, name: &str, addresses: &[IpAddr]) -> Result<Issued, CaError> {
        let key = KeyPair::generate().map_err(fault("no key can be made"))?;
        let certificate = self.certify(name, addresses, &key, Span::new().years(HOST_YEARS))?;
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// Makes a certificate for the key of a PKCS #10 request, PEM. Nothing else of the request counts. Valid for
    /// [`JOINED_DAYS`].
    ///
    /// # Errors
    /// [`CaError::Certificate`] where the request is none, or does not prove that its sender has the key.
    pub fn answer(&self, request: &str, name: &str, addresses: &[IpAddr]) -> Result<String, CaError> {
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(fault("the request for a certificate cannot be used"))?;
        self.certify(name, addresses, &request.public_key, Span::new().days(JOINED_DAYS))
    }

    fn certify(
        &self,
        name: &str,
        addresses: &[IpAddr],
        key: &impl PublicKeyData,
        valid: Span,
    ) -> Result<String, CaError> {
        let mut params = params(valid)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let dns = name.try_into().map_err(fault("the name is no DNS name"))?;
        params.subject_alt_names = vec![SanType::DnsName(dns)];
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.is_ca = IsCa::ExplicitNoCa;
        // QEMU 10.0 refuses a certificate without key encipherment, though TLS 1.3 never uses it.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer);
        Ok(certificate.map_err(fault("the CA cannot sign the certificate"))?.pem())
    }

    /// The list of revoked certificates, PEM: serial numbers in hexadecimal digits, and since when in seconds since 1970.
    ///
    /// # Errors
    /// [`CaError::Certificate`].
    pub fn revoke(&self, revoked: &[(String, i64)], number: u64) -> Result<String, CaError> {
        let midnight = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
        let entry = |(serial, since_s): &(String, i64)| -> Result<RevokedCertParams, CaError> {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes(serial)),
                revocation_time: midnight(day(&Timestamp::from_second(*since_s)?.to_zoned(TimeZone::UTC))),
                reason_code: Some(RevocationReason::CessationOfOperation),
                invalidity_date: None,
            })
        };
        let (this_update, next_update) = validity(Span::new().years(CA_YEARS))?;
        let list = CertificateRevocationListParams {
            this_update: midnight(this_update),
            // A new list comes when there is something new to say, and GnuTLS in QEMU refuses everybody once this is over.
            next_update: midnight(next_update),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, _>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).and_then(|list| list.pem());
        list.map_err(fault("the CA cannot sign its list of revoked certificates"))
    }
}

/// A new key, PEM.
///
/// # Errors
/// [`CaError::Certificate`] where the system gives no random numbers.
pub(crate) fn make_key() -> Result<String, CaError> {
    Ok(KeyPair::generate().map_err(fault("no key can be made"))?.serialize_pem())
}

/// A request that proves possession of a key, for [`Ca::answer`].
///
/// # Errors
/// [`CaError::Certificate`] where the key is none.
pub(crate) fn request(key: &str, name: &str) -> Result<String, CaError> {
    let pair = KeyPair::from_pem(key).map_err(fault("the key cannot be read"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(&pair).and_then(|request| request.pem());
    request.map_err(fault("the key cannot sign a request"))
}

/// What all certificates have: a random serial number, no name yet, and validity from yesterday on, since the clocks of
/// hosts differ.
fn params(valid: Span) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Ferry");
    let mut serial = Uuid::new_v4().into_bytes();
    // A serial number is a positive integer (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let ((year, month, day), until) = validity(valid)?;
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
    Ok(params)
}

/// Year, month and day, whose midnight is meant.
type Day = (i32, u8, u8);

/// From yesterday on.
fn validity(valid: Span) -> Result<(Day, Day), CaError> {
    let yesterday = Zoned::now().with_time_zone(TimeZone::UTC).yesterday()?;
    Ok((day(&yesterday), day(&yesterday.checked_add(valid)?)))
}

fn day(time: &Zoned) -> Day {
    let date = time.date();
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// Whether a host's name can stand in a certificate: letters, digits and hyphens between dots (RFC 1123, section 2.1), and
/// nothing that TLS takes for an address.
#[must_use]
pub fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
        && matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)))
}

/// Whether a host may join under a name. For TLS, `KVM1` and `kvm1` are one name: hosts that join have the small letters.
#[must_use]
pub(crate) fn can_join(name: &str) -> bool {
    is_host_name(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::{Ca, can_join, is_host_name, make_key, request};
    use client::tls;

    #[test]
    fn host_names() {
        for good in ["kvm1", "kvm-1.example.org", "1a"] {
            assert!(is_host_name(good) && can_join(good), "{good}");
        }
        for bad in
            ["", "a..b", "-a", "a-", "a b", "a/b", "é", "a_b", &"a".repeat(64), "1", "kvm.1", "192.0.2.1"]
        {
            assert!(!is_host_name(bad) && !can_join(bad), "{bad}");
        }
        assert!(is_host_name("KVM1") && !can_join("KVM1"), "it is kvm1 for TLS");
    }

    #[test]
    fn a_request_is_answered_for_its_key_and_for_the_name_that_the_issuer_says() {
        let ca = Ca::make().unwrap();
        let key = make_key().unwrap();
        let asked = request(&key, "kvm1").unwrap();
        let certificate = ca.answer(&asked, "kvm2", &["192.0.2.2".parse().unwrap()]).unwrap();
        let described = tls::describe(certificate.as_bytes()).unwrap();
        assert_eq!(described.names, ["kvm2"]);
        let papers = |key: &str| {
            let (ca, certificate) = (ca.certificate().as_bytes(), certificate.as_bytes());
            tls::client_config(tls::Papers { ca, revocations: None, certificate, key: key.as_bytes() })
        };
        papers(&key).expect("the key that was asked for");
        papers(&make_key().unwrap()).expect_err("another key");
        // A request that was changed on its way proves nothing.
        let broken = asked.replacen('A', "B", 3);
        ca.answer(&broken, "kvm2", &[]).expect_err("a broken request");
    }

    #[test]
    fn what_is_revoked_is_in_the_list() {
        let ca = Ca::make().unwrap();
        let list =
            |revoked: &[(String, i64)]| tls::revoked(ca.revoke(revoked, 1).unwrap().as_bytes()).unwrap();
        assert!(list(&[]).is_empty());
        let (empty, other) = (ca.revoke(&[], 1).unwrap(), Ca::make().unwrap());
        assert!(tls::is_list_of(empty.as_bytes(), ca.certificate().as_bytes()));
        assert!(!tls::is_list_of(empty.as_bytes(), other.certificate().as_bytes()));
        assert!(!tls::is_list_of(b"", ca.certificate().as_bytes()));
        let serial = tls::describe(ca.issue("kvm2", &[]).unwrap().certificate.as_bytes()).unwrap().serial;
        assert_eq!(list(&[(serial.clone(), 0)]), [serial].into());
    }
}
