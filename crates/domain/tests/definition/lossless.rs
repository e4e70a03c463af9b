//! Bytes that no edit names stay as they are, whatever the text.

use std::path::Path;

use crate::fixture::{Counting, corpus};
use domain::{CpuFeature, CpuModel, Definition, DiskSource, FeaturePolicy};
use proptest::prelude::*;
use uuid::Uuid;

/// Asserts that an edit changed the text from `before` to `after` at one place, and nothing else.
fn check(edit: impl Fn(&Definition) -> Definition, name: &str, before: &str, after: &str) {
    let xml = corpus(name);
    assert_eq!(xml.matches(before).count(), 1, "`{before}` is there once");
    let edited = edit(&Definition::parse(&xml).expect("it is good"));
    assert_eq!(edited.xml(), xml.replace(before, after));
}

#[test]
fn reading_changes_nothing() {
    for (name, xml) in crate::fixture::all() {
        assert_eq!(Definition::parse(&xml).expect("it is good").xml(), xml, "{name}");
    }
}

#[test]
fn a_name_is_replaced() {
    let rename = |it: &Definition| it.with_name("web <2>").expect("it is a name");
    check(rename, "web1.xml", "<name>web1</name>", "<name>web &lt;2&gt;</name>");
    let definition = Definition::parse(&corpus("web1.xml")).expect("it is good");
    assert_eq!(rename(&definition).domain().name, "web <2>");
    assert!(definition.with_name("a/b").is_err());
    assert!(definition.with_name("a\0b").is_err());
}

#[test]
fn a_uuid_is_replaced_inserted_and_removed() {
    let uuid = Uuid::from_u128(7);
    let with = |it: &Definition| it.with_uuid(uuid).expect("it is a UUID");
    let old = "3c2b1a90-4f5e-4d6c-8b7a-1f2e3d4c5b6a";
    check(with, "db1.xml", old, &uuid.to_string());
    let added = format!("</name>\n  <uuid>{uuid}</uuid>");
    check(with, "web1.xml", "</name>", &added);
    let without = |it: &Definition| it.without_uuid().expect("it needs none");
    check(without, "db1.xml", &format!("\n  <uuid>{old}</uuid>"), "");
}

#[test]
fn a_disk_gets_another_file() {
    let source = |it: &Definition| it.with_disk_source("vdb", Path::new("/it's/here")).expect("it is a path");
    check(source, "db1.xml", "'/srv/vm/db1-data.img'", "'/it&apos;s/here'");
    let definition = Definition::parse(&corpus("db1.xml")).expect("it is good");
    let file = DiskSource::File("/it's/here".into());
    assert_eq!(source(&definition).domain().disks[1].source, Some(file));
    assert!(definition.with_disk_source("vdb", Path::new("here")).is_err());
    assert_eq!(definition.with_disk_source("vdz", Path::new("/x")).expect("nothing changes"), definition);
}

