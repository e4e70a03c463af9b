//! Devices that come and go: a `<disk>` or `<interface>` is put into a definition or taken out, a drive gets another
//! medium. It never asks whether the domain runs: the caller says.

use crate::controller::{Controller, ControllerModel};
use crate::definition::{Definition, Freezer, tree};
use crate::disk::{DiskBus, DiskSource};
use crate::domain::Domain;
use crate::edit::{Editor, Element};
use crate::interface::{INTERFACE_ALIAS, MacAddress};
use crate::os::MachineFamily;
use crate::problem::{DefinitionError, Problem};
use crate::read::Reading;
use crate::reader::{Node, Reader, is, path, qname};

/// Which device [`Definition::attach`] has put in, by its place in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// In [`Domain::disks`].
    Disk(usize),
    /// In [`Domain::interfaces`].
    Interface(usize),
}

impl Definition {
    /// The frozen definition with one more device, and which one it is. `fragment` is one `<disk>` or `<interface>`;
    /// its text is put behind the last of its kind as it is, and what it leaves open is frozen. With `live` it has to
    /// fit the machine as it runs: a controller that is missing is refused instead of added.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the device, at its place in the fragment.
    pub fn attach(
        &self,
        fragment: &str,
        with: &mut dyn Freezer,
        live: bool,
    ) -> Result<(Definition, Attached), DefinitionError> {
        let document = tree(fragment)?;
        let root = document.root_element();
        let at = document.text_pos_at(root.range().start);
        let refuse = |message: &str, mend: &str| DefinitionError {
            problems: vec![Problem {
                line: at.row,
                column: at.col,
                element: path(root),
                message: message.to_owned(),
                mend: mend.to_owned(),
            }],
        };
        let frozen = self.freeze(with)?;
        let attached = match qname(root) {
            "disk" => Attached::Disk(frozen.domain().disks.len()),
            "interface" => Attached::Interface(frozen.domain().interfaces.len()),
            _ => return Err(refuse("only a <disk> or an <interface> can be attached", "give one of these")),
        };
        let (text, offset) = frozen.inserted(qname(root), &fragment[root.range()])?;
        let place = Place::of(&text, offset, (at.row, at.col))?;
        let relocated = |error: DefinitionError| place.relocate(error);
        let read = Definition::parse(&text).map_err(relocated)?;
        let complete = read.freeze(with).map_err(relocated)?;
        if live && let Some((message, mend)) = unfit(frozen.domain(), complete.domain(), attached) {
            return Err(refuse(message, mend));
        }
        Ok((complete, attached))
    }

    /// The definition without the disk that is `target` (`vda`). Its controllers stay. Without such a disk it is
    /// unchanged.
    ///
    /// # Errors
    ///
    /// What is left cannot be used.
    pub fn detach_disk(&self, target: &str) -> Result<Definition, DefinitionError> {
        self.edited(|_, editor, reading| {
            for (disk, node) in reading.domain.disks.iter().zip(&reading.nodes.disks) {
                if disk.target == target {
                    editor.remove(*node);
                }
            }
        })
    }

    /// The definition without the interface that has this MAC address. The others keep the ids that QEMU knows them by
    /// ([`Domain::interface_id`]): where that is not their place any more, it is written into their `<alias>`. Without
    /// such an interface it is unchanged.
    ///
    /// # Errors
    ///
    /// What is left cannot be used.
    pub fn detach_interface(&self, mac: MacAddress) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            let domain = &reading.domain;
            let Some(gone) = domain.interfaces.iter().position(|it| it.mac == Some(mac)) else { return };
            for (place, node) in reading.nodes.interfaces.iter().enumerate() {
                if place == gone {
                    editor.remove(*node);
                } else if place > gone || domain.interface_id(place) != place.to_string() {
                    write_id(reader, editor, *node, &domain.interface_id(place));
                }
            }
        })
    }

    /// The definition with another medium, or none, in the CD drive that is `target` (`sda`).
    ///
    /// # Errors
    ///
    /// There is no such drive, the path is not absolute or not UTF-8, or a writable disk has it.
    pub fn change_media(
        &self,
        target: &str,
        source: Option<&DiskSource>,
    ) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            let Reading { domain, nodes } = reading;
            let drive = domain.disks.iter().zip(&nodes.disks).find(|(disk, _)| disk.target == target);
            let Some((_, node)) = drive.filter(|(disk, _)| disk.is_cdrom()) else {
                let place = drive.map(|(_, node)| *node).or(nodes.devices).unwrap_or(nodes.root);
                let message = format!("there is no CD drive `{target}`");
                reader.refuse(place, message, "name one that is there: only its medium can be changed");
                return;
            };
            let old = reader.child(*node, "source");
            if let Some(old) = old {
                editor.remove(old);
            }
            let Some(source) = source else { return };
            let Some(element) = element_of(source) else {
                reader.refuse(*node, "the path is not UTF-8", "rename the file");
                return;
            };
            editor.set_attribute(*node, "type", source.kind());
            match old.or_else(|| reader.child(*node, "driver")) {
                Some(before) => editor.insert_after(before, &[element]),
                None => editor.prepend(*node, &[element]),
            }
        })
    }

    /// The text with an element behind the last of its kind, and where it begins.
    fn inserted(&self, kind: &str, element: &str) -> Result<(String, usize), DefinitionError> {
        let document = tree(self.xml())?;
        let devices = document.root_element().children().find(|child| is(*child, "devices"));
        let last = |name: &str| devices.and_then(|all| all.children().rfind(|child| is(*child, name)));
        let any = || devices.and_then(|all| all.last_element_child());
        let anchor = last(kind).or_else(|| last("controller")).or_else(any);
        let anchor = anchor.expect("a frozen definition has a memory balloon");
        let mut editor = Editor::new(document.input_text());
        let offset = editor.insert_text_after(anchor, element);
        Ok((editor.finish(), offset))
    }
}

