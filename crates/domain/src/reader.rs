//! [`Reader`]: the questions that every element's reader asks of the XML tree. Whatever is wrong is written down with
//! its place and reading goes on, so that all problems come out at once. It knows no element by name.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::address::{DriveAddress, PciAddress};
use crate::limits::{CONTROLLER_INDEX_MAX, PROBLEMS_MAX};
use crate::problem::Problem;
use crate::word::Word;

/// A node of the XML tree.
pub(crate) type Node<'a> = roxmltree::Node<'a, 'a>;

/// Reads one document and collects what is wrong with it.
pub(crate) struct Reader<'a> {
    document: &'a roxmltree::Document<'a>,
    problems: Vec<Found>,
    notes: Vec<Found>,
    more: usize,
}

struct Found {
    offset: usize,
    problem: Problem,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(document: &'a roxmltree::Document<'a>) -> Reader<'a> {
        Reader { document, problems: Vec::new(), notes: Vec::new(), more: 0 }
    }

    /// Problems and notes, both in the order of the text.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.problems.sort_by_key(|found| found.offset);
        self.notes.sort_by_key(|found| found.offset);
        let mut problems: Vec<Problem> = self.problems.into_iter().map(|found| found.problem).collect();
        if self.more > 0 {
            problems.push(Problem {
                line: 1,
                column: 1,
                element: path(self.document.root_element()),
                message: format!("{} more problems were found", self.more),
                mend: "mend those above and try again".to_owned(),
            });
        }
        (problems, self.notes.into_iter().map(|found| found.problem).collect())
    }

    /// Writes down a problem with an element.
    pub(crate) fn refuse(&mut self, node: Node<'a>, message: impl Into<String>, mend: impl Into<String>) {
        self.add(node.range().start, || path(node), message.into(), mend.into());
    }

    /// Writes down a problem with an attribute, or with its element where the attribute is missing.
    pub(crate) fn refuse_attribute(
        &mut self,
        node: Node<'a>,
        name: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        match node.attribute_node(name) {
            Some(attribute) => {
                let element = || format!("{}/@{name}", path(node));
                self.add(attribute.range().start, element, message.into(), mend.into());
            }
            None => self.refuse(node, message, mend),
        }
    }

    fn add(&mut self, offset: usize, element: impl FnOnce() -> String, message: String, mend: String) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        let found = self.found(offset, element(), message, mend);
        self.problems.push(found);
    }

    /// Writes down what is kept and not applied.
    pub(crate) fn note(&mut self, node: Node<'a>, message: &str, mend: &str) {
        if self.notes.len() < PROBLEMS_MAX {
            let found = self.found(node.range().start, path(node), message.to_owned(), mend.to_owned());
            self.notes.push(found);
        }
    }

    fn found(&self, offset: usize, element: String, message: String, mend: String) -> Found {
        let position = self.document.text_pos_at(offset);
        Found {
            offset,
            problem: Problem { line: position.row, column: position.col, element, message, mend },
        }
    }

    /// Refuses every attribute and every child element that is not named here.
    pub(crate) fn vocabulary(&mut self, node: Node<'a>, attributes: &[&str], children: &[&str]) {
        self.attributes(node, attributes);
        self.children(node, children);
    }

    /// Refuses every attribute that is not named here.
    pub(crate) fn attributes(&mut self, node: Node<'a>, known: &[&str]) {
        for attribute in node.attributes() {
            if attribute.namespace().is_some() || !known.contains(&attribute.name()) {
                let name = &self.document.input_text()[attribute.range_qname()];
                let message = format!("attribute `{name}` of <{}> is not supported", qname(node));
                let element = || format!("{}/@{name}", path(node));
                let mend = "remove the attribute if the guest can do without it".to_owned();
                self.add(attribute.range().start, element, message, mend);
            }
        }
    }

    /// Refuses every child element that is not named here.
    pub(crate) fn children(&mut self, node: Node<'a>, known: &[&str]) {
        for child in node.children().filter(Node::is_element) {
            if child.tag_name().namespace().is_some() || !known.contains(&child.tag_name().name()) {
                self.unsupported(child);
            }
        }
    }

    /// Refuses an element that nobody reads.
    pub(crate) fn unsupported(&mut self, node: Node<'a>) {
        let parent = node.parent_element().map_or("", qname);
        let message = format!("<{}> in <{parent}> is not supported", qname(node));
        let mend = mend(parent, qname(node));
        self.refuse(node, message, mend);
    }

    /// The only child element of a name; a second one is refused.
    pub(crate) fn child(&mut self, node: Node<'a>, name: &str) -> Option<Node<'a>> {
        let mut children = node.children().filter(|child| is(*child, name));
        let first = children.next();
        if let Some(second) = children.next() {
            self.refuse(second, format!("a second <{name}> in <{}>", qname(node)), "keep one of the two");
        }
        first
    }

    /// The child element of a name; its absence is refused.
    pub(crate) fn required_child(&mut self, node: Node<'a>, name: &str, mend: &str) -> Option<Node<'a>> {
        let child = self.child(node, name);
        if child.is_none() {
            self.refuse(node, format!("<{}> has no <{name}>", qname(node)), mend);
        }
        child
    }

    /// The value of an attribute; its absence and an empty value are refused.
    pub(crate) fn required(&mut self, node: Node<'a>, name: &str, mend: &str) -> Option<&'a str> {
        let value = node.attribute(name).filter(|value| !value.is_empty());
        if value.is_none() {
            self.refuse_attribute(node, name, format!("<{}> has no `{name}`", qname(node)), mend);
        }
        value
    }

    /// An attribute that holds one of a closed set of words; another word is refused.
    pub(crate) fn word<T: Word>(&mut self, node: Node<'a>, name: &str) -> Option<T> {
        let value = node.attribute(name)?;
        let known = lookup(value);
        if known.is_none() {
            let message = format!("`{value}` is not supported as `{name}` of <{}>", qname(node));
            self.refuse_attribute(node, name, message, one_of::<T>());
        }
        known
    }

    /// An attribute that may hold only these values; another is refused, absence is fine.
    pub(crate) fn only(&mut self, node: Node<'a>, name: &str, known: &[&str], mend: &str) {
        if let Some(value) = node.attribute(name)
            && !known.contains(&value)
        {
            let message = format!("`{value}` is not supported as `{name}` of <{}>", qname(node));
            self.refuse_attribute(node, name, message, mend);
        }
    }

    /// An attribute that says yes or no in two given words.
    pub(crate) fn flag(&mut self, node: Node<'a>, name: &str, yes: &str, no: &str) -> Option<bool> {
        let value = node.attribute(name)?;
        if value == yes {
            return Some(true);
        }
        if value == no {
            return Some(false);
        }
        let message = format!("`{value}` is not a value of `{name}` of <{}>", qname(node));
        self.refuse_attribute(node, name, message, format!("write `{yes}` or `{no}`"));
        None
    }

    /// A whole number in an attribute, decimal or with `0x`; another text and a number out of range are refused.
    pub(crate) fn number(&mut self, node: Node<'a>, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = node.attribute(name)?;
        let number =
            whole(value).and_then(|number| u32::try_from(number).ok()).filter(|it| range.contains(it));
        if number.is_none() {
            let message = format!("`{value}` is not a value of `{name}` of <{}>", qname(node));
            let mend = format!("write a whole number from {} to {}", range.start(), range.end());
            self.refuse_attribute(node, name, message, mend);
        }
        number
    }

    /// As [`number`](Reader::number), for what fits a byte.
    pub(crate) fn byte(&mut self, node: Node<'a>, name: &str, range: RangeInclusive<u8>) -> Option<u8> {
        let number = self.number(node, name, u32::from(*range.start())..=u32::from(*range.end()))?;
        u8::try_from(number).ok()
    }

    /// A path; one that is not absolute, or that would break a line of a log, is refused.
    pub(crate) fn path(&mut self, node: Node<'a>, attribute: Option<&str>, value: &str) -> Option<PathBuf> {
        let (message, mend) = if value.chars().any(char::is_control) {
            (format!("the path holds a control character: {value:?}"), "rename the file")
        } else if value.starts_with('/') {
            return Some(PathBuf::from(value));
        } else {
            (format!("`{value}` is not an absolute path"), "write the whole path, beginning with /")
        };
        match attribute {
            Some(name) => self.refuse_attribute(node, name, message, mend),
            None => self.refuse(node, message, mend),
        }
        None
    }

    /// A device's `<address type='pci'>`; another type is refused.
    pub(crate) fn pci_address(&mut self, device: Node<'a>) -> Option<PciAddress> {
        let node = self.child(device, "address")?;
        if node.attribute("type") != Some("pci") {
            let kind = node.attribute("type").unwrap_or("");
            let message = format!("address type `{kind}` is not supported for <{}>", qname(device));
            self.refuse_attribute(node, "type", message, "remove the <address>: a PCI address is assigned");
            return None;
        }
        self.vocabulary(node, &["type", "domain", "bus", "slot", "function", "multifunction"], &[]);
        self.number(node, "domain", 0..=0);
        if node.attribute("bus").is_none() || node.attribute("slot").is_none() {
            self.refuse(
                node,
                "the PCI address names no bus or no slot",
                "complete it, or remove the <address>",
            );
            return None;
        }
        let bus = self.byte(node, "bus", 0..=255);
        let slot = self.byte(node, "slot", 0..=31);
        let function =
            if node.has_attribute("function") { self.byte(node, "function", 0..=7) } else { Some(0) };
        let multifunction = self.flag(node, "multifunction", "on", "off").unwrap_or(false);
        Some(PciAddress { bus: bus?, slot: slot?, function: function?, multifunction })
    }

    /// A disk's `<address type='drive'>`; another type is refused.
    pub(crate) fn drive_address(&mut self, disk: Node<'a>) -> Option<DriveAddress> {
        let node = self.child(disk, "address")?;
        let mend = "remove the <address>: a place on a controller is assigned";
        if node.attribute("type") != Some("drive") {
            self.refuse_attribute(node, "type", "a disk on this bus has an address of type `drive`", mend);
            return None;
        }
        self.vocabulary(node, &["type", "controller", "bus", "target", "unit"], &[]);
        let mut number = |name, max| {
            if node.has_attribute(name) { self.number(node, name, 0..=max) } else { Some(0) }
        };
        let controller = number("controller", CONTROLLER_INDEX_MAX);
        let (bus, target, unit) = (number("bus", 1), number("target", 255), number("unit", 16383));
        Some(DriveAddress { controller: controller?, bus: bus?, target: target?, unit: unit? })
    }

    /// A device's `<boot order=…>`.
    pub(crate) fn boot_order(&mut self, device: Node<'a>) -> Option<u32> {
        let node = self.child(device, "boot")?;
        self.vocabulary(node, &["order"], &[]);
        self.required(node, "order", "write `order`, a number from 1")?;
        self.number(node, "order", 1..=999)
    }

    /// Whether a child element that says something by being there is there.
    pub(crate) fn present(&mut self, node: Node<'a>, name: &str) -> bool {
        match self.child(node, name) {
            Some(child) => {
                self.vocabulary(child, &[], &[]);
                true
            }
            None => false,
        }
    }

    /// The text of a child element, if it is there.
    pub(crate) fn child_text(&mut self, node: Node<'a>, name: &str) -> Option<String> {
        let child = self.child(node, name)?;
        self.vocabulary(child, &[], &[]);
        Some(text(child))
    }
}

/// Whether a node is an element of this name, in no namespace.
pub(crate) fn is(node: Node<'_>, name: &str) -> bool {
    node.is_element() && node.tag_name().namespace().is_none() && node.tag_name().name() == name
}

/// The text of an element, without its comments and child elements.
pub(crate) fn text(node: Node<'_>) -> String {
    node.children().filter(|child| child.is_text()).filter_map(|child| child.text()).collect()
}

/// The name of an element as it is written, prefix included.
pub(crate) fn qname<'a>(node: Node<'a>) -> &'a str {
    let tag = &node.document().input_text()[node.range()];
    let name = tag.strip_prefix('<').unwrap_or(tag);
    let end = name.find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').unwrap_or(name.len());
    &name[..end]
}

