//! The workspace's crates against `docs/architecture.md`: that the document lists each, and draws exactly
//! the edges there are. It also holds the rules on edges that no document can lift. The main function is
//! [`check`].
//!
//! The document has, for each crate under `crates/`, a table row that begins with its name in backquotes,
//! and one fenced block:
//!
//! ````text
//! ```edges
//! api ->
//! client -> api
//! agent -> api, client
//! ```
//! ````
//!
//! A line is a crate, `->`, and the workspace crates that it depends on, in any order, parted by commas. A
//! crate without any has nothing after the arrow. Edges that only tests need are not drawn. Blank lines and
//! lines that begin with `#` are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Violation;
use super::lexer::Code;

/// The document.
const DOCUMENT: &str = "docs/architecture.md";

/// Crates that only decide: no input, no output, no clock.
const PURE: [&str; 3] = ["domain", "migration", "api"];

/// Crates that drive one outside thing each, and know nothing of one another.
const DRIVERS: [&str; 4] = ["qemu", "network", "storage", "host"];

/// Crates that serve development only: they lie beside the others, and have no row in the table of crates.
const BESIDE: [&str; 2] = ["fuzz", "xtask"];

/// Crates that a pure crate may not use.
const RUNTIMES: [&str; 5] = ["tokio", "tokio-util", "rustix", "hyper", "axum"];

/// From a crate to the workspace crates that it depends on.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// A member of the workspace.
struct Member {
    name: String,
    /// Relative to the repository.
    folder: PathBuf,
    /// Name and whether only tests use it.
    dependencies: Vec<(String, bool)>,
}

/// Where the pure crates' sources lie.
pub(crate) fn pure_folders() -> Vec<PathBuf> {
    PURE.iter().map(|name| Path::new("crates").join(name)).collect()
}

/// Checks the workspace that `metadata` (of cargo metadata) describes.
pub(crate) fn check(root: &Path, metadata: &Value) -> Result<Vec<Violation>> {
    let members = members(root, metadata)?;
    let edges = edges(&members);
    let mut violations = match fs::read_to_string(root.join(DOCUMENT)) {
        Ok(document) => check_document(&document, &edges),
        Err(error) => vec![Violation::new(
            DOCUMENT,
            0,
            format!("cannot be read ({error}); its block is to be:\n{}", block(&edges)),
        )],
    };
    for member in &members {
        violations.extend(check_member(member));
        if PURE.contains(&member.name.as_str()) {
            let library = member.folder.join("src/lib.rs");
            let content = fs::read_to_string(root.join(&library))
                .with_context(|| format!("cannot read {}", library.display()))?;
            violations.extend(check_forbids_unsafe(&library, &content));
        }
    }
    Ok(violations)
}

fn members(root: &Path, metadata: &Value) -> Result<Vec<Member>> {
    let inside = metadata["workspace_members"].as_array().context("no workspace_members")?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    packages
        .iter()
        .filter(|package| inside.contains(&package["id"]))
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().context("no manifest_path")?);
            let folder = manifest.parent().context("a manifest lies in a folder")?;
            let dependencies = package["dependencies"].as_array().context("no dependencies")?;
            Ok(Member {
                name: package["name"].as_str().context("no name")?.to_owned(),
                folder: folder.strip_prefix(root).unwrap_or(folder).to_owned(),
                dependencies: dependencies
                    .iter()
                    .filter_map(|dependency| {
                        Some((dependency["name"].as_str()?.to_owned(), dependency["kind"] == "dev"))
                    })
                    .collect(),
            })
        })
        .collect()
}

fn edges(members: &[Member]) -> Edges {
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    members
        .iter()
        .map(|member| {
            let to = member.dependencies.iter().filter(|(name, test)| !test && names.contains(name.as_str()));
            (member.name.clone(), to.map(|(name, _)| name.clone()).collect())
        })
        .collect()
}

/// The block as it should stand in the document.
fn block(edges: &Edges) -> String {
    let lines = edges.iter().map(|(from, to)| {
        let to: Vec<_> = to.iter().map(String::as_str).collect();
        format!("{from} -> {}", to.join(", ")).trim_end().to_owned() + "\n"
    });
    format!("```edges\n{}```", lines.collect::<String>())
}

fn check_document(document: &str, edges: &Edges) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut add = |line: usize, message: String| violations.push(Violation::new(DOCUMENT, line, message));

    for name in edges.keys().filter(|name| !BESIDE.contains(&name.as_str())) {
        let row = format!("| `{name}` |");
        if !document.lines().any(|line| line.trim_start().starts_with(&row)) {
            add(0, format!("crate {name} has no row in the table of crates: begin one with {row:?}"));
        }
    }

    let mut drawn = BTreeSet::new();
    let mut lines = document.lines().enumerate().skip_while(|(_, line)| line.trim() != "```edges").skip(1);
    for (number, line) in lines.by_ref().take_while(|(_, line)| line.trim() != "```") {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((from, to)) = line.split_once("->") else {
            add(number + 1, format!("{line:?} is no edge: write `crate -> crate, crate`"));
            continue;
        };
        let from = from.trim();
        let to: BTreeSet<String> =
            to.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        let Some(real) = edges.get(from) else {
            add(number + 1, format!("there is no crate {from:?} in the workspace"));
            continue;
        };
        if !drawn.insert(from.to_owned()) {
            add(number + 1, format!("{from} is listed twice"));
        }
        for name in real.difference(&to) {
            add(number + 1, format!("{from} depends on {name}, which is not drawn: draw it or undo it"));
        }
        for name in to.difference(real) {
            add(number + 1, format!("{from} does not depend on {name}: remove the edge"));
        }
    }
    if drawn.is_empty() {
        add(0, format!("has no fenced block of edges; it is to be:\n{}", block(edges)));
    } else {
        for name in edges.keys().filter(|name| !drawn.contains(*name)) {
            add(0, format!("crate {name} has no line in the block of edges"));
        }
    }
    violations
}

