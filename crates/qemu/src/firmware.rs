//! The firmware of this host: descriptions that firmware packages leave for whoever starts QEMU (docs/interop/firmware.json
//! in QEMU's sources), and the choice among them. It reads no firmware and starts nothing. Main type: [`Descriptions`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use domain::{FirmwareChoice, FirmwareRequest, FlashFormat};
use serde::Deserialize;

/// Where descriptions lie. One in an earlier directory hides one of the same name in a later one; an empty one hides and
/// describes nothing.
const DIRECTORIES: [&str; 2] = ["/etc/qemu/firmware", "/usr/share/qemu/firmware"];

/// Every description, in the order of their file names: the first that fits is taken.
#[derive(Clone, Debug, Default)]
pub struct Descriptions {
    list: Vec<Description>,
}

/// QEMU's `Firmware`, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Description {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    /// `split` (the default), `combined` or `stateless`.
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    executable: Option<File>,
    #[serde(default)]
    nvram_template: Option<File>,
}

#[derive(Clone, Debug, Deserialize)]
struct File {
    filename: PathBuf,
    format: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

impl Descriptions {
    /// Reads this host's.
    ///
    /// # Errors
    /// When a directory or a file that is there cannot be read. One that is not as described is passed over with a
    /// warning: another package's mistake must not keep every guest from being defined.
    pub fn read() -> io::Result<Self> {
        Self::read_from(&DIRECTORIES.map(Path::new))
    }

    fn read_from(directories: &[&Path]) -> io::Result<Self> {
        let mut files: BTreeMap<_, PathBuf> = BTreeMap::new();
        for directory in directories {
            let entries = match std::fs::read_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    files.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
                }
            }
        }
        let mut list = Vec::new();
        for path in files.into_values() {
            let bytes = std::fs::read(&path)?;
            if bytes.is_empty() {
                continue;
            }
            match serde_json::from_slice(&bytes) {
                Ok(description) => list.push(description),
                Err(error) => {
                    tracing::warn!(path = %path.display(), "not a description of firmware: {error}")
                }
            }
        }
        Ok(Self { list })
    }

    /// The first that is what is asked for.
    pub fn choose(&self, wanted: &FirmwareRequest<'_>) -> Option<FirmwareChoice> {
        self.list.iter().filter(|description| description.runs(wanted.machine)).find_map(|description| {
            let choice = description.choice()?;
            let fits = |wanted: Option<bool>, is| wanted.is_none_or(|wanted| wanted == is);
            let fits = match wanted.loader {
                Some(loader) => loader.path == choice.loader,
                None => {
                    fits(wanted.secure_boot, choice.secure_boot)
                        && fits(wanted.enrolled_keys, choice.enrolled_keys)
                        && fits(wanted.smm, choice.requires_smm)
                }
            };
            fits.then_some(choice)
        })
    }

    /// Whether a file is the code or the first variables of firmware that this host describes.
    pub fn name(&self, path: &Path) -> bool {
        self.list.iter().any(|description| {
            let Mapping { executable, nvram_template, .. } = &description.mapping;
            executable.iter().chain(nvram_template).any(|file| file.filename == path)
        })
    }
}

impl Description {
    fn runs(&self, machine: &str) -> bool {
        let runs = |target: &Target| {
            target.architecture == "x86_64" && target.machines.iter().any(|pattern| matches(pattern, machine))
        };
        self.targets.iter().any(runs)
    }

    /// UEFI in flash, with variables of their own.
    fn choice(&self) -> Option<FirmwareChoice> {
        let Mapping { device, mode, executable, nvram_template } = &self.mapping;
        let split = mode.as_deref().is_none_or(|mode| mode == "split");
        if device != "flash" || !split || !self.interface_types.iter().any(|kind| kind == "uefi") {
            return None;
        }
        let (executable, template) = executable.as_ref().zip(nvram_template.as_ref())?;
        let format = match (executable.format.as_str(), template.format.as_str()) {
            ("raw", "raw") => FlashFormat::Raw,
            ("qcow2", "qcow2") => FlashFormat::Qcow2,
            _ => return None,
        };
        let has = |feature: &str| self.features.iter().any(|has| has == feature);
        Some(FirmwareChoice {
            loader: executable.filename.clone(),
            template: template.filename.clone(),
            format,
            secure_boot: has("secure-boot"),
            enrolled_keys: has("enrolled-keys"),
            requires_smm: has("requires-smm"),
        })
    }
}

/// A shell pattern (fnmatch(3)) as descriptions use it: text with `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => {
            let Some(name) = name.strip_prefix(before) else { return false };
            (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| matches(rest, &name[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(file: &str, machines: &str, features: &str) -> String {
        format!(
            r#"{{"description": "", "interface-types": ["uefi"], "tags": [],
            "mapping": {{"device": "flash", "executable": {{"filename": "/fw/{file}.fd", "format": "raw"}},
            "nvram-template": {{"filename": "/fw/{file}.vars", "format": "raw"}}}},
            "targets": [{{"architecture": "x86_64", "machines": ["{machines}"]}}], "features": [{features}]}}"#
        )
    }

    fn host() -> (tempfile::TempDir, Descriptions) {
        let directory = tempfile::tempdir().unwrap();
        let (own, packaged) = (directory.path().join("etc"), directory.path().join("share"));
        for directory in [&own, &packaged] {
            std::fs::create_dir(directory).unwrap();
        }
        let secure = r#""secure-boot", "requires-smm""#;
        std::fs::write(packaged.join("10-hidden.json"), description("hidden", "*", "")).unwrap();
        std::fs::write(own.join("10-hidden.json"), "").unwrap();
        std::fs::write(packaged.join("20-junk.json"), "{}").unwrap();
        std::fs::write(packaged.join("30-secure.json"), description("secure", "pc-q35-*", secure)).unwrap();
        std::fs::write(packaged.join("40-plain.json"), description("plain", "pc-*", "")).unwrap();
        std::fs::write(packaged.join("README"), "not one").unwrap();
        let missing = directory.path().join("missing");
        let read = Descriptions::read_from(&[&missing, &own, &packaged]).unwrap();
        (directory, read)
    }

    fn check(change: impl FnOnce(&mut FirmwareRequest<'_>), expect: Option<&str>) {
        let mut wanted = FirmwareRequest {
            machine: "pc-q35-10.0",
            loader: None,
            secure_boot: None,
            enrolled_keys: None,
            smm: None,
        };
        change(&mut wanted);
        let choice = host().1.choose(&wanted);
        assert_eq!(choice.map(|it| it.loader), expect.map(PathBuf::from));
    }

    #[test]
    fn the_first_that_fits_is_chosen() {
        check(|_| {}, Some("/fw/secure.fd"));
        check(|wanted| wanted.secure_boot = Some(false), Some("/fw/plain.fd"));
        check(|wanted| wanted.smm = Some(false), Some("/fw/plain.fd"));
        check(|wanted| wanted.enrolled_keys = Some(true), None);
        check(|wanted| wanted.machine = "pc-i440fx-10.0", Some("/fw/plain.fd"));
        check(|wanted| wanted.machine = "microvm", None);
    }

    #[test]
    fn only_described_files_are_known() {
        let (_directory, host) = host();
        assert!(host.name(Path::new("/fw/plain.vars")) && host.name(Path::new("/fw/secure.fd")));
        assert!(!host.name(Path::new("/fw/hidden.fd")) && !host.name(Path::new("/etc/shadow")));
    }
}
