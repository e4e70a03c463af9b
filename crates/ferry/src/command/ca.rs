//! `ca init` and `ca issue`: a small CA and certificates that somebody carries to their hosts. Main functions: [`init`],
//! [`issue`].

use std::path::{Path, PathBuf};

use agent::ca::{self, Ca, is_host_name};
use agent::identity::{self, Identity, QEMU_NAMES};
use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::args::{CaInit, CaIssue};
use crate::failure::{Exit, Failure};
use crate::printer::Printer;

pub(super) fn init(typed: &CaInit, printer: &Printer) -> Result<Exit, Failure> {
    let (certificate, key) = (typed.dir.join(ca::CERTIFICATE), typed.dir.join(ca::KEY));
    free(&[&certificate, &key], "a CA is never replaced; choose another directory")?;
    Ca::make().and_then(|ca| ca.save(&typed.dir)).map_err(anyhow::Error::new)?;
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
    let names = [identity::CA, identity::CERTIFICATE, identity::KEY, identity::GROUP];
    let names: Vec<PathBuf> = names.into_iter().chain(QEMU_NAMES.map(|(name, _)| name)).map(out).collect();
    if !typed.replace {
        free(&names.iter().collect::<Vec<_>>(), "say --replace if it may go")?;
    }
    let ca = ca(&typed.dir)?;
    let made = ca.issue(&typed.name, &typed.address).map_err(anyhow::Error::new)?;
    let (certificate, key) = (made.certificate, made.key);
    let identity = Identity { ca: ca.certificate().to_owned(), revocations: None, certificate, key };
    identity.save(&typed.out).map_err(anyhow::Error::new)?;
    let answer = json!({
        "ca": out(identity::CA), "certificate": out(identity::CERTIFICATE), "key": out(identity::KEY),
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

fn ca(dir: &Path) -> Result<Ca> {
    let found = Ca::load(dir)?;
    found.with_context(|| format!("there is no CA in {}; `ferry ca init` makes one", dir.display()))
}

fn free(paths: &[&PathBuf], mend: &str) -> Result<()> {
    for path in paths {
        if path.symlink_metadata().is_ok() {
            bail!("{} is there; {mend}", path.display());
        }
    }
    Ok(())
}
