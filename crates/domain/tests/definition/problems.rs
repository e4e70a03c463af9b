//! What is refused, with its place and what to do: all of it at once.

use crate::fixture::{corpus, listed};
use domain::{Definition, limits};

/// The problems of a text that has some.
fn problems(xml: &str) -> String {
    listed(&Definition::parse(xml).expect_err("it is refused"))
}

/// The problems of `web1.xml` with one piece replaced.
fn problems_with(from: &str, to: &str) -> String {
    let web1 = corpus("web1.xml");
    assert_eq!(web1.matches(from).count(), 1, "`{from}` is there once");
    problems(&web1.replace(from, to))
}

#[test]
fn everything_wrong_is_said_at_once() {
    insta::assert_snapshot!(problems(include_str!("refused/everything.xml")));
}

#[test]
fn what_libvirt_has_and_is_not_supported_yet_is_refused() {
    insta::assert_snapshot!(problems(include_str!("refused/desktop.xml")));
}

#[test]
fn devices_that_collide_are_refused() {
    insta::assert_snapshot!(problems(include_str!("refused/collisions.xml")));
}

#[test]
fn broken_xml_has_one_problem_with_its_place() {
    insta::assert_snapshot!(problems("<domain type='kvm'>\n  <name>web1</title>\n</domain>"), @"line 2, column 13: the text is not well-formed XML: expected 'name' tag, not 'title'; correct the text there");
    insta::assert_snapshot!(problems(""), @"line 1, column 1: the text is not well-formed XML: the document does not have a root node; correct the text there");
    insta::assert_snapshot!(problems("<domain>\n<name>a&b;</name></domain>"), @"line 2, column 8: the text is not well-formed XML: unknown entity reference 'b'; correct the text there");
    insta::assert_snapshot!(problems("<domain type='kvm'"), @"line 1, column 1: the text is not well-formed XML: the document does not have a root node; correct the text there");
}

#[test]
fn a_document_type_is_refused() {
    let bomb = "<?xml version='1.0'?>\n  <!DOCTYPE d [<!ENTITY a 'aaaa'>]>\n<domain>&a;</domain>";
    insta::assert_snapshot!(problems(bomb), @"line 2, column 3: the text has a document type declaration; remove the <!DOCTYPE …>");
}

#[test]
fn another_document_is_refused() {
    insta::assert_snapshot!(problems("<network><name>default</name></network>"), @"line 1, column 1, /network: the outermost element is <network>; give a libvirt <domain>, which has no namespace");
    insta::assert_snapshot!(problems("<domain xmlns='urn:other' type='kvm'/>"), @"line 1, column 1, /domain: the outermost element is <domain> of namespace `urn:other`; give a libvirt <domain>, which has no namespace");
}

#[test]
fn an_empty_domain_is_told_all_it_needs() {
    insta::assert_snapshot!(problems("<domain/>"), @r#"
    line 1, column 1, /domain: <domain> has no `type`; write type='kvm', or type='qemu' for a host without KVM
    line 1, column 1, /domain: <domain> has no <memory>; add <memory unit='MiB'>2048</memory>
    line 1, column 1, /domain: <domain> has no <os>; add <os><type arch='x86_64' machine='q35'>hvm</type></os>
    line 1, column 1, /domain: <domain> has no <name>; add <name>
    line 1, column 1, /domain: <domain> has no <devices>; add <devices>
    "#);
}

#[test]
fn a_text_that_is_too_long_is_not_parsed() {
    let long = format!("<domain>{}</domain>", " ".repeat(limits::XML_BYTES_MAX));
    insta::assert_snapshot!(problems(&long), @"line 1, column 1: the text is 1048593 bytes long; give a definition of at most 1048576 bytes");
}

#[test]
fn a_text_with_too_many_nodes_is_not_read() {
    let many = format!("<domain>{}</domain>", "<a/>".repeat(limits::XML_NODES_MAX as usize));
    insta::assert_snapshot!(problems(&many), @"line 1, column 1: the text has too many elements; give a definition of at most 20000 elements and texts");
}

#[test]
fn the_number_of_problems_is_bounded() {
    let many = format!("<domain>{}</domain>", "<a/>".repeat(300));
    let error = Definition::parse(&many).expect_err("it is refused");
    assert_eq!(error.problems.len(), limits::PROBLEMS_MAX + 1);
    let last = error.problems.last().expect("there are some");
    assert_eq!(last.message, "105 more problems were found");
}

#[test]
fn names_that_cannot_be_file_names_are_refused() {
    let long = "n".repeat(limits::NAME_BYTES_MAX + 1);
    for name in ["", "  ", ".", "..", "a/b", " a", "a\n", "a&#9;b", &long] {
        let found = problems_with("<name>web1</name>", &format!("<name>{name}</name>"));
        assert!(found.starts_with("line 2, column 3, /domain/name: the name "), "{name}: {found}");
    }
}

#[test]
fn a_column_counts_characters() {
    let found = problems_with("<vcpu>2</vcpu>", "<title>Böse Überraschung</title><vcpu>zwei</vcpu>");
    assert!(found.starts_with("line 5, column 35, /domain/vcpu: `zwei` is not"), "{found}");
}

#[test]
fn arguments_of_qemu_are_refused() {
    let line =
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>\n  <vcpu>2</vcpu>";
    insta::assert_snapshot!(problems_with("<vcpu>2</vcpu>", line), @"line 5, column 3, /domain/qemu:commandline: <qemu:commandline> in <domain> is not supported; remove it: what it adds could not follow the guest");
}

#[test]
fn the_error_says_the_first_problem_and_how_many_there_are() {
    let error = Definition::parse("<domain type='xen'/>").expect_err("it is refused");
    insta::assert_snapshot!(error.to_string(), @"the definition cannot be used: line 1, column 1, /domain: <domain> has no <memory>; add <memory unit='MiB'>2048</memory> (and 4 more)");
}
