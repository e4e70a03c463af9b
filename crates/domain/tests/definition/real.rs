//! Definitions that virt-install and libvirt printed: kept byte for byte, and completed with nothing but what must not
//! drift. Whether the guest is libvirt's is asked in `crates/qemu/tests/corpus`.

use std::collections::BTreeSet;

use crate::fixture::{Counting, real};
use domain::Definition;
use roxmltree::Node;

fn frozen(xml: &str) -> Definition {
    let definition = Definition::parse(xml).expect("it is one that is taken");
    definition.freeze(&mut Counting::default()).expect("it can be frozen")
}

/// The one thing that is not added but replaced.
const ALIAS: &str = "the versioned machine in place of its alias";

/// The elements below a node.
fn elements<'a, 'input>(node: Node<'a, 'input>) -> Vec<Node<'a, 'input>> {
    node.children().filter(Node::is_element).collect()
}

/// Everything that the second tree has and the first lacks, as paths; panics where the first has something more.
fn added(before: Node<'_, '_>, after: Node<'_, '_>, path: &str, into: &mut BTreeSet<String>) {
    let path = format!("{path}/{}", after.tag_name().name());
    for attribute in before.attributes() {
        let value = after.attribute((attribute.namespace().unwrap_or(""), attribute.name()));
        let value = value.or_else(|| after.attribute(attribute.name()));
        if value != Some(attribute.value()) {
            assert!(
                path == "/domain/os/type" && attribute.name() == "machine",
                "{path}/@{}",
                attribute.name()
            );
            into.insert(ALIAS.to_owned());
        }
    }
    for attribute in after.attributes().filter(|it| !before.has_attribute(it.name())) {
        into.insert(format!("{path}/@{}", attribute.name()));
    }
    if elements(after).is_empty() && before.text() != after.text() {
        assert_eq!(before.text(), None, "{path}");
        into.insert(format!("{path}/text()"));
    }
    let mut old = elements(before).into_iter().peekable();
    for new in elements(after) {
        match old.next_if(|it| it.tag_name() == new.tag_name() && !is_new(*it, new)) {
            Some(old) => added(old, new, &path, into),
            None => drop(into.insert(format!("{path}/{}", new.tag_name().name()))),
        }
    }
    assert!(old.next().is_none(), "{path}: something is gone");
}

/// A controller that freezing adds stands behind the written ones, and a rule of one kind before another's.
fn is_new(old: Node<'_, '_>, new: Node<'_, '_>) -> bool {
    let differs = |name| old.attribute(name).is_some() && old.attribute(name) != new.attribute(name);
    old.has_tag_name("controller") && (differs("type") || differs("index"))
}

#[test]
fn what_virt_install_prints_gets_only_what_must_not_drift() {
    let mut all = BTreeSet::new();
    for (_, xml) in real("xml") {
        let frozen = frozen(&xml);
        let (before, after) = (roxmltree::Document::parse(&xml), roxmltree::Document::parse(frozen.xml()));
        let (before, after) = (before.expect("it is XML"), after.expect("it is XML"));
        added(before.root_element(), after.root_element(), "", &mut all);
    }
    let strange: Vec<&String> = all.iter().filter(|path| !may_be_added(path)).collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

/// What freezing is for: identities, firmware, places, and the controllers that make places.
fn may_be_added(path: &str) -> bool {
    const FIRMWARE: [&str; 5] = ["os/firmware", "os/loader", "os/nvram", "os/nvram/text()", "features/smm"];
    if path.strip_prefix("/domain/").is_some_and(|path| FIRMWARE.contains(&path)) {
        return true;
    }
    let devices = path.strip_prefix("/domain/devices/").unwrap_or_default();
    match devices.split_once('/') {
        Some(("controller", what)) => ["@index", "address", "model", "target"].contains(&what),
        Some(("interface", what)) => ["mac", "address"].contains(&what),
        Some(("tpm", what)) => ["@model", "backend/@version"].contains(&what),
        Some((_, what)) => what == "address",
        None => ["controller", "memballoon"].contains(&devices) || path == "/domain/uuid" || path == ALIAS,
    }
}

#[test]
fn what_libvirt_has_completed_comes_back_byte_for_byte() {
    for (name, xml) in real("defined.xml").into_iter().chain(real("running.xml")) {
        // libvirt leaves it to QEMU which port a virtio console is on; it must not drift.
        let port = |port: u32| {
            format!(
                "\n      <address type='virtio-serial' controller='0' bus='0' port='{port}'/>\n    </console>"
            )
        };
        let frozen = frozen(&xml);
        let consoles =
            (0..2).fold(frozen.xml().to_owned(), |xml, it| xml.replace(&port(it), "\n    </console>"));
        assert!(frozen.xml() == xml || consoles == xml, "{name}:\n{}", frozen.xml());
    }
}

#[test]
fn freezing_twice_is_freezing_once() {
    for (name, xml) in real("xml") {
        let once = frozen(&xml);
        let twice = once.freeze(&mut Counting { next: 77 }).expect("it can be frozen again");
        assert_eq!(once.xml(), twice.xml(), "{name}");
    }
}
