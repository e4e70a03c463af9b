//! Every definition that Ferry takes gives the guest that libvirt's command line gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::document::rows;
use crate::files::{accelerator, all, arguments, argv, frozen};
use crate::switches::{Line, differences};

/// One kind of difference, and the files that have it.
type Found = BTreeMap<[String; 4], BTreeSet<String>>;

fn found() -> Found {
    let mut found = Found::new();
    for file in all() {
        // A running domain has the same command line as the defined one.
        let Some(theirs) = argv(&file.name) else { continue };
        let Ok(definition) = frozen(&file.xml) else { continue };
        // `host-model` depends on the host on which the corpus was made.
        let cpu = theirs.iter().skip_while(|it| *it != "-cpu").nth(1).expect("libvirt says it here");
        let ours = arguments(&definition, accelerator(&definition), cpu, Path::new("/run/ferry"));
        for difference in differences(&Line::read(&ours), &Line::read(&theirs)) {
            found.entry(difference).or_default().insert(file.file.clone());
        }
    }
    found
}

/// Whether a row of the document is about a difference.
fn covers(row: &[String; 5], difference: &[String; 4]) -> bool {
    row.iter().zip(difference).all(|(pattern, cell)| covers_one(pattern, cell))
}

#[test]
fn the_guest_is_libvirts_but_for_what_the_document_says() {
    let intended: Vec<[String; 5]> = rows("Where the command lines differ");
    let found = found();
    let mut wrong = Vec::new();
    for (difference, files) in &found {
        if !intended.iter().any(|row| covers(row, difference)) {
            let files: Vec<&str> = files.iter().take(4).map(String::as_str).collect();
            wrong.push(format!("| {} | ? |    {}", difference.join(" | "), files.join(" ")));
        }
    }
    for row in &intended {
        if !found.keys().any(|difference| covers(row, difference)) {
            wrong.push(format!("nothing differs like this any more: {}", row.join(" | ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), found.len(), wrong.join("\n"));
}

#[test]
fn what_is_refused_stands_in_the_document() {
    let known: Vec<[String; 3]> = rows("What is refused");
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for file in all() {
        let Err(error) = frozen(&file.xml) else { continue };
        for problem in error.problems {
            let place = without_numbers(&problem.element);
            let row = known.iter().position(|[element, message, _]| {
                covers_one(element, &place) && covers_one(message, &problem.message.replace('`', ""))
            });
            match row {
                Some(row) => drop(used.insert(row)),
                None => wrong.push(format!("{}: {problem}", file.file)),
            }
        }
    }
    for (_, row) in known.iter().enumerate().filter(|(place, _)| !used.contains(place)) {
        wrong.push(format!("nothing is refused like this any more: {}", row.join(" | ")));
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// `*` stands for anything.
fn covers_one(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
        None => pattern == text,
    }
}

/// `/domain/devices/disk[2]/target` is `/domain/devices/disk/target`.
fn without_numbers(element: &str) -> String {
    element.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}
