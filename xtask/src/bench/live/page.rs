//! Results of moves as tables that people read, in a terminal as in the document. Main functions: [`group`], [`part`]. It
//! measures nothing.

use super::contestant::Contestant;
use super::figures::{Forecast, Group, Load, Row};
use crate::bench::figures::Spread;
use crate::bench::table::{figure, goals, table};

/// The name of this part of the document.
pub(crate) const PART: &str = "live";

/// So many predicted runs it takes for a judgement.
const FORECAST_RUNS_MIN: usize = 30;

const COLUMNS: [&str; 13] = [
    "",
    "n",
    "wall s",
    "quartiles",
    "× virsh",
    "× best",
    "blackout ms",
    "quartiles",
    "sent MB",
    "work %",
    "before %",
    "CPU s",
    "still ms",
];

const INTRODUCTION: &str = "\
## Live migration

Written by `cargo xtask bench live --with-libvirt --write`, which anybody can run; it takes hours. Two hosts of the lab, on
one machine: both ends share its processors. The guest is emulated, has 1 GiB of memory, a virtual processor and a beat of 2 ms,
and is booted afresh for each run; it moves from the same host to the same other one. Who takes part runs once, then everyone
again, in turn. A figure is the median of the runs in which the guest was moved, between its quartiles.

- **ferry** is plain `ferry migrate`, which encrypts memory; **ferry --plaintext** is to be compared with virsh, which does not
  encrypt here but with `--tls`. **virsh** is `virsh migrate --live` between two libvirtd over TCP, with the flags that are
  named; postcopy switches after its first round. **QEMU by hand** has a QEMU on either side told over QMP what it takes: a
  blackout of at most 30 ms, as much bandwidth as there is.
- **n**: runs; *m of n* where the guest was moved in m of them. What has not ended after the limit is cancelled (*did not
  end*), and who has not ended twice does not take part any more.
- **wall**: the whole command; by hand from the start of the target's QEMU until the guest runs in it.
- **× virsh**, **× best**: the wall as a ratio to virsh's without flags, and to that of virsh's fastest flags.
- **blackout**: the longest time without a beat, from outside. **still**: the same in the seconds before; no blackout that
  short can be told from chance.
- **sent**: what the source put into the network, by the counter of its link: payload, and headers once for each of the large
  packets that such links carry.
- **work**: what the guest did from the command's start to its end, as a share of what it did in the same time before, in per
  cent: pages rewritten, beats where it rewrites none. **before**: until the blackout.
- **CPU**: seconds of processors that all of the machine took, the kernel included, beside what the guest's work took before.
  Nothing else may run there: what does counts as well.

*idle*: nothing is rewritten. *words*: 192 MiB are rewritten over and over, 40,000 pages a second, 8 bytes of each. *pages*: the
same, each page whole, with what does not compress.
";

/// The part of the document; without results it only says what there would be.
pub(crate) fn part(groups: &[Group]) -> String {
    let mut text = String::from(INTRODUCTION);
    if let Some(first) = groups.first() {
        let machine: Vec<String> = first.machine.iter().map(|line| format!("- {line}\n")).collect();
        text += &format!("\n{}", machine.concat());
    }
    for group in groups {
        text += &format!("\n{}", self::group(group));
    }
    if let Some(forecast) = Forecast::of(groups) {
        text += &format!("\n### Predictions\n\n{}", self::forecast(forecast));
    }
    text
}

/// One group: what it is, and its table.
pub(crate) fn group(group: &Group) -> String {
    let mut rows: Vec<&Row> = group.rows.iter().filter(|row| !row.samples.is_empty()).collect();
    rows.sort_by_key(|row| row.contestant);
    let cells: Vec<_> = rows.into_iter().map(|row| line(group, row)).collect();
    let rewritten = match group.load {
        Load::Idle => String::new(),
        Load::Words | Load::Pages => {
            format!(", {} MiB rewritten at {} pages/s", group.pattern_mib, group.rate_pages)
        }
    };
    let (name, link) = match group.load {
        Load::Idle => ("idle", "as fast as the machine moves packets"),
        Load::Words => ("words", "1 Gbit/s"),
        Load::Pages => ("pages", "1 Gbit/s"),
    };
    let mut text =
        format!("### {name}: {} MiB{rewritten}; {link}; at most {} s\n\n", group.memory_mib, group.limit_s);
    text += &table(COLUMNS, &cells);
    text + &goals(&group.goals())
}

