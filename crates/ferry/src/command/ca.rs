//! `ca init` and `ca issue`: a small CA and the certificates that agents, and their QEMUs, know each other by.
//! Keys are written for their owner alone. Main functions: [`init`], [`issue`].

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::{Span, Zoned, civil::Date};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use serde_json::json;
use uuid::Uuid;

use crate::args::{CaInit, CaIssue};
use crate::failure::{Exit, Failure};
use crate::limits::{CA_YEARS, HOST_YEARS};
use crate::printer::Printer;

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const HOST_CERTIFICATE: &str = "host.pem";
const HOST_KEY: &str = "host-key.pem";

/// The names under which QEMU's `tls-creds-x509` looks in its `dir` (qemu(1), `-object tls-creds-x509`), and the
/// files that they stand for.
const QEMU_NAMES: [(&str, &str); 5] = [
    ("ca-cert.pem", CA_CERTIFICATE),
    ("server-cert.pem", HOST_CERTIFICATE),
    ("server-key.pem", HOST_KEY),
    ("client-cert.pem", HOST_CERTIFICATE),
    ("client-key.pem", HOST_KEY),
];

/// Where QEMU looks for the group of its Diffie-Hellman key exchange. Where the file is missing, a QEMU that listens makes
/// a group of its own for every migration: up to several seconds of computing before it answers, more on a busy host.
const GROUP: &str = "dh-params.pem";
/// The group `ffdhe3072` of RFC 7919, Appendix A.2, as PKCS #3.
const FFDHE3072: &str = include_str!("ffdhe3072.pem");

const CERTIFICATE_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

pub(super) fn init(typed: &CaInit, printer: &Printer) -> Result<Exit, Failure> {
    let (certificate, key) = (typed.dir.join(CA_CERTIFICATE), typed.dir.join(CA_KEY));
    free(&[&certificate, &key], "a CA is never replaced; choose another directory")?;
    let made = make_ca()?;
    directory(&typed.dir)?;
    write(&key, &made.key, KEY_MODE)?;
    write(&certificate, &made.certificate, CERTIFICATE_MODE)?;
    printer.answer(&json!({ "certificate": certificate, "key": key }), |_| {
        format!(
            "The CA is in {0}. Keep {1} to yourself; make a host's certificate with\n  \
             ferry ca issue NAME --dir {0} --address IP --out DIR\n",
            typed.dir.display(),
            key.display()
        )
    });
    Ok(Exit::Done)
}

pub(super) fn issue(typed: &CaIssue, printer: &Printer) -> Result<Exit, Failure> {
    if !is_host_name(&typed.name) {
        return Err(Failure::Usage {
            message: format!("{:?} cannot be a host's name in a certificate", typed.name),
            mend: "use letters, digits, dots and hyphens".to_owned(),
        });
    }
    let out = |name: &str| typed.out.join(name);
    let names = [CA_CERTIFICATE, HOST_CERTIFICATE, HOST_KEY, GROUP];
    let names: Vec<PathBuf> = names.into_iter().chain(QEMU_NAMES.map(|(name, _)| name)).map(out).collect();
    if !typed.replace {
        free(&names.iter().collect::<Vec<_>>(), "say --replace if it may go")?;
    }
    let (ca, key) = (read(&typed.dir.join(CA_CERTIFICATE))?, read(&typed.dir.join(CA_KEY))?);
    let made = make_host(&ca, &key, &typed.name, &typed.address)?;
    directory(&typed.out)?;
    write(&out(HOST_KEY), &made.key, KEY_MODE)?;
    write(&out(HOST_CERTIFICATE), &made.certificate, CERTIFICATE_MODE)?;
    write(&out(CA_CERTIFICATE), &ca, CERTIFICATE_MODE)?;
    write(&out(GROUP), FFDHE3072, CERTIFICATE_MODE)?;
    for (name, stands_for) in QEMU_NAMES {
        link(&out(name), stands_for)?;
    }
    let answer = json!({
        "ca": out(CA_CERTIFICATE), "certificate": out(HOST_CERTIFICATE), "key": out(HOST_KEY),
        "name": typed.name, "addresses": typed.address,
    });
    printer.answer(&answer, |_| {
        format!(
            "{0} holds ca.pem, host.pem and host-key.pem of {1}, and QEMU's names for them.\n\
             Copy the directory to {1} and name it in the agent's configuration.\n",
            typed.out.display(),
            typed.name
        )
    });
    Ok(Exit::Done)
}

/// A certificate and its key, both PEM.
struct Made {
    certificate: String,
    key: String,
}

fn make_ca() -> Result<Made> {
    let mut params = params(CA_YEARS)?;
    let distinct = Uuid::new_v4().simple().to_string();
    params.distinguished_name.push(DnType::CommonName, format!("Ferry CA {}", &distinct[..8]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("no key could be made")?;
    let certificate = params.self_signed(&key).context("the CA cannot sign itself")?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn make_host(ca: &str, ca_key: &str, name: &str, addresses: &[IpAddr]) -> Result<Made> {
    let ca_key = KeyPair::from_pem(ca_key).context("the CA's key cannot be read")?;
    let issuer = Issuer::from_ca_cert_pem(ca, ca_key).context("the CA's certificate cannot be read")?;
    let mut params = params(HOST_YEARS)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let dns = name.try_into().context("the name is no DNS name")?;
    params.subject_alt_names = vec![SanType::DnsName(dns)];
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    // QEMU 10.0 refuses a certificate without key encipherment, though TLS 1.3 never uses it.
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().context("no key could be made")?;
    let certificate = params.signed_by(&key, &issuer).context("the CA cannot sign the certificate")?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// What both kinds of certificate have: a random serial number, no name yet, and validity from yesterday on, since
/// the clocks of hosts differ.
fn params(years: i32) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Ferry");
    let mut serial = Uuid::new_v4().into_bytes();
    // A serial number is a positive integer (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let yesterday = Zoned::now().date().yesterday().context("the clock is beyond the calendar")?;
    let end = yesterday.checked_add(Span::new().years(years)).context("the clock is beyond the calendar")?;
    let day = |date: Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(yesterday);
    params.not_after = day(end);
    Ok(params)
}

/// Letters, digits and hyphens between dots (RFC 1123, section 2.1).
fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn free(paths: &[&PathBuf], mend: &str) -> Result<()> {
    for path in paths {
        if path.symlink_metadata().is_ok() {
            bail!("{} is there; {mend}", path.display());
        }
    }
    Ok(())
}

fn directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("cannot read {}; `ferry ca init` makes a CA", path.display()))
}

/// Writes a file beside its place and moves it there, so that nobody ever reads half of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let fresh = path.with_extension("pem.new");
    let writing = || -> io::Result<()> {
        absent(&fresh)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    writing().with_context(|| format!("cannot write {}", path.display()))
}

fn link(path: &Path, stands_for: &str) -> Result<()> {
    let linking = || -> io::Result<()> {
        absent(path)?;
        std::os::unix::fs::symlink(stands_for, path)
    };
    linking().with_context(|| format!("cannot make the link {}", path.display()))
}

fn absent(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_host_name;

    #[test]
    fn host_names() {
        for good in ["kvm1", "kvm-1.example.org", "1"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "a..b", "-a", "a-", "a b", "a/b", "é", "a_b", &"a".repeat(64)] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
