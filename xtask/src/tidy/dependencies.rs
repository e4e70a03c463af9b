//! The dependencies from outside against `deny.toml`: licences, bans, sources, and packages that are there
//! in two versions. The file is one that cargo-deny reads too; here only what is named below is looked at.
//! It asks no network. The main function is [`check`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::Violation;

/// The policy.
const POLICY: &str = "deny.toml";

/// What is read of the policy; cargo-deny's documentation says what each means.
#[derive(Deserialize)]
struct Policy {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Package>,
    skip: Vec<Package>,
}

/// One package, in all its versions.
#[derive(Deserialize)]
struct Package {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: BTreeSet<String>,
}

/// A package from outside.
struct Foreign<'a> {
    name: &'a str,
    version: &'a str,
    licence: &'a str,
    /// Cargo's words: `registry+<index>`, `git+<url>`.
    source: &'a str,
}

/// Checks what `metadata` (of cargo metadata) lists.
pub(crate) fn check(root: &Path, metadata: &Value) -> Result<Vec<Violation>> {
    let text = fs::read_to_string(root.join(POLICY)).with_context(|| format!("cannot read {POLICY}"))?;
    let policy: Policy = toml::from_str(&text).with_context(|| format!("{POLICY} is not understood"))?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    // cargo metadata lists what is for other platforms too; what is used is in the resolved graph.
    let nodes = metadata["resolve"]["nodes"].as_array().context("no resolved graph")?;
    let used: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let foreign: Vec<_> = packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| used.contains(id)))
        .filter_map(|package| {
            Some(Foreign {
                name: package["name"].as_str()?,
                version: package["version"].as_str()?,
                licence: package["license"].as_str().unwrap_or_default(),
                source: package["source"].as_str()?,
            })
        })
        .collect();
    Ok(judge(&policy, &foreign))
}

