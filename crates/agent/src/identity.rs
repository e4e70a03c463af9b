//! The files by which a host is known, below `tls_dir`: its certificate and key, the CA's certificate, the list of what
//! the CA has revoked, and the names that QEMU wants for the same files. Main type: [`Identity`].

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::tls::{self, Papers, Strangers, TlsError};

/// The CA's certificate.
pub const CA: &str = "ca.pem";
/// The host's certificate.
pub const CERTIFICATE: &str = "host.pem";
/// The host's key.
pub const KEY: &str = "host-key.pem";
/// What the CA has revoked, under the name that QEMU's `tls-creds-x509` looks for.
pub const REVOCATIONS: &str = "ca-crl.pem";

/// The names under which QEMU's `tls-creds-x509` looks in its `dir` (qemu(1), `-object tls-creds-x509`), and the
/// files that they stand for.
pub const QEMU_NAMES: [(&str, &str); 5] = [
    ("ca-cert.pem", CA),
    ("server-cert.pem", CERTIFICATE),
    ("server-key.pem", KEY),
    ("client-cert.pem", CERTIFICATE),
    ("client-key.pem", KEY),
];

/// Where QEMU looks for the group of its Diffie-Hellman key exchange. Where the file is missing, a QEMU that listens makes
/// a group of its own for every migration: up to several seconds of computing before it answers, more on a busy host.
pub const GROUP: &str = "dh-params.pem";
/// The group `ffdhe3072` of RFC 7919, Appendix A.2, as PKCS #3.
const FFDHE3072: &str = include_str!("ffdhe3072.pem");

pub(crate) const CERTIFICATE_MODE: u32 = 0o644;
pub(crate) const KEY_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The files of this host's identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// One cannot be read.
    #[error("{path} cannot be read; `ferry host join --replace` and `ferry ca issue` make it")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// They are no certificates, or do not fit each other.
    #[error("the certificates in {directory} cannot be used")]
    Tls {
        /// Where.
        directory: PathBuf,
        /// Why.
        #[source]
        source: TlsError,
    },
}

/// What the files hold, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The CA's certificate.
    pub ca: String,
    /// What the CA has revoked, where that is known.
    pub revocations: Option<String>,
    /// The host's certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Identity {
    /// Reads the files in a directory; `None` where there is no CA's certificate, as on a host that has not joined.
    ///
    /// # Errors
    /// [`IdentityError::Read`] for any other file that cannot be read.
    pub(crate) fn load(directory: &Path) -> Result<Option<Identity>, IdentityError> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|source| IdentityError::Read { path, source })
        };
        let Some(ca) = read_optional(directory, CA)? else { return Ok(None) };
        let (certificate, key) = (read(CERTIFICATE)?, read(KEY)?);
        Ok(Some(Identity { ca, revocations: read_optional(directory, REVOCATIONS)?, certificate, key }))
    }

    /// Writes the files into a directory, which is made. The CA's certificate goes first and comes last, so that a crash
    /// leaves either identity or none. A list of what is revoked that lies there stays where this identity brings none: it
    /// says nothing of another CA, and of the same one nobody else could say it.
    ///
    /// # Errors
    /// [`IdentityError::Write`].
    pub fn save(&self, directory: &Path) -> Result<(), IdentityError> {
        let fault = |path: PathBuf| move |source| IdentityError::Write { path, source };
        make_directory(directory).map_err(fault(directory.to_owned()))?;
        let at = |name: &str| directory.join(name);
        remove(&at(CA)).map_err(fault(at(CA)))?;
        write(&at(KEY), &self.key, KEY_MODE).map_err(fault(at(KEY)))?;
        write(&at(CERTIFICATE), &self.certificate, CERTIFICATE_MODE).map_err(fault(at(CERTIFICATE)))?;
        write(&at(GROUP), FFDHE3072, CERTIFICATE_MODE).map_err(fault(at(GROUP)))?;
        for (name, stands_for) in QEMU_NAMES {
            link(&at(name), stands_for).map_err(fault(at(name)))?;
        }
        if let Some(list) = &self.revocations {
            write(&at(REVOCATIONS), list, CERTIFICATE_MODE).map_err(fault(at(REVOCATIONS)))?;
        }
        write(&at(CA), &self.ca, CERTIFICATE_MODE).map_err(fault(at(CA)))
    }

    /// Writes one of the files anew.
    ///
    /// # Errors
    /// [`IdentityError::Write`].
    pub(crate) fn replace(directory: &Path, name: &str, text: &str) -> Result<(), IdentityError> {
        let path = directory.join(name);
        write(&path, text, CERTIFICATE_MODE).map_err(|source| IdentityError::Write { path, source })
    }

    /// Writes what the CA has revoked, where the directory holds that CA's certificate and another list.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub(crate) fn revoke(directory: &Path, list: &str) -> Result<(), IdentityError> {
        let Some(ca) = read_optional(directory, CA)? else { return Ok(()) };
        let is_known = read_optional(directory, REVOCATIONS)?.is_some_and(|known| known == list);
        if is_known || !tls::is_list_of(list.as_bytes(), ca.as_bytes()) {
            return Ok(());
        }
        Identity::replace(directory, REVOCATIONS, list)
    }

    fn papers(&self) -> Papers<'_> {
        Papers {
            ca: self.ca.as_bytes(),
            revocations: self.revocations.as_deref().map(str::as_bytes),
            certificate: self.certificate.as_bytes(),
            key: self.key.as_bytes(),
        }
    }

    /// To be reached by other agents.
    pub(crate) fn server(&self, strangers: Strangers) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        tls::server_config(self.papers(), strangers)
    }

    /// To reach other agents.
    pub(crate) fn client(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        tls::client_config(self.papers())
    }
}

/// Reads a file; `None` where there is none.
fn read_optional(directory: &Path, name: &str) -> Result<Option<String>, IdentityError> {
    let path = directory.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Read { path, source }),
    }
}

/// Makes a directory that only its owner looks into.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Writes a file beside its place and moves it there, so that nobody ever reads half of it.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let fresh = path.with_extension("pem.new");
    remove(&fresh)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn link(path: &Path, stands_for: &str) -> io::Result<()> {
    remove(path)?;
    std::os::unix::fs::symlink(stands_for, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