/// Where an element is: `/domain/devices/disk[2]`.
pub(crate) fn path(node: Node<'_>) -> String {
    let mut steps = Vec::new();
    for ancestor in node.ancestors().filter(Node::is_element) {
        let name = qname(ancestor);
        let same = |other: &Node<'_>| other.is_element() && qname(*other) == name;
        let before = ancestor.prev_siblings().skip(1).filter(same).count();
        let after = ancestor.next_siblings().skip(1).any(|other| same(&other));
        steps.push(if before > 0 || after { format!("/{name}[{}]", before + 1) } else { format!("/{name}") });
    }
    steps.reverse();
    steps.concat()
}

/// A whole number, decimal or with `0x`.
pub(crate) fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn lookup<T: Word>(value: &str) -> Option<T> {
    T::WORDS.iter().find(|(word, _)| *word == value).map(|(_, known)| *known)
}

fn one_of<T: Word>() -> String {
    match T::WORDS {
        [(only, _)] => format!("write `{only}`"),
        words => {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            format!("write one of {}", words.join(", "))
        }
    }
}

/// What to do about an element that is not supported, where there is something better to say than to remove it.
fn mend(parent: &str, name: &str) -> &'static str {
    match (parent, name) {
        ("domain", "maxMemory") | ("devices", "memory") => {
            "remove it: memory hotplug is not supported; give <memory> what the guest needs"
        }
        ("domain", "vcpus") => "remove it: write how many start into `current` of <vcpu>",
        ("domain", "launchSecurity") => "remove it: a guest with encrypted memory cannot move",
        ("domain", "keywrap" | "idmap") => "remove it: it is for another kind of guest",
        ("domain", "qemu:commandline" | "qemu:override") => {
            "remove it: what it adds could not follow the guest"
        }
        ("devices", "filesystem") => "remove it, and mount the directory over the network inside the guest",
        ("devices", "shmem") => "remove it: memory shared with programs of this host cannot move",
        ("devices", "smartcard") => {
            "remove it: a card of this host, or of who looks at the screen, cannot move"
        }
        ("interface", "vlan" | "virtualport") => {
            "remove it: it needs Open vSwitch; make a bridge on the VLAN on every host"
        }
        ("interface", "ip" | "route" | "portForward" | "backend" | "script" | "guest") => {
            "remove it: it is for another type of interface"
        }
        ("disk", "mirror") => "end the block job first",
        ("disk", "transient") => {
            "remove it, or take a snapshot while the domain is shut off and go back to it"
        }
        ("disk", "encryption") => "decrypt the image with qemu-img convert, or encrypt below the file system",
        ("disk", "auth") => "mount the storage on every host, and write type='file'",
        ("disk", "geometry") => "remove it: a disk's geometry follows from its size",
        _ => "remove it if the guest can do without it",
    }
}
