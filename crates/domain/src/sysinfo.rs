//! `<sysinfo>`: what the guest reads in its SMBIOS tables and in QEMU's `fw_cfg`. It never makes anything up: what is not
//! written is QEMU's default.

use std::path::PathBuf;

use crate::reader::{Node, Reader, is, qname, text};
use crate::word::words;

/// Every `<sysinfo>` of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemInformation {
    /// `<os><smbios mode='sysinfo'/>` and `<sysinfo type='smbios'>`: tables in the order of their types.
    pub smbios: Vec<SmbiosTable>,
    /// `<sysinfo type='fwcfg'>`: entries in order.
    pub fw_cfg: Vec<FwCfgEntry>,
}

/// One table (QEMU's `-smbios type=`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmbiosTable {
    /// Which.
    pub kind: SmbiosKind,
    /// Fields with their values, as they are written.
    pub fields: Vec<(String, String)>,
}

words! {
    /// Tables that can be written.
    pub enum SmbiosKind {
        /// Type 0.
        Bios = "bios",
        /// Type 1.
        System = "system",
        /// Type 2; there may be several.
        BaseBoard = "baseBoard",
        /// Type 3.
        Chassis = "chassis",
        /// Type 11.
        OemStrings = "oemStrings",
    }
}

impl SmbiosKind {
    /// Its fields, which have the same names in libvirt and in QEMU; those of [`SmbiosKind::OemStrings`] have none.
    fn fields(self) -> &'static [&'static str] {
        match self {
            SmbiosKind::Bios => &["vendor", "version", "date", "release"],
            SmbiosKind::System => &["manufacturer", "product", "version", "serial", "uuid", "sku", "family"],
            SmbiosKind::BaseBoard => &["manufacturer", "product", "version", "serial", "asset", "location"],
            SmbiosKind::Chassis => &["manufacturer", "version", "serial", "asset", "sku"],
            SmbiosKind::OemStrings => &[],
        }
    }
}

/// One `<entry>` (QEMU's `-fw_cfg`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwCfgEntry {
    /// Its name, which begins with `opt/`.
    pub name: String,
    /// What the guest reads.
    pub value: FwCfgValue,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FwCfgValue {
    /// A text.
    Text(String),
    /// The contents of a file on the host.
    File(PathBuf),
}

impl SystemInformation {
    /// Reads every `<sysinfo>`, and `<smbios>` of `<os>`.
    pub(crate) fn read<'a>(
        reader: &mut Reader<'a>,
        root: Node<'a>,
        os: Option<Node<'a>>,
    ) -> SystemInformation {
        let mut read = SystemInformation::default();
        let shown = smbios_shown(reader, os);
        for node in root.children().filter(|child| is(*child, "sysinfo")) {
            match node.attribute("type").unwrap_or("smbios") {
                "smbios" => {
                    let tables = smbios(reader, node);
                    // Without <smbios mode='sysinfo'/> the guest does not see them, as in libvirt.
                    read.smbios.extend(tables.into_iter().filter(|_| shown));
                }
                "fwcfg" => fw_cfg(reader, node, &mut read.fw_cfg),
                _ => reader.only(node, "type", &["smbios", "fwcfg"], "write type='smbios' or type='fwcfg'"),
            }
        }
        read.smbios.sort_by_key(|table| table.kind as u8);
        if shown
            && read.smbios.is_empty()
            && let Some(node) = os.and_then(|os| reader.child(os, "smbios"))
        {
            reader.refuse(node, "<smbios mode='sysinfo'/> without <sysinfo>", "add <sysinfo type='smbios'>");
        }
        read
    }
}

fn smbios_shown<'a>(reader: &mut Reader<'a>, os: Option<Node<'a>>) -> bool {
    let Some(node) = os.and_then(|os| reader.child(os, "smbios")) else { return false };
    reader.vocabulary(node, &["mode"], &[]);
    let mend =
        "write mode='sysinfo' and the values into <sysinfo>: the tables of a host do not follow a guest";
    reader.only(node, "mode", &["emulate", "sysinfo"], mend);
    node.attribute("mode") == Some("sysinfo")
}

fn smbios<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Vec<SmbiosTable> {
    use crate::word::Word;
    reader.attributes(node, &["type"]);
    let mut tables: Vec<SmbiosTable> = Vec::new();
    for child in node.children().filter(Node::is_element) {
        let Some((_, kind)) = SmbiosKind::WORDS.iter().find(|(word, _)| is(child, word)) else {
            reader.unsupported(child);
            continue;
        };
        if *kind != SmbiosKind::BaseBoard && tables.iter().any(|table| table.kind == *kind) {
            reader.refuse(child, format!("a second <{}> in <sysinfo>", qname(child)), "keep one of the two");
        }
        reader.vocabulary(child, &[], &["entry"]);
        let entries = child.children().filter(|entry| is(*entry, "entry"));
        let fields = entries.filter_map(|entry| field(reader, entry, *kind)).collect();
        tables.push(SmbiosTable { kind: *kind, fields });
    }
    tables
}

fn field<'a>(reader: &mut Reader<'a>, entry: Node<'a>, kind: SmbiosKind) -> Option<(String, String)> {
    let value = text(entry);
    if kind == SmbiosKind::OemStrings {
        reader.vocabulary(entry, &[], &[]);
        return Some(("value".to_owned(), value));
    }
    reader.vocabulary(entry, &["name"], &[]);
    let name = reader.required(entry, "name", "write `name`")?;
    reader.only(
        entry,
        "name",
        kind.fields(),
        "take one of the fields that QEMU knows, or remove the <entry>",
    );
    Some((name.to_owned(), value.trim().to_owned()))
}

fn fw_cfg<'a>(reader: &mut Reader<'a>, node: Node<'a>, entries: &mut Vec<FwCfgEntry>) {
    reader.vocabulary(node, &["type"], &["entry"]);
    for entry in node.children().filter(|child| is(*child, "entry")) {
        reader.vocabulary(entry, &["name", "file"], &[]);
        let Some(name) = reader.required(entry, "name", "write `name`, beginning with opt/") else {
            continue;
        };
        let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !name.starts_with("opt/") || !plain || entries.iter().any(|other| other.name == name) {
            let message = format!("`{name}` is not a name that an entry can have, or it is taken");
            reader.refuse_attribute(entry, "name", message, "write a name of its own that begins with opt/");
        }
        let value = match entry.attribute("file") {
            Some(file) => reader.path(entry, Some("file"), file).map(FwCfgValue::File),
            None => Some(FwCfgValue::Text(text(entry))),
        };
        entries.extend(value.map(|value| FwCfgEntry { name: name.to_owned(), value }));
    }
}
