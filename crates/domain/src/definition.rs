//! [`Definition`]: a domain's XML as it was written, and what it says. It never changes a byte that no edit names.

use std::path::Path;

use uuid::Uuid;

use crate::cpu::{Cpu, CpuMode, CpuModel};
use crate::disk::DiskSource;
use crate::domain::Domain;
use crate::edit::{Editor, Element};
use crate::firmware::{FirmwareChoice, FirmwareRequest};
use crate::freeze;
use crate::interface::MacAddress;
use crate::limits::{XML_ATTRIBUTES_MAX, XML_BYTES_MAX, XML_NAMESPACES_MAX, XML_NODES_MAX};
use crate::problem::{DefinitionError, Problem};
use crate::read::Reading;
use crate::reader::{Reader, is};
use crate::{check, drives, read};

/// A domain's XML, byte for byte, with its typed reading. Two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Definition {
    xml: String,
    domain: Domain,
    notes: Vec<Problem>,
}

/// Where [`Definition::freeze`] takes what a definition leaves open.
pub trait Freezer {
    /// The versioned name of a machine: `q35` gives `pc-q35-10.0`, a versioned name gives itself. None: this QEMU has
    /// no such machine.
    fn machine(&mut self, name: &str) -> Option<String>;

    /// Firmware of this host that is what is asked for. None: it knows of none.
    fn firmware(&mut self, wanted: &FirmwareRequest<'_>) -> Option<FirmwareChoice> {
        let FirmwareRequest { .. } = wanted;
        None
    }

    /// A fresh UUID.
    fn uuid(&mut self) -> Uuid;

    /// A fresh unicast MAC address, by custom with the prefix 52:54:00.
    fn mac(&mut self) -> MacAddress;
}

impl PartialEq for Definition {
    fn eq(&self, other: &Definition) -> bool {
        self.xml == other.xml
    }
}

impl Eq for Definition {}

impl Definition {
    /// Reads a definition.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it at once: broken XML, what is not supported and the guest would miss, and
    /// what does not fit together.
    pub fn parse(xml: &str) -> Result<Definition, DefinitionError> {
        let document = tree(xml)?;
        let mut reader = Reader::new(&document);
        let reading = read::domain(&mut reader, document.root_element());
        if let Some(reading) = &reading {
            check::check(&mut reader, reading);
        }
        let (problems, notes) = reader.finish();
        match reading {
            Some(Reading { domain, nodes: _ }) if problems.is_empty() => {
                Ok(Definition { xml: xml.to_owned(), domain, notes })
            }
            Some(_) | None => Err(DefinitionError { problems }),
        }
    }

    /// The text, exactly as it was read and edited.
    pub fn xml(&self) -> &str {
        &self.xml
    }

