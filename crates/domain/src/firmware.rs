//! The firmware that `<os>` asks for: chosen by the host (`firmware='efi'`), or named with its files. It never looks for a
//! file; freezing asks for the choice and writes it down.

use std::path::{Path, PathBuf};

use crate::definition::Freezer;
use crate::disk::DiskSource;
use crate::domain::Domain;
use crate::edit::{Editor, Element};
use crate::features::Features;
use crate::os::MachineFamily;
use crate::read::Reading;
use crate::reader::{Node, Reader, is, text};
use crate::word::words;

/// What `<os>` says about firmware. Nothing said: QEMU's SeaBIOS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// `<os firmware=…>`: the host chooses when the domain is defined; `loader` and `nvram` hold the choice then.
    pub automatic: Option<FirmwareKind>,
    /// `<firmware><feature name='secure-boot' enabled=…/>`: what the choice must or must not have.
    pub secure_boot: Option<bool>,
    /// `<firmware><feature name='enrolled-keys' enabled=…/>`: whether keys are in the variables from the beginning.
    pub enrolled_keys: Option<bool>,
    /// `<loader>`, where it names a file.
    pub loader: Option<Loader>,
    /// `<loader secure=…>`: whether only code in system management mode may write the variables.
    pub secure: Option<bool>,
    /// `<nvram>`: where the firmware's variables are.
    pub nvram: Option<Nvram>,
}

words! {
    /// A kind of firmware.
    pub enum FirmwareKind {
        /// SeaBIOS, which QEMU brings.
        Bios = "bios",
        /// UEFI.
        Efi = "efi",
    }
}

/// `<loader>`: the firmware's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    /// An absolute path; the same contents on every host that the domain may run on.
    pub path: PathBuf,
    /// How the machine sees it.
    pub kind: LoaderKind,
    /// `format`; only for [`LoaderKind::Pflash`].
    pub format: FlashFormat,
    /// `stateless='yes'`: it has no variables.
    pub stateless: bool,
}

words! {
    /// How the machine sees its firmware.
    pub enum LoaderKind {
        /// As ROM (QEMU's `-bios`).
        Rom = "rom",
        /// As flash memory that the guest reads (QEMU's `-machine pflash0=`).
        Pflash = "pflash",
    }
}

words! {
    /// How a flash image is stored.
    pub enum FlashFormat {
        /// Byte for byte.
        Raw = "raw",
        /// QEMU's own.
        Qcow2 = "qcow2",
    }
}

/// `<nvram>`: the file with the firmware's variables (QEMU's `-machine pflash1=`). It belongs to the domain as a disk does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvram {
    /// The file, an absolute path; none before freezing. Where it is missing at a start it is made from `template`.
    pub path: Option<PathBuf>,
    /// `template`: a file with the variables that a new guest begins with.
    pub template: Option<PathBuf>,
    /// `format`, of the file and of the template.
    pub format: FlashFormat,
}

/// What a host is asked for when it chooses firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareRequest<'a> {
    /// The versioned machine.
    pub machine: &'a str,
    /// Firmware that is named already: only its variables are asked for.
    pub loader: Option<&'a Loader>,
    /// What it must or must not have; none is of no matter.
    pub secure_boot: Option<bool>,
    /// As `secure_boot`.
    pub enrolled_keys: Option<bool>,
    /// Whether it may or must need system management mode; none is of no matter.
    pub smm: Option<bool>,
}

/// Firmware that a host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareChoice {
    /// The code.
    pub loader: PathBuf,
    /// The variables that a new guest begins with.
    pub template: PathBuf,
    /// How both are stored.
    pub format: FlashFormat,
    /// Whether it checks signatures of what it boots.
    pub secure_boot: bool,
    /// Whether keys are enrolled.
    pub enrolled_keys: bool,
    /// Whether it needs system management mode.
    pub requires_smm: bool,
}