/// The `<source>` of a disk; none where its path is not UTF-8.
fn element_of(source: &DiskSource) -> Option<Element> {
    let element = Element::new("source");
    Some(match source {
        DiskSource::File(path) => element.attribute("file", path.to_str()?),
        DiskSource::Block(path) => element.attribute("dev", path.to_str()?),
        DiskSource::Nfs { host, path } => {
            let element = element.attribute("protocol", "nfs").attribute("name", path);
            element.child(Element::new("host").attribute("name", host))
        }
    })
}

/// Writes the id of an interface into its `<alias>`.
fn write_id<'a>(reader: &mut Reader<'a>, editor: &mut Editor<'a>, interface: Node<'a>, id: &str) {
    let name = format!("{INTERFACE_ALIAS}{id}");
    match reader.child(interface, "alias") {
        Some(alias) => editor.set_attribute(alias, "name", &name),
        None => editor.append(interface, &[Element::new("alias").attribute("name", name)]),
    }
}

/// Why a machine that runs cannot take a device, and what to do.
fn unfit(before: &Domain, after: &Domain, attached: Attached) -> Option<(&'static str, &'static str)> {
    let new = |it: &&Controller| {
        before.controllers.iter().all(|old| old.model != it.model || old.index != it.index)
    };
    if let Some(controller) = after.controllers.iter().find(new) {
        return Some(match controller.model {
            ControllerModel::PcieRootPort { .. } => (
                "the device needs a free <controller type='pci' model='pcie-root-port'/>, and there is none",
                "shut the domain off, and add such controllers or attach the device then",
            ),
            _ => (
                "the device needs a controller that the machine does not have",
                "shut the domain off, and attach the device then",
            ),
        });
    }
    if let Attached::Disk(place) = attached {
        match after.disks[place].bus {
            DiskBus::Virtio | DiskBus::Scsi | DiskBus::Usb => {}
            DiskBus::Sata | DiskBus::Ide => {
                return Some((
                    "a SATA or IDE drive cannot be plugged while the guest runs",
                    "write bus='virtio' or bus='scsi', or attach it while the domain is shut off",
                ));
            }
        }
    }
    let address = match attached {
        Attached::Disk(place) => after.disks[place].address,
        Attached::Interface(place) => after.interfaces[place].address,
    };
    (after.os.family == MachineFamily::Q35 && address.is_some_and(|it| it.bus == 0)).then_some((
        "nothing can be plugged into the root bus of a q35 machine that runs",
        "remove the <address>: a free one is assigned",
    ))
}

/// Where a fragment stands in the text that it was put into.
struct Place {
    /// Path of its element there.
    element: String,
    /// Its first line and column there.
    here: (u32, u32),
    /// Its first line and column in the fragment.
    fragment: (u32, u32),
}

impl Place {
    fn of(text: &str, offset: usize, fragment: (u32, u32)) -> Result<Place, DefinitionError> {
        let document = tree(text)?;
        let node = document.descendants().find(|node| node.is_element() && node.range().start == offset);
        let here = document.text_pos_at(offset);
        Ok(Place { element: node.map(path).unwrap_or_default(), here: (here.row, here.col), fragment })
    }

    /// Gives every problem its place in the fragment; one that shows elsewhere in the definition, the fragment's begin.
    fn relocate(&self, error: DefinitionError) -> DefinitionError {
        let relocated = |mut problem: Problem| {
            let inside = problem.element.strip_prefix(&self.element);
            let inside = inside.filter(|rest| rest.is_empty() || rest.starts_with('/')).map(str::to_owned);
            (problem.line, problem.column) = match (&inside, problem.line == self.here.0) {
                (None, _) => self.fragment,
                (Some(_), true) => (self.fragment.0, problem.column - self.here.1 + self.fragment.1),
                (Some(_), false) => (problem.line - self.here.0 + self.fragment.0, problem.column),
            };
            if let Some(rest) = inside {
                let name = self.element.rsplit('/').next().unwrap_or_default();
                let name = name.split('[').next().unwrap_or_default();
                problem.element = format!("/{name}{rest}");
            }
            problem
        };
        DefinitionError { problems: error.problems.into_iter().map(relocated).collect() }
    }
}
