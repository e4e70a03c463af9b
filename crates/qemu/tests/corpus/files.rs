//! The corpus as files, and what becomes of one: frozen, and a command line.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use domain::{
    Definition, DefinitionError, FirmwareChoice, FirmwareRequest, FlashFormat, Freezer, MacAddress,
};
use jiff::Zoned;
use jiff::civil::date;
use jiff::tz::TimeZone;
use qemu::accelerator::Accelerator;
use qemu::command_line::{CommandLine, Launch};

static NOW: LazyLock<Zoned> =
    LazyLock::new(|| date(2026, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).expect("UTC has every time"));

/// Freezes with machines of QEMU 10.0. The corpus holds every UUID and every MAC address.
pub(crate) struct Frozen;

impl Freezer for Frozen {
    fn machine(&mut self, name: &str) -> Option<String> {
        Some(match name {
            "q35" => "pc-q35-10.0".to_owned(),
            "pc" => "pc-i440fx-10.0".to_owned(),
            versioned => versioned.to_owned(),
        })
    }

    /// What libvirt chose: of Debian's firmware the first that fits, in the order of its descriptors.
    fn firmware(&mut self, wanted: &FirmwareRequest<'_>) -> Option<FirmwareChoice> {
        let all = [
            ("CODE_4M.ms", "VARS_4M.ms", true, true),
            ("CODE_4M.secboot", "VARS_4M", true, false),
            ("CODE_4M", "VARS_4M", false, false),
        ];
        let path = |name: &str| PathBuf::from(format!("/usr/share/OVMF/OVMF_{name}.fd"));
        let may = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        let (code, variables, secure_boot, enrolled_keys) =
            all.into_iter().find(|(code, _, secure, keys)| {
                wanted.loader.is_none_or(|loader| loader.path == path(code))
                    && may(wanted.secure_boot, *secure)
                    && may(wanted.enrolled_keys, *keys)
                    && may(wanted.smm, *secure)
                    && (!secure || wanted.machine.contains("q35"))
            })?;
        Some(FirmwareChoice {
            loader: path(code),
            template: path(variables),
            format: FlashFormat::Raw,
            secure_boot,
            enrolled_keys,
            requires_smm: secure_boot,
        })
    }

    fn uuid(&mut self) -> uuid::Uuid {
        uuid::Uuid::from_u128(1)
    }

    fn mac(&mut self) -> MacAddress {
        MacAddress([0x52, 0x54, 0, 0, 0, 1])
    }
}

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Without any extension: of the domain, too.
    pub(crate) name: String,
    /// With its extension: `win11.defined.xml`.
    pub(crate) file: String,
    /// What it holds.
    pub(crate) xml: String,
}

/// Where the files lie.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/corpus/real")
}

/// Every definition, sorted by name.
pub(crate) fn all() -> Vec<File> {
    let entries = std::fs::read_dir(folder()).expect("the corpus is there");
    let mut files: Vec<File> = entries
        .map(|entry| entry.expect("it can be listed").file_name().into_string().expect("it is UTF-8"))
        .filter(|file| file.ends_with(".xml"))
        .map(|file| {
            let xml = std::fs::read_to_string(folder().join(&file)).expect("it is a text");
            let name = file.split('.').next().unwrap_or_default().to_owned();
            File { name, file, xml }
        })
        .collect();
    files.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(files.len() >= 60, "the corpus is whole");
    files
}

/// libvirt's command line of a domain, or none where libvirt was not asked for it.
pub(crate) fn argv(name: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.argv"))).ok()?;
    Some(shell_words(&text))
}

/// The definition as it is kept.
pub(crate) fn frozen(xml: &str) -> Result<Definition, DefinitionError> {
    Definition::parse(xml)?.freeze(&mut Frozen)
}

/// Ferry's arguments for a frozen definition, with what `host-model` was expanded to.
pub(crate) fn arguments(
    definition: &Definition,
    accelerator: Accelerator,
    host_model: &str,
    run: &Path,
) -> Vec<String> {
    let taps: Vec<String> =
        (0..definition.domain().interfaces.len()).map(|number| format!("tap-{number}")).collect();
    let launch = Launch {
        domain: definition.domain(),
        accelerator,
        cpu: Some(host_model),
        run_directory: run,
        taps: &taps,
        spice_port: Some(5901),
        vhost: false,
        incoming: false,
        now: &NOW,
    };
    let line = CommandLine::new(&launch).expect("a frozen definition has a command line");
    line.arguments().into_iter().map(|it| it.into_string().expect("the corpus is UTF-8")).collect()
}

/// Accelerator that a definition asks for.
pub(crate) fn accelerator(definition: &Definition) -> Accelerator {
    match definition.domain().kind {
        domain::Kind::Kvm => Accelerator::Kvm,
        domain::Kind::Qemu => Accelerator::Tcg,
    }
}

/// libvirt quotes with `'` what a shell would take apart, and has no other escape here.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '\'' => quoted = !quoted,
            letter if letter.is_whitespace() && !quoted => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            }
            letter => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}
