//! The rules of the preflight: each is broken alone and is the only one that says so, with its mend; two like hosts break
//! none. `docs/preflight.md` is what these cases found.

use api::Severity;
use migration::preflight::example::{self, cases, changed, pair};
use migration::preflight::{Facts, RULES, Selection, judge, permits};

/// Rules and severities of what is not in order.
fn found(facts: &Facts) -> Vec<(String, Severity)> {
    let checked = judge(facts, &Selection::default());
    let wrong = checked.into_iter().filter(|checked| checked.severity > Severity::Pass);
    wrong.map(|checked| (checked.rule, checked.severity)).collect()
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
    check(example::kvm, &[]);
    check(|facts| facts.domain.live = false, &[]);
}

#[test]
fn every_rule_is_broken_alone_and_says_what_to_do() {
    for case in cases() {
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
    let others = [example::kvm, example::other_ways, example::flattened].map(changed);
    let passes: Vec<String> = [pair()]
        .iter()
        .chain(&others)
        .flat_map(|facts| judge(facts, &Selection::default()))
        .map(|checked| checked.rule)
        .collect();
    for rule in RULES {
        assert!(cases().any(|case| case.rule == rule.code), "{} has no case", rule.code);
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
            target.host.disks[0] = example::missing("vda".into());
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
        host.cpu_features = Some(Default::default());
    };
    check(unlike, &[]);
    check(
        |facts| {
            example::kvm(facts);
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
fn disks_that_are_copied_into_one_filesystem_share_its_room() {
    let two = |facts: &mut Facts| {
        example::other_ways(facts);
        example::copied(facts, "vdc", "/srv/web1-data.qcow2");
        for place in &mut facts.target.as_mut().expect("told").places {
            place.free_bytes = Some(3 << 29);
        }
    };
    check(two, &[("disk-space-short", Severity::Fail)]);
    check(
        |facts| {
            two(facts);
            facts.target.as_mut().expect("told").places[2].filesystem = Some(2);
        },
        &[],
    );
}

#[test]
fn an_older_copy_is_written_in_place() {
    let older = |facts: &mut Facts| {
        example::other_ways(facts);
        let place = &mut facts.target.as_mut().expect("told").places[0];
        (place.older_copy, place.free_bytes) = (true, Some(1 << 20));
        (place.length_bytes, place.taken_bytes) = (Some(1 << 30), Some(1 << 30));
    };
    check(older, &[]);
    let converted = |facts: &mut Facts| {
        older(facts);
        facts.domain.copies[0].file.converted = true;
    };
    check(converted, &[("copy-exists", Severity::Fail)]);
    // While its guest works it is replaced.
    check(
        |facts| {
            converted(facts);
            facts.domain.live = true;
        },
        &[],
    );
}

#[test]
fn a_domain_that_is_shut_off_is_warned_of_its_next_start_and_of_no_more() {
    let unlike = |facts: &mut Facts| {
        example::kvm(facts);
        let host = &mut facts.target.as_mut().expect("told").host;
        host.cpu_vendor = Some("GenuineIntel".into());
        host.memory_available_bytes = Some(1 << 20);
    };
    let fail = Severity::Fail;
    check(unlike, &[("cpu-vendor-differs", fail), ("memory-short", fail)]);
    check(
        |facts| {
            unlike(facts);
            facts.domain.live = false;
        },
        &[("memory-short", Severity::Warn)],
    );
}

#[test]
fn of_disks_that_go_along_nothing_is_asked_to_be_the_same() {
    check(
        |facts| {
            let seen = facts.target.as_ref().expect("told").host.disks[0].clone();
            example::copied(facts, "vda", "/srv/web1.qcow2");
            let other = api::DiskFacts {
                nonce: Some(api::NonceSeen::Missing),
                size_bytes: Some(1),
                looks: Some("raw".into()),
                filesystem: Some(9),
                lock_fault: Some("no locks".into()),
                ..seen
            };
            let target = facts.target.as_mut().expect("told");
            target.host.disks[0] = other;
            target.host.pools.clear();
        },
        &[],
    );
}

#[test]
fn the_mend_for_huge_pages_leaves_those_in_use() {
    let facts = changed(|facts| {
        facts.domain.hugepage_bytes = Some(2 << 20);
        facts.target.as_mut().expect("told").host.hugepages[0].free = 100;
    });
    let checked = judge(&facts, &Selection::default());
    let found = checked.iter().find(|checked| checked.rule == "hugepages-short").expect("it is judged");
    let mend = found.mend.as_deref().unwrap_or_default();
    assert!(mend.contains("echo 1436 >"), "924 are in use and 512 are wanted: {mend}");
}

#[test]
fn what_the_target_does_not_allow_is_not_judged_by_what_it_did_not_open() {
    check(
        |facts| {
            let target = facts.target.as_mut().expect("told");
            target.files_forbidden = vec!["/srv/web1.qcow2".into()];
            let disk = &mut target.host.disks[0];
            (disk.file, disk.size_bytes, disk.nonce) = (None, None, None);
        },
        &[("path-not-allowed", Severity::Fail)],
    );
}

#[test]
fn a_disk_in_an_offer_rests_on_the_check_before() {
    check(
        |facts| {
            facts.source.disks.clear();
            facts.target.as_mut().expect("told").host.disks[0].nonce = None;
        },
        &[],
    );
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