fn judge(policy: &Policy, packages: &[Foreign<'_>]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut add = |message: String| violations.push(Violation::new(POLICY, 0, message));
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Foreign { name, version, licence, source } in packages {
        versions.entry(name).or_default().insert(version);
        match Licence::parse(licence) {
            Some(licence) if licence.is_allowed(&policy.licenses.allow) => {}
            Some(_) => add(format!("{name} {version} is under {licence:?}, which is not allowed")),
            None => add(format!("{name} {version} has no licence that can be read: {licence:?}")),
        }
        if let Some(ban) = policy.bans.deny.iter().find(|ban| ban.name == *name) {
            add(format!("{name} {version} is banned: {}", ban.reason));
        }
        let registry = source.strip_prefix("registry+");
        if !registry.is_some_and(|index| policy.sources.allow_registry.contains(index)) {
            add(format!("{name} {version} comes from {source}, which is not allowed"));
        }
    }
    let skipped: BTreeSet<&str> = policy.bans.skip.iter().map(|package| package.name.as_str()).collect();
    for (name, versions) in &versions {
        let versions: Vec<&str> = versions.iter().copied().collect();
        match (versions.len() > 1, skipped.contains(name)) {
            (true, false) => add(format!(
                "{name} is there in versions {}: bring its users to one, or skip it here with a reason",
                versions.join(" and ")
            )),
            (false, true) => add(format!("{name} is there in one version only: remove it from bans.skip")),
            (true, true) | (false, false) => {}
        }
    }
    for name in skipped.iter().filter(|name| !versions.contains_key(**name)) {
        add(format!("{name} is not there: remove it from bans.skip"));
    }
    violations
}

/// An SPDX licence expression. `/` is an old spelling of OR.
enum Licence {
    /// One licence, "WITH …" included.
    One(String),
    /// Each of them holds.
    All(Vec<Licence>),
    /// One of them may be chosen.
    Any(Vec<Licence>),
}

impl Licence {
    fn parse(expression: &str) -> Option<Licence> {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut rest = words.as_slice();
        let licence = Licence::any(&mut rest)?;
        rest.is_empty().then_some(licence)
    }

    fn any(rest: &mut &[&str]) -> Option<Licence> {
        let mut parts = vec![Licence::all(rest)?];
        while take(rest, "OR") {
            parts.push(Licence::all(rest)?);
        }
        Some(Licence::Any(parts))
    }

    fn all(rest: &mut &[&str]) -> Option<Licence> {
        let mut parts = vec![Licence::one(rest)?];
        while take(rest, "AND") {
            parts.push(Licence::one(rest)?);
        }
        Some(Licence::All(parts))
    }

    fn one(rest: &mut &[&str]) -> Option<Licence> {
        if take(rest, "(") {
            let inner = Licence::any(rest)?;
            return take(rest, ")").then_some(inner);
        }
        let (name, after) = rest.split_first()?;
        if ["AND", "OR", "WITH", ")"].contains(name) {
            return None;
        }
        *rest = after;
        if !take(rest, "WITH") {
            return Some(Licence::One((*name).to_owned()));
        }
        let (exception, after) = rest.split_first()?;
        *rest = after;
        Some(Licence::One(format!("{name} WITH {exception}")))
    }

    fn is_allowed(&self, allowed: &BTreeSet<String>) -> bool {
        match self {
            Licence::One(name) => allowed.contains(name),
            Licence::All(parts) => parts.iter().all(|part| part.is_allowed(allowed)),
            Licence::Any(parts) => parts.iter().any(|part| part.is_allowed(allowed)),
        }
    }
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, after)) if *first == word => {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "registry+https://example.org/index";

    fn policy() -> Policy {
        toml::from_str(
            r#"
            [licenses]
            allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
            [bans]
            deny = [{ crate = "bad", reason = "it is bad" }]
            skip = [{ crate = "twice", reason = "both are needed" }]
            [sources]
            allow-registry = ["https://example.org/index"]
            "#,
        )
        .unwrap()
    }

    #[track_caller]
    fn check_with(extra: &[Foreign<'_>], expect: &[&str]) {
        let one = |version| Foreign { name: "twice", version, licence: "MIT", source: INDEX };
        let mut packages = vec![one("1.0.0"), one("2.0.0")];
        packages.extend(extra.iter().map(|p| Foreign { ..*p }));
        let found = judge(&policy(), &packages);
        let found: Vec<_> = found.iter().map(|violation| violation.message.as_str()).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn packages_follow_the_policy() {
        let good = Foreign { name: "good", version: "1.0.0", licence: "MIT", source: INDEX };
        check_with(&[], &[]);
        check_with(&[Foreign { ..good }], &[]);
        check_with(&[Foreign { name: "bad", ..good }], &["bad 1.0.0 is banned: it is bad"]);
        check_with(
            &[Foreign { licence: "GPL-3.0-only", ..good }],
            &["good 1.0.0 is under \"GPL-3.0-only\", which is not allowed"],
        );
        check_with(&[Foreign { licence: "", ..good }], &["good 1.0.0 has no licence that can be read: \"\""]);
        check_with(
            &[Foreign { source: "git+https://example.org/x", ..good }],
            &["good 1.0.0 comes from git+https://example.org/x, which is not allowed"],
        );
        check_with(
            &[Foreign { ..good }, Foreign { version: "2.0.0", ..good }],
            &[
                "good is there in versions 1.0.0 and 2.0.0: bring its users to one, or skip it here with a reason",
            ],
        );
    }

    #[test]
    fn a_skip_that_is_not_needed_goes() {
        let one = Foreign { name: "twice", version: "1.0.0", licence: "MIT", source: INDEX };
        let message = |packages: &[Foreign<'_>]| judge(&policy(), packages)[0].message.clone();
        assert_eq!(message(&[one]), "twice is there in one version only: remove it from bans.skip");
        assert_eq!(message(&[]), "twice is not there: remove it from bans.skip");
    }

    #[track_caller]
    fn check_licence(expression: &str, expect: Option<bool>) {
        let allowed = policy().licenses.allow;
        let got = Licence::parse(expression).map(|licence| licence.is_allowed(&allowed));
        assert_eq!(got, expect, "{expression}");
    }

    #[test]
    fn licence_expressions() {
        check_licence("MIT", Some(true));
        check_licence("ISC", Some(false));
        check_licence("MIT OR ISC", Some(true));
        check_licence("ISC/MIT", Some(true));
        check_licence("ISC / MIT", Some(true));
        check_licence("MIT AND ISC", Some(false));
        check_licence("ISC AND (Apache-2.0 OR MIT)", Some(false));
        check_licence("MIT AND (Apache-2.0 OR ISC)", Some(true));
        check_licence("ISC OR MIT AND Apache-2.0", Some(true));
        check_licence("MIT OR ISC AND ISC", Some(true));
        check_licence("Apache-2.0 WITH LLVM-exception", Some(true));
        check_licence("MIT WITH LLVM-exception", Some(false));
        for broken in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH"] {
            check_licence(broken, None);
        }
    }
}