#[test]
fn a_host_model_is_spelled_out() {
    let feature = |name: &str, policy| CpuFeature { name: name.to_owned(), policy };
    let model = CpuModel {
        model: "EPYC-Rome-v4".to_owned(),
        features: vec![feature("x2apic", FeaturePolicy::Require), feature("svm", FeaturePolicy::Disable)],
    };
    let spell = |it: &Definition| it.with_cpu_model(&model).expect("it is a model");
    let after = "<cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>EPYC-Rome-v4</model>
    <feature policy='require' name='x2apic'/>
    <feature policy='disable' name='svm'/>
  </cpu>";
    check(spell, "web1.xml", "<cpu mode='host-model'/>", after);
    let written = corpus("web1.xml").replace(
        "<cpu mode='host-model'/>",
        "<cpu check=\"partial\" mode=\"host-model\">
    <model fallback='allow'/> <!-- ours -->
    <feature policy='require' name='svm'/>
  </cpu>",
    );
    let spelled = spell(&Definition::parse(&written).expect("it is good"));
    let start = spelled.xml().find("<cpu").expect("there is one");
    let end = spelled.xml().find("</cpu>").expect("it ends");
    insta::assert_snapshot!(&spelled.xml()[start..end], @r#"
    <cpu check="full" mode="custom" match='exact'>
         <!-- ours -->
        <feature policy='require' name='svm'/>
        <model fallback='forbid'>EPYC-Rome-v4</model>
        <feature policy='require' name='x2apic'/>
    "#);
    check(|it: &Definition| it.with_cpu_model(&model).expect("it stays"), "db1.xml", "Skylake", "Skylake");
}

#[test]
fn line_ends_are_kept() {
    let xml = corpus("web1.xml").replace('\n', "\r\n");
    let frozen =
        Definition::parse(&xml).expect("it is good").freeze(&mut Counting::default()).expect("it freezes");
    assert_eq!(frozen.xml().matches('\n').count(), frozen.xml().matches("\r\n").count());
    assert!(frozen.xml().matches('\n').count() > xml.matches('\n').count());
}

/// White space, comments and metadata at places where a person may leave them.
fn decorated() -> impl Strategy<Value = String> {
    let decoration = prop_oneof![
        Just(String::new()),
        "[ \t\n]{0,4}",
        "[a-zäß< ]{0,9}".prop_map(|text| format!("<!--{text}-->")),
        "[a-z&]{0,9}".prop_map(|text| format!("\n<?note {text}?>")),
    ];
    let names: Vec<String> = crate::fixture::all().into_iter().map(|(name, _)| name).collect();
    (proptest::sample::select(names), proptest::collection::vec(decoration, 40)).prop_map(
        |(name, decorations)| {
            let xml = corpus(&name);
            let mut out = String::new();
            let mut decorations = decorations.into_iter().cycle();
            let mut rest = xml.as_str();
            while let Some(at) = rest.find('>') {
                out.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
                // Only between tags: inside an element's text it would change the text.
                let between = rest.trim_start().starts_with('<')
                    && !out.ends_with("-->")
                    && !out.contains("<metadata>");
                if between && rest.trim_start() != "" {
                    out.push_str(&decorations.next().unwrap_or_default());
                }
            }
            out.push_str(rest);
            out
        },
    )
}

/// What stands before and after the one place at which two texts differ.
fn common(this: &str, other: &str) -> (usize, usize) {
    let before = this.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let longest = this.len().min(other.len()) - before;
    let after = this.bytes().rev().zip(other.bytes().rev()).take(longest).take_while(|(a, b)| a == b).count();
    (before, after)
}

proptest! {
    #[test]
    fn no_edit_no_change(xml in decorated()) {
        let definition = Definition::parse(&xml).expect("decoration means nothing");
        prop_assert_eq!(definition.xml(), xml);
    }

    #[test]
    fn an_edit_changes_its_place_only(xml in decorated(), name in "[a-zA-Z0-9_.&<'-]{1,20}x") {
        let definition = Definition::parse(&xml).expect("decoration means nothing");
        let renamed = definition.with_name(&name).expect("it is a name");
        prop_assert_eq!(&renamed.domain().name, &name);
        let (before, after) = common(&xml, renamed.xml());
        let start = xml.find("<name>").expect("there is one") + "<name>".len();
        let end = xml.find("</name>").expect("there is one");
        prop_assert!(before >= start && xml.len() - after <= end);
        let old = definition.domain().name.clone();
        let back = renamed.with_name(&old).expect("it was a name");
        prop_assert_eq!(back.xml(), xml);
    }

    #[test]
    fn freezing_is_idempotent_and_keeps_what_is_written(xml in decorated()) {
        let definition = Definition::parse(&xml).expect("decoration means nothing");
        let frozen = definition.freeze(&mut Counting::default()).expect("it freezes");
        let again = frozen.freeze(&mut Counting { next: 99 }).expect("it freezes again");
        prop_assert_eq!(frozen.xml(), again.xml());
        for comment in xml.split("<!--").skip(1).filter_map(|rest| rest.split("-->").next()) {
            let comment = format!("<!--{comment}-->");
            prop_assert_eq!(xml.matches(&comment).count(), frozen.xml().matches(&comment).count());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        if let Err(error) = Definition::parse(&text) {
            prop_assert!(!error.problems.is_empty());
        }
    }

    #[test]
    fn a_damaged_definition_is_read_or_refused(
        place in any::<prop::sample::Index>(),
        length in 0_usize..40,
        instead in prop_oneof![
            Just(String::new()), Just("<a/>".to_owned()), Just("'".to_owned()), Just("<!--".to_owned()),
            Just("-1".to_owned()), Just("99999999999999999999".to_owned()), Just("0x".to_owned()), "\\PC{0,8}",
        ],
        which in any::<prop::sample::Index>(),
    ) {
        let all = crate::fixture::all();
        let (_, xml) = which.get(&all);
        let boundary = |mut at: usize| { while !xml.is_char_boundary(at) { at -= 1 } at };
        let start = boundary(place.index(xml.len()));
        let end = boundary((start + length).min(xml.len())).max(start);
        let damaged = format!("{}{instead}{}", &xml[..start], &xml[end..]);
        match Definition::parse(&damaged) {
            Ok(definition) => {
                prop_assert_eq!(definition.xml(), damaged);
                if let Ok(frozen) = definition.freeze(&mut Counting::default()) {
                    let again = frozen.freeze(&mut Counting { next: 99 }).expect("it freezes again");
                    prop_assert_eq!(frozen.xml(), again.xml());
                }
            }
            Err(error) => {
                let lines = u32::try_from(damaged.matches('\n').count() + 1).expect("it is short");
                prop_assert!(!error.problems.is_empty());
                prop_assert!(error.problems.iter().all(|it| it.line >= 1 && it.column >= 1 && it.line <= lines));
            }
        }
    }
}
