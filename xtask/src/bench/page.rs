//! Results of copies as tables that people read, in a terminal as in the document. Main functions: [`group`], [`part`]. It
//! measures nothing.

use super::figures::{Group, Link, Row};
use super::image::Kind;
use super::table::{goals, table};
use super::tool::{Sample, Tool, Trip};

/// The name of this part of the document.
pub(crate) const PART: &str = "cold";

const COLUMNS: [&str; 11] = [
    "",
    "n",
    "wall s",
    "× ferry",
    "from–to",
    "sent MB",
    "back MB",
    "CPU s",
    "memory MiB",
    "copy MiB",
    "other CPU s",
];

/// The part of the document.
pub(crate) fn part(groups: &[Group]) -> String {
    let mut text = String::from(INTRODUCTION);
    if let Some(first) = groups.first() {
        let machine: Vec<String> = first.machine.iter().map(|line| format!("- {line}\n")).collect();
        text += &format!("\n## On which machine\n\n{}", machine.concat());
    }
    for link in [Link::Unshaped, Link::Gigabit] {
        let of_link = groups.iter().filter(|group| group.link == link).map(self::group);
        let tables: Vec<String> = of_link.collect();
        if !tables.is_empty() {
            text += &format!("\n## {}\n\n{}", words(link), tables.join("\n"));
        }
    }
    text
}

const INTRODUCTION: &str = "\
Written by `cargo xtask bench cold --write`, which anybody can run; it takes about an hour. Two hosts of the lab copy the same
images to each other, one tool after the other and then all again, on one machine: both ends share its processors. A figure
is the median of n runs.

- **ferry** is `ferry migrate --offline --copy-storage` between two agents, everything else as it is by default: encrypted,
  hashes compared on arrival, the copy read back past the page cache, the domain handed over. Its second trip is the way
  back. ssh has its default cipher; NBD has TLS with the hosts' certificates, or nothing.
- **wall**: from the start of the command until the copy is whole, and fsync of it has returned. Servers run already.
- **sent**, **back**: what source and target put into the network, by the counters of their links: payload, and headers
  once for each of the large packets that such links carry, so 4 % less than on a cable.
- **CPU**: seconds of processors, source + target, children included; **other**: what else ran on the machine meanwhile,
  the kernel's own threads included. Where it is high, the wall says less.
- **memory**: the most that processes had which is in no file, source + target, looked at every 50 ms.
- **copy**: what it takes on the target, holes left out.

Images hold 64 KiB clusters, half random and half text that zstd at level 1 makes 4 times smaller. *sparse* is raw with
holes in nine tenths of it, *qcow2* is the same as qcow2, *full* is raw without holes. All copies are compared with their
originals. Before a *second* trip one allocated cluster in a hundred is changed. Images and copies lie in memory (tmpfs),
copies that are too large for that on a disk; so a disk slows down nobody but scp where it fills holes. What takes longer
than a minute is not repeated.
";

fn words(link: Link) -> &'static str {
    match link {
        Link::Unshaped => "As fast as the machine moves packets",
        Link::Gigabit => "1 Gbit/s",
    }
}

/// One group: what it is, and its table.
pub(crate) fn group(group: &Group) -> String {
    let kind = match group.image {
        Kind::Sparse => "sparse",
        Kind::Qcow2 => "qcow2",
        Kind::Full => "full",
    };
    let mut text = format!(
        "### {kind}: {:.2} GiB, {:.0} MiB allocated{}\n\n",
        mebi(group.virtual_bytes as f64) / 1024.0,
        mebi(group.allocated_bytes as f64),
        if group.on_disk { ", on a disk" } else { "" }
    );
    let mut rows: Vec<&Row> = group.rows.iter().filter(|row| !row.samples.is_empty()).collect();
    rows.sort_by_key(|row| (row.trip, row.tool));
    let cells: Vec<_> = rows.into_iter().map(|row| line(row, group.row(Tool::Ferry, row.trip))).collect();
    text += &table(COLUMNS, &cells);
    text + &goals(&group.goals())
}

fn line(row: &Row, ferry: Option<&Row>) -> [String; COLUMNS.len()] {
    let name = row.tool.name();
    let walls = || row.samples.iter().map(|sample| sample.spent.wall_s);
    let (from, to) = (walls().fold(f64::INFINITY, f64::min), walls().fold(0.0, f64::max));
    let both = |figure: fn(&Sample) -> (f64, f64), decimals: usize| {
        let (source, target) = (row.median(|s| figure(s).0), row.median(|s| figure(s).1));
        format!("{source:.decimals$} + {target:.decimals$}")
    };
    [
        if row.trip == Trip::Second { format!("{name}, second") } else { name.to_owned() },
        row.samples.len().to_string(),
        format!("{:.2}", row.wall_s()),
        ferry.map_or("–".to_owned(), |ferry| format!("{:.2}", row.wall_s() / ferry.wall_s())),
        format!("{from:.2}–{to:.2}"),
        format!("{:.1}", row.sent_bytes() / 1e6),
        format!("{:.1}", row.median(|sample| sample.back_bytes as f64) / 1e6),
        both(|sample| (sample.spent.source.cpu_s, sample.spent.target.cpu_s), 1),
        both(
            |sample| {
                let spent = &sample.spent;
                (mebi(spent.source.memory_bytes as f64), mebi(spent.target.memory_bytes as f64))
            },
            0,
        ),
        format!("{:.0}", row.median(|sample| mebi(sample.allocated_bytes as f64))),
        format!("{:.1}", row.median(|sample| sample.spent.other_cpu_s())),
    ]
}

fn mebi(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::group as made;

    #[test]
    fn a_group_is_a_table() {
        let rows: [(Tool, Trip, &[f64], u64); 4] = [
            (Tool::Rsync, Trip::Second, &[2.5], 38),
            (Tool::Rsync, Trip::First, &[7.5, 7.0, 6.0], 2158),
            (Tool::Ferry, Trip::First, &[3.5, 3.0, 4.0], 1341),
            (Tool::Scp, Trip::First, &[77.0], 21583),
        ];
        let expected = "\
### sparse: 20.00 GiB, 2048 MiB allocated

|               | n | wall s | × ferry |     from–to | sent MB | back MB |     CPU s | memory MiB | copy MiB | other CPU s |
|---------------|--:|-------:|--------:|------------:|--------:|--------:|----------:|-----------:|---------:|------------:|
| ferry         | 3 |   3.50 |    1.00 |   3.00–4.00 |  1341.0 |     0.1 | 1.5 + 2.0 |    10 + 20 |     2048 |         0.5 |
| scp           | 1 |  77.00 |   22.00 | 77.00–77.00 | 21583.0 |     0.1 | 1.5 + 2.0 |    10 + 20 |     2048 |         0.5 |
| rsync         | 3 |   7.00 |    2.00 |   6.00–7.50 |  2158.0 |     0.1 | 1.5 + 2.0 |    10 + 20 |     2048 |         0.5 |
| rsync, second | 1 |   2.50 |       – |   2.50–2.50 |    38.0 |     0.1 | 1.5 + 2.0 |    10 + 20 |     2048 |         0.5 |

Goals of Ferry:

- wall in s, at most 1/12 of scp's: 3.50, allowed 6.42: met
";
        let group = group(&made(Link::Unshaped, Kind::Sparse, &rows));
        assert_eq!(group, expected, "\n{group}");
    }
}
