//! The rules of the preflight: each is broken alone and is the only one that says so, with its mend; two like hosts break
//! none. `docs/preflight.md` is what these cases found.

mod cases;
mod document;
mod pair;

use api::Severity;
use migration::preflight::{Facts, RULES, Selection, judge, permits};

use cases::CASES;
use pair::pair;

/// Rules and severities of what is not in order.
fn found(facts: &Facts) -> Vec<(String, Severity)> {
    let checked = judge(facts, &Selection::default());
    let wrong = checked.into_iter().filter(|checked| checked.severity > Severity::Pass);
    wrong.map(|checked| (checked.rule, checked.severity)).collect()
}

fn changed(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = pair();
    change(&mut facts);
    facts
}

#[track_caller]
fn check(change: impl FnOnce(&mut Facts), expect: &[(&str, Severity)]) {
    let found = found(&changed(change));
    let found: Vec<(&str, Severity)> =
        found.iter().map(|(rule, severity)| (rule.as_str(), *severity)).collect();
    assert_eq!(found, expect);
}

#[test]
fn two_like_hosts_break_no_rule() {
    check(|_| {}, &[]);
    check(pair::kvm, &[]);
    check(|facts| facts.domain.live = false, &[]);
}

#[test]
fn every_rule_is_broken_alone_and_says_what_to_do() {
    for case in CASES {
        let facts = changed(case.change);
        let checked = judge(&facts, &Selection::default());
        let wrong: Vec<_> = checked.iter().filter(|checked| checked.severity > Severity::Pass).collect();
        let rules: Vec<_> = wrong.iter().map(|checked| (checked.rule.as_str(), checked.severity)).collect();
        assert_eq!(rules, [(case.rule, case.severity)], "{}: {wrong:#?}", case.condition);
        let mend = wrong[0].mend.as_deref().unwrap_or_default();
        assert!(!mend.is_empty() && !wrong[0].why.is_empty(), "{wrong:#?}");
        assert_eq!(permits(&checked), case.severity < Severity::Fail);
    }
}

#[test]
fn every_rule_has_a_case_and_passes_on_two_like_hosts() {
    let passes: Vec<String> = [pair(), changed(pair::kvm), changed(pair::other_ways)]
        .iter()
        .flat_map(|facts| judge(facts, &Selection::default()))
        .map(|checked| checked.rule)
        .collect();
    for rule in RULES {
        assert!(CASES.iter().any(|case| case.rule == rule.code), "{} has no case", rule.code);
        let silent_when_well = rule.code == "fact-unknown";
        assert!(
            silent_when_well || passes.iter().any(|code| code == rule.code),
            "{} is never seen",
            rule.code
        );
    }
}

#[test]
fn everything_wrong_is_said_at_once_and_the_gravest_first() {
    check(
        |facts| {
            facts.between.ahead_ms = Some(5000);
            let target = facts.target.as_mut().expect("told");
            target.has_machine = Some(false);
            target.host.bridges[0].fault = Some(api::BridgeFault::Missing);
            target.host.disks[0].fault = Some("no such file".into());
        },
        &[
            ("machine-missing", Severity::Fail),
            ("disk-missing", Severity::Fail),
            ("bridge-missing", Severity::Fail),
            ("clock-skew", Severity::Warn),
        ],
    );
}

#[test]
fn what_only_kvm_lets_through_is_judged_for_kvm_only() {
    let unlike = |facts: &mut Facts| {
        let host = &mut facts.target.as_mut().expect("told").host;
        host.cpu_vendor = Some("GenuineIntel".into());
        host.cpu_model = Some("another".into());
        host.clock_source = Some("hpet".into());
        host.cpu_flags.clear();
    };
    check(unlike, &[]);
    check(
        |facts| {
            pair::kvm(facts);
            unlike(facts);
        },
        &[
            ("cpu-vendor-differs", Severity::Fail),
            ("cpu-features-missing", Severity::Fail),
            ("clock-source-differs", Severity::Warn),
            ("cpu-model-differs", Severity::Warn),
        ],
    );
}

#[test]
fn a_file_that_is_added_to_on_shared_storage_goes_along() {
    let character =
        |path: &str| migration::preflight::LocalCharacter { path: path.into(), device: false, append: true };
    check(|facts| facts.domain.local_characters = vec![character("/srv/web1.log")], &[]);
    let elsewhere = |facts: &mut Facts| facts.domain.local_characters = vec![character("/srv/logs/web1.log")];
    check(elsewhere, &[("local-character", Severity::Warn)]);
}

#[test]
fn a_host_of_which_little_is_known_is_judged_by_that() {
    // As in an offer: the target knows of the source what the offer says.
    check(
        |facts| {
            let (host, cpu_unavailable) = (facts.source.host.clone(), facts.source.cpu_unavailable.clone());
            facts.source =
                api::HostFacts { host, cpu_unavailable, nx: Some(false), ..api::HostFacts::default() };
            facts.between = migration::preflight::Between::default();
        },
        &[("nx-differs", Severity::Warn)],
    );
}