fn line(group: &Group, row: &Row) -> [String; COLUMNS.len()] {
    let (moves, runs) = (row.moves(), row.samples.len());
    let (wall_s, blackout_ms) = (row.wall_s(), row.blackout_ms());
    let quartiles = |spread: Spread, decimals: usize| match spread.median.is_finite() {
        true => format!("{:.decimals$}–{:.decimals$}", spread.low, spread.high),
        false => "–".to_owned(),
    };
    let ratio = |other: Option<&Row>| other.map_or(f64::NAN, |other| wall_s.median / other.wall_s().median);
    let ended = row.samples.iter().any(|sample| sample.end != super::figures::End::Cancelled);
    [
        row.contestant.name().to_owned(),
        if moves == runs { runs.to_string() } else { format!("{moves} of {runs}") },
        if ended { figure(wall_s.median, 2) } else { "did not end".to_owned() },
        quartiles(wall_s, 2),
        figure(ratio(group.row(Contestant::Virsh)), 2),
        figure(ratio(group.virsh_best(f64::INFINITY)), 2),
        figure(blackout_ms.median, 0),
        quartiles(blackout_ms, 0),
        figure(row.spread(|sample| sample.sent_bytes as f64 / 1e6).median, 0),
        figure(row.spread(|sample| 100.0 * sample.work).median, 0),
        figure(row.spread(|sample| 100.0 * sample.work_before).median, 0),
        figure(row.cpu_beside_s().median, 1),
        figure(row.spread(|sample| sample.undisturbed.gap_ms).median, 0),
    ]
}

/// How good predictions were, and whether that is good enough.
pub(crate) fn forecast(forecast: Forecast) -> String {
    let Forecast { runs, coverage, median_error } = forecast;
    let text = format!(
        "Of {runs} runs of Ferry that were predicted, {:.0} % took a time within the interval that is to contain 80 %; the median \
         error of the time is {:.0} %.\n",
        100.0 * coverage,
        100.0 * median_error
    );
    match runs < FORECAST_RUNS_MIN {
        true => format!("{text}\nToo few to judge: that takes {FORECAST_RUNS_MIN}.\n"),
        false => text + &goals(&forecast.goals()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::live::figures::tests::{group as made, sample};
    use crate::bench::live::figures::{End, Predicted};

    #[test]
    fn a_group_is_a_table() {
        let rows: [(Contestant, &[(f64, f64)]); 4] = [
            (Contestant::Virsh, &[(4.0, 80.0), (3.0, 60.0), (5.0, 100.0)]),
            (Contestant::Ferry, &[(1.0, 40.0), (1.2, 44.0)]),
            (Contestant::VirshXbzrle, &[]),
            (Contestant::VirshParallel, &[(2.0, 90.0)]),
        ];
        let mut group = made(Load::Words, &rows);
        group.row_mut(Contestant::VirshXbzrle).samples = vec![sample(End::Cancelled, 60.0, 9.0); 2];
        group.row_mut(Contestant::Virsh).samples.push(sample(End::Cancelled, 60.0, 9.0));
        let expected = "\
### words: 1024 MiB, 192 MiB rewritten at 40000 pages/s; 1 Gbit/s; at most 60 s

|                  |      n |      wall s | quartiles | × virsh | × best | blackout ms | quartiles | sent MB | work % | before % | CPU s | still ms |
|------------------|-------:|------------:|----------:|--------:|-------:|------------:|----------:|--------:|-------:|---------:|------:|---------:|
| ferry            |      2 |        1.10 | 1.05–1.15 |    0.28 |   0.55 |          42 |     41–43 |     394 |     90 |       95 |   0.7 |        9 |
| virsh            | 3 of 4 |        4.00 | 3.50–4.50 |    1.00 |   2.00 |          80 |     70–90 |     394 |     90 |       95 |   2.6 |        9 |
| virsh --parallel |      1 |        2.00 | 2.00–2.00 |    0.50 |   1.00 |          90 |     90–90 |     394 |     90 |       95 |   1.3 |        9 |
| virsh, xbzrle    | 0 of 2 | did not end |         – |       – |      – |           – |         – |       – |      – |        – |     – |        – |

Goals of Ferry:

- ferry: runs in which the guest stayed: 0.00, allowed 0.00: met
- ferry: runs in which the guest was throttled: 0.00, allowed 0.00: met
- ferry: blackout in ms: 42.00, allowed 100.00: met
- ferry: wall in s, at most that of virsh's fastest flags with a blackout of at most 150 ms: 1.10, allowed 2.00: met
";
        let text = self::group(&group);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn without_results_the_part_has_no_figures() {
        assert_eq!(part(&[]), INTRODUCTION);
    }

    #[test]
    fn few_predictions_are_not_judged() {
        let check = |runs: usize, judged: bool| {
            let mut group = made(Load::Idle, &[]);
            let mut one = sample(End::Moved, 1.0, 40.0);
            one.predicted = Some(Predicted { low_ms: 900, likely_ms: 1000, high_ms: 1200, came_ms: 1100 });
            group.row_mut(Contestant::Ferry).samples = vec![one; runs];
            let text = part(&[group]);
            assert!(text.contains("100 % took a time within the interval"), "{text}");
            assert!(text.contains("median error of the time is 10 %"), "{text}");
            assert_eq!(text.contains("Too few to judge"), !judged, "{text}");
            assert_eq!(text.contains("in %: 10.00, allowed 30.00: met"), judged, "{text}");
        };
        check(29, false);
        check(30, true);
    }
}
