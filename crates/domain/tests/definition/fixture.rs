//! Definitions to test with, a freezer that counts, and problems as text. Never used outside tests.

use std::path::Path;

use domain::{
    Definition, DefinitionError, FirmwareChoice, FirmwareRequest, FlashFormat, Freezer, MacAddress,
};
use uuid::Uuid;

/// Freezes with numbers that count up, and machines of QEMU 10.0.
#[derive(Default)]
pub(crate) struct Counting {
    /// The last number given away.
    pub(crate) next: u8,
}

impl Freezer for Counting {
    fn machine(&mut self, name: &str) -> Option<String> {
        match name {
            "q35" => Some("pc-q35-10.0".to_owned()),
            "pc" => Some("pc-i440fx-10.0".to_owned()),
            versioned if versioned.ends_with("-10.0") => Some(versioned.to_owned()),
            _ => None,
        }
    }

    /// As Debian's package `ovmf` describes it.
    fn firmware(&mut self, wanted: &FirmwareRequest<'_>) -> Option<FirmwareChoice> {
        let all = [
            ("CODE_4M.ms", "VARS_4M.ms", true, true),
            ("CODE_4M.secboot", "VARS_4M", true, false),
            ("CODE_4M", "VARS_4M", false, false),
        ];
        let choices = all.map(|(code, variables, secure_boot, enrolled_keys)| FirmwareChoice {
            loader: format!("/usr/share/OVMF/OVMF_{code}.fd").into(),
            template: format!("/usr/share/OVMF/OVMF_{variables}.fd").into(),
            format: FlashFormat::Raw,
            secure_boot,
            enrolled_keys,
            requires_smm: secure_boot,
        });
        let is = |wanted: Option<bool>, is| wanted.is_none_or(|wanted| wanted == is);
        choices.into_iter().find(|choice| match wanted.loader {
            Some(loader) => loader.path == choice.loader,
            None => {
                is(wanted.secure_boot, choice.secure_boot)
                    && is(wanted.enrolled_keys, choice.enrolled_keys)
                    && is(wanted.smm, choice.requires_smm)
                    && (!choice.requires_smm || wanted.machine.contains("q35"))
            }
        })
    }

    fn uuid(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_bytes([self.next; 16])
    }

    fn mac(&mut self) -> MacAddress {
        self.next += 1;
        MacAddress([0x52, 0x54, 0, 0xaa, 0xbb, self.next])
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// One definition of the corpus.
pub(crate) fn corpus(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("the corpus has this file")
}

/// Every definition of the corpus, with its file name.
pub(crate) fn all() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder()).expect("the corpus is there");
    let names =
        files.map(|file| file.expect("it can be listed").file_name().into_string().expect("it is UTF-8"));
    let names = names.filter(|name| name.ends_with(".xml"));
    let mut all: Vec<_> = names.map(|name| (name.clone(), corpus(&name))).collect();
    all.sort();
    assert!(all.len() >= 4, "the corpus is not empty");
    all
}

/// Every definition that a real tool printed and that is not refused, of one kind: `xml` is virt-install's, and
/// `defined.xml` libvirt's. Which are refused stands in docs/compatibility.md.
pub(crate) fn real(kind: &str) -> Vec<(String, String)> {
    let folder = folder().join("real");
    let files = std::fs::read_dir(&folder).expect("the corpus is there");
    let names =
        files.map(|file| file.expect("it can be listed").file_name().into_string().expect("it is UTF-8"));
    let names = names.filter(|name| name.split_once('.').is_some_and(|(_, rest)| rest == kind));
    let texts = names.map(|name| (std::fs::read_to_string(folder.join(&name)).expect("it is a text"), name));
    let mut taken: Vec<_> =
        texts.filter(|(xml, _)| Definition::parse(xml).is_ok()).map(|(xml, name)| (name, xml)).collect();
    taken.sort();
    assert!(!taken.is_empty(), "the corpus is not empty");
    taken
}

/// Problems, one a line.
pub(crate) fn listed(error: &DefinitionError) -> String {
    error.problems.iter().map(|problem| format!("{problem}\n")).collect()
}
