//! What a libvirt on this host has of a domain, by its files: definition, autostart, saved memory, process. It never asks
//! libvirtd, which need not run, and changes nothing. The main type is [`Known`].
//!
//! ```text
//! /etc/libvirt/qemu/NAME.xml             the definition
//! /etc/libvirt/qemu/autostart/NAME.xml   a link to it
//! /run/libvirt/qemu/NAME.pid             its process, while it runs
//! /var/lib/libvirt/qemu/save/NAME.save   its memory, after `virsh managedsave`
//! ```

use std::io;
use std::path::{Path, PathBuf};

use crate::FactsError;

/// What libvirt has of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its definition, libvirt domain XML.
    pub xml: Option<String>,
    /// Whether it is started when libvirt is.
    pub autostart: bool,
    /// The process that runs it now.
    pub pid: Option<u32>,
    /// Its memory was saved, and belongs to the disks as they are now.
    pub saved: bool,
}

/// Looks a domain up by its name. Quick: a few small files.
///
/// # Errors
/// [`FactsError::Unreadable`].
pub fn libvirt_domain(name: &str) -> Result<Known, FactsError> {
    below(Path::new("/"), name)
}

fn below(root: &Path, name: &str) -> Result<Known, FactsError> {
    let etc = root.join("etc/libvirt/qemu");
    let file = format!("{name}.xml");
    let pid = text(root.join("run/libvirt/qemu").join(format!("{name}.pid")))?;
    let pid = pid.and_then(|text| text.trim().parse().ok());
    Ok(Known {
        xml: text(etc.join(&file))?,
        autostart: etc.join("autostart").join(&file).is_symlink(),
        pid: pid.filter(|pid: &u32| Path::new("/proc").join(pid.to_string()).exists()),
        saved: root.join("var/lib/libvirt/qemu/save").join(format!("{name}.save")).exists(),
    })
}

fn text(path: PathBuf) -> Result<Option<String>, FactsError> {
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FactsError::Unreadable { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_tell() {
        let root = tempfile::tempdir().unwrap();
        let check = |expect: &Known| assert_eq!(&below(root.path(), "web1").unwrap(), expect);
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let mut known = Known::default();
        check(&known);
        write("etc/libvirt/qemu/web1.xml", "<domain/>");
        known.xml = Some("<domain/>".into());
        check(&known);
        fs::create_dir(root.path().join("etc/libvirt/qemu/autostart")).unwrap();
        let link = root.path().join("etc/libvirt/qemu/autostart/web1.xml");
        std::os::unix::fs::symlink("/etc/libvirt/qemu/web1.xml", link).unwrap();
        known.autostart = true;
        check(&known);
        // The process that ended left its number behind.
        write("run/libvirt/qemu/web1.pid", &u32::MAX.to_string());
        check(&known);
        write("run/libvirt/qemu/web1.pid", &format!("{}\n", std::process::id()));
        known.pid = Some(std::process::id());
        check(&known);
        write("var/lib/libvirt/qemu/save/web1.save", "memory");
        known.saved = true;
        check(&known);
    }
}
