//! `check`: what stands in the way of a migration, the gravest first, each with its mend. It changes nothing, unless
//! `--fix` has it make the mends that are safe.

use anstyle::{AnsiColor, Style};
use api::{CheckMode, CheckReport, Checked, Severity};

use super::{Desk, fix};
use crate::args::Check;
use crate::failure::{Exit, Failure};
use crate::measure::milliseconds;
use crate::printer::wrap;
use crate::resolve;

pub(super) async fn check(desk: &Desk<'_>, typed: &Check) -> Result<Exit, Failure> {
    let request = resolve::check(typed);
    let mut report = desk.client.check(&typed.domain, &request).await?;
    if typed.fix && fix::make(desk, &report, typed.yes).await? {
        report = desk.client.check(&typed.domain, &request).await?;
    }
    desk.printer.answer(&report, |width| text(&report, typed.all, width));
    Ok(match report.severity() {
        Severity::Pass | Severity::Warn => Exit::Done,
        Severity::Fail => Exit::Refused,
    })
}

/// What fails, what warns, and what is in order: all of it, or in a word.
pub(super) fn text(report: &CheckReport, all: bool, width: usize) -> String {
    let CheckReport { domain, source, target, .. } = report;
    let mode = match report.mode {
        CheckMode::Live => "live",
        CheckMode::Offline => "offline",
    };
    let mut text = format!("{domain} from {source} to {target}, {mode}\n");
    let shown = |checked: &&Checked| all || checked.severity > Severity::Pass;
    for checked in report.checked.iter().filter(shown) {
        text += &answer(checked, source, target, width);
    }
    if !report.skipped.is_empty() {
        text += &wrap(&report.skipped.join(", "), "skipped: ", "  ", width);
    }
    let count = |severity| report.checked.iter().filter(|checked| checked.severity == severity).count();
    let (failed, warned, passed) = (count(Severity::Fail), count(Severity::Warn), count(Severity::Pass));
    let took = milliseconds(report.wall_ms);
    text + &match failed {
        0 => format!("Nothing forbids it. In order: {passed}, warnings: {warned}. Checked in {took}.\n"),
        _ => format!("Forbidden by: {failed}, warnings: {warned}, in order: {passed}. Checked in {took}.\n"),
    }
}

fn answer(checked: &Checked, source: &str, target: &str, width: usize) -> String {
    let (word, colour) = match checked.severity {
        Severity::Pass => ("pass", AnsiColor::Green),
        Severity::Warn => ("warn", AnsiColor::Yellow),
        Severity::Fail => ("fail", AnsiColor::Red),
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let about = checked.subject.as_ref().map(|subject| format!(" ({subject})")).unwrap_or_default();
    let line = wrap(&format!("{word} {}{about}: {}", checked.rule, checked.message), "", "     ", width);
    let mut text = format!("{style}{word}{style:#}{}", &line[word.len()..]);
    let values = [(source, &checked.source), (target, &checked.target)];
    let values: Vec<String> = values
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(host, value)| format!("{host}: {value}"))
        .collect();
    if !values.is_empty() {
        text += &wrap(&values.join("; "), "     ", "     ", width);
    }
    if checked.severity > Severity::Pass {
        text += &wrap(&checked.why, "     why: ", "          ", width);
    }
    if let Some(mend) = &checked.mend {
        text += &wrap(mend, "     mend: ", "           ", width);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text;
    use anstream::adapter::strip_str;
    use api::{CheckMode, CheckReport, Checked, Severity};
    use insta::assert_snapshot;
    use uuid::Uuid;

    fn checked(
        severity: Severity,
        rule: &str,
        values: (&str, &str),
        message: &str,
        mend: Option<&str>,
    ) -> Checked {
        Checked {
            rule: rule.into(),
            severity,
            subject: (rule != "arch-differs").then(|| "br0".to_owned()),
            source: values.0.into(),
            target: values.1.into(),
            message: message.into(),
            why: "a guest goes on sending packets of the size that it knows; larger ones are dropped without a word".into(),
            mend: mend.map(str::to_owned),
            fix: None,
        }
    }

    fn report(checked: Vec<Checked>, skipped: &[&str]) -> CheckReport {
        CheckReport {
            domain: "web1".into(),
            uuid: Uuid::nil(),
            source: "kvm1".into(),
            target: "kvm2".into(),
            mode: CheckMode::Live,
            checked,
            skipped: skipped.iter().map(|&rule| rule.to_owned()).collect(),
            wall_ms: 412,
        }
    }

    fn both() -> Vec<Checked> {
        let said = "the bridge br0 on kvm2 has an MTU of 1400 bytes, kvm1 one of 1500";
        let mend = "on kvm2: ip link set br0 mtu 1500, its uplink first";
        let passed = ("x86_64", "x86_64");
        vec![
            checked(Severity::Fail, "mtu-differs", ("1500", "1400"), said, Some(mend)),
            checked(Severity::Pass, "arch-differs", passed, "the hosts' architecture, 64 or 32 bits", None),
        ]
    }

    #[test]
    fn what_forbids_it_is_told_with_both_values_why_and_mend() {
        let report = report(both(), &["clock-skew"]);
        assert_snapshot!(strip_str(&text(&report, false, 80)).to_string(), @r"
        web1 from kvm1 to kvm2, live
        fail mtu-differs (br0): the bridge br0 on kvm2 has an MTU of 1400 bytes, kvm1
             one of 1500
             kvm1: 1500; kvm2: 1400
             why: a guest goes on sending packets of the size that it knows; larger ones
                  are dropped without a word
             mend: on kvm2: ip link set br0 mtu 1500, its uplink first
        skipped: clock-skew
        Forbidden by: 1, warnings: 0, in order: 1. Checked in 412 ms.
        ");
    }

    #[test]
    fn what_is_in_order_is_told_in_a_word_or_in_full() {
        let report = report(both().split_off(1), &[]);
        assert_snapshot!(strip_str(&text(&report, false, 80)).to_string(), @r"
        web1 from kvm1 to kvm2, live
        Nothing forbids it. In order: 1, warnings: 0. Checked in 412 ms.
        ");
        assert_snapshot!(strip_str(&text(&report, true, 80)).to_string(), @r"
        web1 from kvm1 to kvm2, live
        pass arch-differs: the hosts' architecture, 64 or 32 bits
             kvm1: x86_64; kvm2: x86_64
        Nothing forbids it. In order: 1, warnings: 0. Checked in 412 ms.
        ");
    }
}