impl Firmware {
    /// Whether the host is still to choose.
    pub fn is_open(&self) -> bool {
        let chosen = self.loader.as_ref().is_some_and(|loader| {
            loader.kind == LoaderKind::Rom
                || loader.stateless
                || self.nvram.as_ref().is_some_and(|it| it.path.is_some())
        });
        !chosen && (self.automatic == Some(FirmwareKind::Efi) || self.loader.is_some())
    }

    /// Reads firmware out of `<os>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, os: Node<'a>) -> Firmware {
        let automatic = reader.word(os, "firmware");
        let (secure_boot, enrolled_keys) = features(reader, os);
        let loader_node = reader.child(os, "loader");
        let loader = loader_node.and_then(|node| loader(reader, node));
        let firmware = Firmware {
            automatic,
            secure_boot,
            enrolled_keys,
            secure: loader_node.and_then(|node| reader.flag(node, "secure", "yes", "no")),
            nvram: reader.child(os, "nvram").and_then(|node| nvram(reader, node)),
            loader,
        };
        firmware.fits(reader, os);
        firmware
    }

    fn fits<'a>(&self, reader: &mut Reader<'a>, os: Node<'a>) {
        let flash = self.loader.as_ref().is_none_or(|loader| loader.kind == LoaderKind::Pflash);
        let uefi = self.automatic == Some(FirmwareKind::Efi) || self.loader.is_some();
        for name in ["firmware", "loader", "nvram"] {
            let Some(node) = reader.child(os, name) else { continue };
            let (fits, mend) = match name {
                "firmware" => (self.automatic == Some(FirmwareKind::Efi), "write firmware='efi' into <os>"),
                "loader" => (
                    self.automatic != Some(FirmwareKind::Bios) || !flash,
                    "remove it: with firmware='bios' QEMU takes its own SeaBIOS",
                ),
                _ => (uefi && flash, "remove it, or write firmware='efi' into <os>"),
            };
            if !fits {
                reader.refuse(node, format!("<{name}> does not belong to this firmware"), mend);
            }
        }
        if let (Some(node), Some(Loader { stateless: true, .. })) = (reader.child(os, "nvram"), &self.loader)
        {
            reader.refuse(node, "<nvram> of a firmware without variables", "remove it, or `stateless`");
        }
        if self.automatic.is_none()
            && self.loader.is_none()
            && let Some(node) = reader.child(os, "loader")
        {
            reader.refuse(node, "<loader> names no file", "write its path, or firmware='efi' into <os>");
        }
    }

    /// What fits neither the machine nor its features.
    pub(crate) fn check<'a>(
        &self,
        reader: &mut Reader<'a>,
        os: Node<'a>,
        family: MachineFamily,
        features: &Features,
    ) {
        if self.secure != Some(true) && self.secure_boot != Some(true) {
            return;
        }
        let place = reader.child(os, "loader").unwrap_or(os);
        if family != MachineFamily::Q35 {
            let mend = "take a q35 machine, or do without secure boot";
            reader.refuse(place, "secure boot needs system management mode, which only q35 has", mend);
        }
        if features.smm == Some(false) {
            let mend = "write <smm state='on'/> into <features>";
            reader.refuse(place, "secure boot needs system management mode, which is off", mend);
        }
    }
}

fn features<'a>(reader: &mut Reader<'a>, os: Node<'a>) -> (Option<bool>, Option<bool>) {
    let (mut secure_boot, mut enrolled_keys) = (None, None);
    let Some(node) = reader.child(os, "firmware") else { return (None, None) };
    reader.vocabulary(node, &[], &["feature"]);
    for feature in node.children().filter(|child| is(*child, "feature")) {
        reader.vocabulary(feature, &["name", "enabled"], &[]);
        let enabled = reader.flag(feature, "enabled", "yes", "no");
        match reader.required(feature, "name", "write `name`") {
            Some("secure-boot") => secure_boot = enabled,
            Some("enrolled-keys") => enrolled_keys = enabled,
            Some(_) => reader.only(
                feature,
                "name",
                &["secure-boot", "enrolled-keys"],
                "write `secure-boot` or `enrolled-keys`",
            ),
            None => {}
        }
    }
    (secure_boot, enrolled_keys)
}

