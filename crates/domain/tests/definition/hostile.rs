//! Texts that somebody made to break the reader: each is refused with an error that says what is wrong and what to do,
//! in bounded time, whatever the stack.

use crate::fixture::{corpus, listed};
use domain::Definition;
use domain::limits::{PROBLEMS_MAX, XML_BYTES_MAX};

/// As little as a thread of tokio's gets and less.
const STACK_BYTES: usize = 512 << 10;

/// What the reader says, on a small stack.
fn refused(xml: String) -> String {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let reader = thread.spawn(move || match Definition::parse(&xml) {
        Ok(_) => "nothing: it was taken".to_owned(),
        Err(error) => listed(&error),
    });
    reader.expect("a thread starts").join().expect("the reader does not panic")
}

#[track_caller]
fn check(xml: String, expect: &str) {
    let said = refused(xml);
    assert!(said.lines().any(|line| line.contains(expect)), "{expect}: {said}");
}

/// A good definition with one thing replaced.
fn with(from: &str, to: &str) -> String {
    let web1 = corpus("web1.xml");
    assert!(web1.contains(from), "{from}");
    web1.replacen(from, to, 1)
}

#[test]
fn a_text_of_50_mib_is_not_even_looked_at() {
    let long = "<domain type='kvm'>".to_owned() + &"<a/>".repeat(50 << 18);
    assert!(long.len() > 50 << 20);
    check(long, "give a definition of at most 1048576 bytes");
}

#[test]
fn an_entity_bomb_does_not_go_off() {
    let bomb = "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
        <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><domain type='kvm'><name>&c;</name></domain>";
    check(bomb.to_owned(), "remove the <!DOCTYPE …>");
    check("<domain><name>&bomb;</name></domain>".to_owned(), "not well-formed");
    let outside = "<!DOCTYPE d SYSTEM \"file:///etc/passwd\"><domain/>";
    check(outside.to_owned(), "remove the <!DOCTYPE …>");
}

#[test]
fn elements_without_end_are_too_many() {
    let deep = "<domain>".to_owned() + &"<a>".repeat(XML_BYTES_MAX / 3 - 10);
    check(deep, "the text has too many elements");
    let wide = "<domain>".to_owned() + &"<a/>".repeat(XML_BYTES_MAX / 4 - 10) + "</domain>";
    check(wide, "the text has too many elements");
}

#[test]
fn deep_nesting_is_read_to_its_end() {
    let depth = 19_000;
    let within = |place: &str| {
        let deep = "<a>".repeat(depth) + &"</a>".repeat(depth);
        with(place, &format!("{deep}{place}"))
    };
    check(within("<name>"), "<a> in <domain> is not supported");
    check(within("<serial"), "<a> in <devices> is not supported");
    // What nobody reads may be as deep as it likes.
    let metadata =
        "<metadata>".to_owned() + &"<a>".repeat(depth) + &"</a>".repeat(depth) + "</metadata><name>";
    assert_eq!(refused(with("<name>", &metadata)), "nothing: it was taken");
}

#[test]
fn thousands_of_problems_are_told_up_to_a_number() {
    let strange = "<strange/>".repeat(15_000);
    let said = refused(with("<serial", &format!("{strange}<serial")));
    assert_eq!(said.lines().count(), PROBLEMS_MAX + 1);
    assert!(said.contains("14800 more problems were found"), "{}", said.lines().last().unwrap_or_default());
}

#[test]
fn thousands_of_attributes_and_namespaces_are_told_and_more_are_not_read() {
    let attributes =
        |count: usize| -> String { (0..count).map(|number| format!(" a{number}='1'")).collect() };
    check(with("<serial", &format!("<serial{}", attributes(60_000))), "the text has too many attributes");
    let said = refused(with("<serial", &format!("<serial{}", attributes(3_000))));
    assert_eq!(said.lines().count(), PROBLEMS_MAX + 1);
    let namespaces = |count: usize| -> String {
        let all: String = (0..count).map(|number| format!(" xmlns:n{number}='urn:{number}'")).collect();
        let each: String = (0..count).map(|number| format!("<n{number}:a xmlns:m='urn:m'/>")).collect();
        with("<name>", &format!("<metadata{all}>{each}</metadata><name>"))
    };
    check(namespaces(1_000), "the text has too many namespaces");
    assert_eq!(refused(namespaces(49)), "nothing: it was taken");
}

#[test]
fn impossible_sizes_are_refused() {
    let web1 = corpus("web1.xml");
    let start = web1.find("<memory").expect("it has one");
    let end = web1.find("</memory>").expect("it ends");
    let memory = &web1[start..end + "</memory>".len()];
    for (unit, size) in [
        ("KiB", "0"),
        ("KiB", "-1"),
        ("KiB", "18446744073709551615"),
        ("KiB", "99999999999999999999999999"),
        ("EiB", "16"),
        ("bytes", "1e9"),
        ("GiB", "1.5"),
        ("GiB", ""),
        ("parsec", "1"),
    ] {
        let instead = format!("<memory unit='{unit}'>{size}</memory>");
        check(with(memory, &instead), "/domain/memory");
    }
    let start = web1.find("<vcpu").expect("it has one");
    let vcpu = &web1[start..start + web1[start..].find("</vcpu>").expect("it ends") + "</vcpu>".len()];
    for count in ["0", "-1", "4097", "4294967296", "two", ""] {
        check(with(vcpu, &format!("<vcpu>{count}</vcpu>")), "is not a number of virtual CPUs");
    }
}

#[test]
fn two_devices_at_one_address_are_refused() {
    let disk = |name: &str| {
        format!(
            "<disk type='file' device='disk'><source file='/srv/{name}.img'/><target dev='{name}' bus='virtio'/>\
             <address type='pci' domain='0x0000' bus='0x00' slot='0x1e' function='0x0'/></disk>"
        )
    };
    check(with("<serial", &format!("{}{}<serial", disk("vdx"), disk("vdy"))), "00:1e.0");
}

#[test]
fn a_path_with_a_newline_is_refused() {
    let web1 = corpus("web1.xml");
    let start = web1.find("file='").expect("it has a disk") + "file='".len();
    let path = &web1[start..start + web1[start..].find('\'').expect("it ends")];
    for letter in ["&#10;", "&#13;", "&#9;"] {
        check(with(path, &format!("/srv/a{letter}b.img")), "the path holds a control character");
    }
    check(with(path, "/srv/a&#0;b.img"), "not well-formed");
    check(with(path, "srv/a.img"), "is not an absolute path");
}

#[test]
fn names_that_would_become_other_files_are_refused() {
    for name in ["../../etc/passwd", "a/b", "..", "", " a", "a&#10;b", &"a".repeat(300)] {
        check(with("<name>web1</name>", &format!("<name>{name}</name>")), "/domain/name");
    }
}