fn check_member(member: &Member) -> Vec<Violation> {
    let name = member.name.as_str();
    let manifest = member.folder.join("Cargo.toml");
    let mut violations = Vec::new();
    let mut add = |message: String| violations.push(Violation::new(&manifest, 0, message));

    let expected = if BESIDE.contains(&name) { PathBuf::from(name) } else { Path::new("crates").join(name) };
    if member.folder != expected {
        add(format!("crate {name} belongs in {}", expected.display()));
    }
    for (to, test) in &member.dependencies {
        let to = to.as_str();
        if DRIVERS.contains(&name) && DRIVERS.contains(&to) {
            add(format!("drivers know nothing of one another, but {name} depends on {to}"));
        }
        if PURE.contains(&name) && !test && (RUNTIMES.contains(&to) || DRIVERS.contains(&to)) {
            add(format!("{name} is pure and must not depend on {to}"));
        }
    }
    violations
}

fn check_forbids_unsafe(library: &Path, content: &str) -> Vec<Violation> {
    let code = Code::new(content).lines();
    if code.iter().any(|line| line.trim() == "#![forbid(unsafe_code)]") {
        return Vec::new();
    }
    vec![Violation::new(library, 0, "a pure crate says #![forbid(unsafe_code)]")]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT_OF_THREE: &str = "# Architecture\n| `api` | types |\n| `agent` | all |\n| `qemu` | one |\n\n\
        ```edges\n# from -> to\napi ->\nqemu ->\n\nagent -> qemu, api\nxtask ->\n```\n";

    fn three() -> Edges {
        let to = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        [("api", to(&[])), ("qemu", to(&[])), ("agent", to(&["api", "qemu"])), ("xtask", to(&[]))]
            .map(|(from, to)| (from.to_owned(), to))
            .into()
    }

    #[track_caller]
    fn check_edit(from: &str, to: &str, expect: &[&str]) {
        let document = DOCUMENT_OF_THREE.replace(from, to);
        let found = check_document(&document, &three());
        let found: Vec<_> = found.iter().map(|violation| violation.message.as_str()).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn the_document_lists_what_there_is() {
        check_edit("", "", &[]);
        check_edit(
            "qemu, api\n",
            "qemu\n",
            &["agent depends on api, which is not drawn: draw it or undo it"],
        );
        check_edit("api ->\n", "api -> qemu\n", &["api does not depend on qemu: remove the edge"]);
        check_edit("api ->\n", "", &["crate api has no line in the block of edges"]);
        check_edit("api ->\n", "api ->\napi ->\n", &["api is listed twice"]);
        check_edit("api ->\n", "api ->\nlost ->\n", &["there is no crate \"lost\" in the workspace"]);
        check_edit("api ->\n", "api ->\nwhat\n", &["\"what\" is no edge: write `crate -> crate, crate`"]);
        check_edit(
            "| `api` |",
            "| api |",
            &["crate api has no row in the table of crates: begin one with \"| `api` |\""],
        );
        check_edit(
            "```edges",
            "```text",
            &[
                "has no fenced block of edges; it is to be:\n```edges\nagent -> api, qemu\napi ->\nqemu ->\nxtask ->\n```",
            ],
        );
    }

    #[track_caller]
    fn check_one(name: &str, folder: &str, dependency: (&str, bool), expect: &[&str]) {
        let dependencies = vec![(dependency.0.to_owned(), dependency.1)];
        let member = Member { name: name.to_owned(), folder: folder.into(), dependencies };
        let found = check_member(&member);
        let found: Vec<_> = found.iter().map(|violation| violation.message.as_str()).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn some_edges_are_never_right() {
        check_one("qemu", "crates/qemu", ("tokio", false), &[]);
        check_one("xtask", "xtask", ("lab", false), &[]);
        check_one("api", "crates/api", ("tokio", true), &[]);
        check_one("api", "crates/api", ("tokio", false), &["api is pure and must not depend on tokio"]);
        check_one("api", "crates/api", ("host", false), &["api is pure and must not depend on host"]);
        let drivers = "drivers know nothing of one another, but qemu depends on storage";
        check_one("qemu", "crates/qemu", ("storage", false), &[drivers]);
        check_one("qemu", "crates/qemu", ("storage", true), &[drivers]);
        check_one("qemu", "crates/drivers/qemu", ("x", false), &["crate qemu belongs in crates/qemu"]);
    }

    #[test]
    fn pure_crates_forbid_unsafe_code() {
        let check = |content: &str| check_forbids_unsafe(Path::new("lib.rs"), content).len();
        assert_eq!(check("//! x\n#![forbid(unsafe_code)]\n"), 0);
        assert_eq!(check("//! x\n// #![forbid(unsafe_code)]\n"), 1);
        assert_eq!(check(""), 1);
    }
}