fn loader<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Loader> {
    reader.vocabulary(node, &["readonly", "secure", "type", "stateless", "format"], &[]);
    let kind = if node.has_attribute("type") { reader.word(node, "type")? } else { LoaderKind::Rom };
    reader.only(node, "readonly", &["yes"], "write readonly='yes': variables go into an <nvram>");
    let stateless = reader.flag(node, "stateless", "yes", "no").unwrap_or(false);
    let format = format(reader, node, "format")?;
    let file = text(node);
    if file.trim().is_empty() {
        return None;
    }
    if kind == LoaderKind::Rom && (stateless || node.has_attribute("secure") || node.has_attribute("format"))
    {
        reader.refuse(node, "a loader in ROM that says what only flash has", "write type='pflash'");
    }
    Some(Loader { path: reader.path(node, None, file.trim())?, kind, format, stateless })
}

fn nvram<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Nvram> {
    reader.vocabulary(node, &["template", "templateFormat", "format", "type"], &["source"]);
    reader.only(node, "type", &["file"], "put the variables into a file and write type='file'");
    let template = match node.attribute("template") {
        Some(template) => Some(reader.path(node, Some("template"), template)?),
        None => None,
    };
    let own = format(reader, node, "format")?;
    if node.has_attribute("templateFormat") && format(reader, node, "templateFormat")? != own {
        let mend = "write the same `format` and `templateFormat`, or convert the template with qemu-img";
        reader.refuse_attribute(node, "templateFormat", "a template is copied as it is", mend);
    }
    let path = match reader.child(node, "source") {
        Some(source) => {
            reader.vocabulary(source, &["file"], &[]);
            let file = reader.required(source, "file", "write the path as `file`")?;
            Some(reader.path(source, Some("file"), file)?)
        }
        None => match text(node).trim() {
            "" => None,
            path => Some(reader.path(node, None, path)?),
        },
    };
    Some(Nvram { path, template, format: own })
}

fn format<'a>(reader: &mut Reader<'a>, node: Node<'a>, name: &str) -> Option<FlashFormat> {
    if node.has_attribute(name) { reader.word(node, name) } else { Some(FlashFormat::Raw) }
}

/// Writes the host's choice into the text, as libvirt does when a domain is defined.
pub(crate) fn freeze<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    with: &mut dyn Freezer,
) {
    let Reading { domain, nodes } = reading;
    let firmware = &domain.os.firmware;
    let (Some(os), true) = (nodes.os, firmware.is_open()) else { return };
    let Some(machine) = with.machine(&domain.os.machine) else { return };
    let wanted = FirmwareRequest {
        machine: &machine,
        loader: firmware.loader.as_ref(),
        secure_boot: firmware.secure_boot.or(firmware.secure.filter(|secure| *secure)),
        enrolled_keys: firmware.enrolled_keys,
        smm: firmware.secure.or(domain.features.smm.filter(|smm| !smm)),
    };
    let own_template = firmware.nvram.as_ref().and_then(|nvram| nvram.template.clone());
    let choice = with.firmware(&wanted);
    if choice.is_none() && (firmware.loader.is_none() || own_template.is_none()) {
        let (place, mend) = match reader.child(os, "loader") {
            Some(loader) if firmware.loader.is_some() => {
                (loader, "write <nvram template='…'> with the variables that belong to this loader")
            }
            _ => (os, "install the host's UEFI firmware (package `ovmf`), or ask for less in <firmware>"),
        };
        reader.refuse(place, "this host knows no firmware that is what the definition asks for", mend);
        return;
    }
    let anchor = reader.child(os, "firmware").or_else(|| os.children().find(|child| is(*child, "type")));
    let mut new = Vec::new();
    if let Some(choice) = &choice
        && firmware.loader.is_none()
    {
        new.extend(features_element(reader, os, choice));
        write_loader(reader, editor, os, choice, &mut new);
        enable_smm(reader, editor, reading, choice);
    }
    let template = own_template.or(choice.as_ref().map(|choice| choice.template.clone()));
    let format = choice.map_or(FlashFormat::Raw, |choice| choice.format);
    let path = nvram_path(domain);
    let (path, template) = (path.display().to_string(), template.map(|it| it.display().to_string()));
    match reader.child(os, "nvram") {
        Some(node) => {
            if let (false, Some(template)) = (node.has_attribute("template"), template) {
                editor.set_attribute(node, "template", &template);
            }
            if !node.has_attribute("format") && format != FlashFormat::Raw {
                editor.set_attribute(node, "format", format.as_str());
            }
            editor.set_text(node, &path);
        }
        None => {
            let mut element = Element::new("nvram").text(path);
            if let Some(template) = template {
                element = element.attribute("template", template);
            }
            if format != FlashFormat::Raw {
                element = element.attribute("format", format.as_str());
            }
            match reader.child(os, "loader") {
                Some(loader) => editor.insert_after(loader, &[element]),
                None => new.push(element),
            }
        }
    }
    if let Some(anchor) = anchor {
        editor.insert_after(anchor, &new);
    }
}