    /// What the text says.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// What is kept in the text and not applied, since the guest does not see it: `<cputune>` for one.
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }

    /// Writes what must never drift into the text, as libvirt does when a domain is defined: UUID, MAC addresses, the
    /// versioned machine, the controllers that the devices need, the balloon, every address. What is there stays; what
    /// is complete comes back byte for byte. `host-model` stays (it is spelled out at each start, see
    /// [`with_cpu_model`](Definition::with_cpu_model)), and so does a missing `<emulator>`, which is each host's own.
    ///
    /// # Errors
    ///
    /// The QEMU has no such machine, the freezer repeats itself, or there is no place left on a bus.
    pub fn freeze(&self, with: &mut dyn Freezer) -> Result<Definition, DefinitionError> {
        let placed = self.edited(drives::freeze)?;
        placed.edited(|reader, editor, reading| freeze::freeze(reader, editor, reading, with))
    }

    /// The definition with another name.
    ///
    /// # Errors
    ///
    /// The name is not one that a domain can have.
    pub fn with_name(&self, name: &str) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            if let Some(node) = reader.child(reading.nodes.root, "name") {
                editor.set_text(node, name);
            }
        })
    }

    /// The definition with another UUID.
    ///
    /// # Errors
    ///
    /// The UUID is nil.
    pub fn with_uuid(&self, uuid: Uuid) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| freeze::set_uuid(reader, editor, reading, uuid))
    }

    /// The definition without its UUID, so that freezing makes a fresh one.
    ///
    /// # Errors
    ///
    /// None are known; the text is read again, as after every edit.
    pub fn without_uuid(&self) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            if let Some(node) = reader.child(reading.nodes.root, "uuid") {
                editor.remove(node);
            }
        })
    }

    /// The definition with another file or block device, as before, behind the disk that is `target` (`vda`). Without
    /// such a disk it is unchanged, and so it is where the disk is empty or comes over the network.
    ///
    /// # Errors
    ///
    /// The path is not absolute or not UTF-8, or another disk has it.
    pub fn with_disk_source(&self, target: &str, source: &Path) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            for (disk, node) in reading.domain.disks.iter().zip(&reading.nodes.disks) {
                let attribute = match &disk.source {
                    Some(DiskSource::File(_)) => "file",
                    Some(DiskSource::Block(_)) => "dev",
                    Some(DiskSource::Nfs { .. }) | None => continue,
                };
                if disk.target != target {
                    continue;
                }
                match (reader.child(*node, "source"), source.to_str()) {
                    (Some(node), Some(source)) => editor.set_attribute(node, attribute, source),
                    (_, None) => reader.refuse(*node, "the path is not UTF-8", "rename the file"),
                    (None, Some(_)) => {}
                }
            }
        })
    }

    /// The definition with another file for its firmware's variables. Without `<nvram>` it is unchanged.
    ///
    /// # Errors
    ///
    /// The path is not absolute or not UTF-8.
    pub fn with_nvram(&self, path: &Path) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| set_nvram(reader, editor, reading, path))
    }

    /// The definition with a spelled-out CPU model in place of `host-model`: the same `<cpu>` element, whose other
    /// content stays. A `<feature>` that is written already wins over one of the model. Any other CPU mode is left
    /// unchanged.
    ///
    /// # Errors
    ///
    /// A name that cannot be one of a model or a feature.
    pub fn with_cpu_model(&self, model: &CpuModel) -> Result<Definition, DefinitionError> {
        self.edited(|_, editor, reading| {
            if let (Some(Cpu { mode: CpuMode::HostModel, features, .. }), Some(node)) =
                (&reading.domain.cpu, reading.nodes.cpu)
            {
                editor.set_attribute(node, "mode", "custom");
                editor.set_attribute(node, "match", "exact");
                editor.set_attribute(node, "check", "full");
                for old in node.children().filter(|child| is(*child, "model")) {
                    editor.remove(old);
                }
                let mut elements =
                    vec![Element::new("model").attribute("fallback", "forbid").text(model.model.clone())];
                for feature in &model.features {
                    if features.iter().all(|written| written.name != feature.name) {
                        let element = Element::new("feature").attribute("policy", feature.policy.as_str());
                        elements.push(element.attribute("name", feature.name.clone()));
                    }
                }
                editor.append(node, &elements);
            }
        })
    }

    /// Edits the text and reads it again.
    pub(crate) fn edited(
        &self,
        edit: impl for<'a> FnOnce(&mut Reader<'a>, &mut Editor<'a>, &Reading<'a>),
    ) -> Result<Definition, DefinitionError> {
        let document = tree(&self.xml)?;
        let mut reader = Reader::new(&document);
        let mut editor = Editor::new(document.input_text());
        if let Some(reading) = read::domain(&mut reader, document.root_element()) {
            edit(&mut reader, &mut editor, &reading);
        }
        let (problems, _) = reader.finish();
        if problems.is_empty() {
            Definition::parse(&editor.finish())
        } else {
            Err(DefinitionError { problems })
        }
    }
}

/// Names another file for the variables, where there are some.
pub(crate) fn set_nvram<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    path: &Path,
) {
    let Some(node) = reading.nodes.os.and_then(|os| reader.child(os, "nvram")) else { return };
    match (reader.child(node, "source"), path.to_str()) {
        (_, None) => reader.refuse(node, "the path is not UTF-8", "rename the file"),
        (Some(source), Some(path)) => editor.set_attribute(source, "file", path),
        (None, Some(path)) => editor.set_text(node, path),
    }
}

/// Parses the XML within the crate's limits.
pub(crate) fn tree(xml: &str) -> Result<roxmltree::Document<'_>, DefinitionError> {
    if xml.len() > XML_BYTES_MAX {
        let message = format!("the text is {} bytes long", xml.len());
        return Err(broken(1, 1, message, format!("give a definition of at most {XML_BYTES_MAX} bytes")));
    }
    for (what, sign, most) in
        [("attributes", "=", XML_ATTRIBUTES_MAX), ("namespaces", "xmlns", XML_NAMESPACES_MAX)]
    {
        if xml.matches(sign).count() > most {
            let mend = format!("give a definition with at most {most} times `{sign}`");
            return Err(broken(1, 1, format!("the text has too many {what}"), mend));
        }
    }
    let options = roxmltree::ParsingOptions { nodes_limit: XML_NODES_MAX, ..Default::default() };
    roxmltree::Document::parse_with_options(xml, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => {
            let before = xml.find("<!DOCTYPE").map_or("", |offset| &xml[..offset]);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            let position = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let message = "the text has a document type declaration".to_owned();
            broken(position(line), position(column), message, "remove the <!DOCTYPE …>".to_owned())
        }
        roxmltree::Error::NodesLimitReached => {
            let message = "the text has too many elements".to_owned();
            broken(1, 1, message, format!("give a definition of at most {XML_NODES_MAX} elements and texts"))
        }
        error => {
            let position = error.pos();
            let said = error.to_string();
            let said = said.strip_suffix(&format!(" at {position}")).unwrap_or(&said);
            let message = format!("the text is not well-formed XML: {said}");
            broken(position.row, position.col, message, "correct the text there".to_owned())
        }
    })
}

fn broken(line: u32, column: u32, message: String, mend: String) -> DefinitionError {
    DefinitionError { problems: vec![Problem { line, column, element: String::new(), message, mend }] }
}