/// What was chosen, in the words in which it could have been asked for.
fn features_element<'a>(reader: &mut Reader<'a>, os: Node<'a>, choice: &FirmwareChoice) -> Option<Element> {
    if reader.child(os, "firmware").is_some() {
        return None;
    }
    let feature = |name: &str, has| {
        let enabled = if has { "yes" } else { "no" };
        Element::new("feature").attribute("enabled", enabled).attribute("name", name)
    };
    let features = Element::new("firmware").child(feature("enrolled-keys", choice.enrolled_keys));
    Some(features.child(feature("secure-boot", choice.secure_boot)))
}

fn write_loader<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    os: Node<'a>,
    choice: &FirmwareChoice,
    new: &mut Vec<Element>,
) {
    let path = choice.loader.display().to_string();
    let mut attributes = vec![("readonly", "yes")];
    if choice.requires_smm {
        attributes.push(("secure", "yes"));
    }
    attributes.push(("type", LoaderKind::Pflash.as_str()));
    if choice.format != FlashFormat::Raw {
        attributes.push(("format", choice.format.as_str()));
    }
    match reader.child(os, "loader") {
        Some(node) => {
            for (name, value) in attributes {
                if !node.has_attribute(name) {
                    editor.set_attribute(node, name, value);
                }
            }
            editor.set_text(node, &path);
        }
        None => {
            let element = Element::new("loader").text(path);
            new.push(attributes.into_iter().fold(element, |it, (name, value)| it.attribute(name, value)));
        }
    }
}

fn enable_smm<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    choice: &FirmwareChoice,
) {
    if !choice.requires_smm || reading.domain.features.smm.is_some() {
        return;
    }
    let smm = Element::new("smm").attribute("state", "on");
    match (reader.child(reading.nodes.root, "features"), reading.nodes.os) {
        (Some(features), _) => editor.append(features, &[smm]),
        (None, Some(os)) => editor.insert_after(os, &[Element::new("features").child(smm)]),
        (None, None) => {}
    }
}

/// Where variables go that nobody gave a place: beside the first disk in a file, so that every host that sees the disk sees
/// them; without such a disk where libvirt keeps them.
fn nvram_path(domain: &Domain) -> PathBuf {
    let file = format!("{}_VARS.fd", domain.name);
    let own = domain.disks.iter().filter(|disk| disk.is_writable_alone());
    let mut directories = own.filter_map(|disk| match &disk.source {
        Some(DiskSource::File(path)) => path.parent(),
        Some(DiskSource::Block(_) | DiskSource::Nfs { .. }) | None => None,
    });
    directories.next().unwrap_or(Path::new("/var/lib/libvirt/qemu/nvram")).join(file)
}
