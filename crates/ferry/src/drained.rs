//! The emptying of a host in words: a table of what is under way, a line for each domain that has come to its end. Pure text.
//! Main functions: [`table`], [`summary`], [`news`].

use api::{Drain, DrainState, DrainedDomain};

use crate::measure::{bytes, rate};
use crate::printer::{self, wrap};

/// What a domain is doing.
fn state(state: DrainState) -> &'static str {
    match state {
        DrainState::Waiting => "waits",
        DrainState::Checking => "is checked",
        DrainState::Moving => "is on its way",
        DrainState::Fits => "would go",
        DrainState::Moved => "has moved",
        DrainState::Stays => "stays",
        DrainState::InDoubt => "is in doubt",
        DrainState::Lost => "is lost",
    }
}

fn is_under_way(domain: &DrainedDomain) -> bool {
    match domain.state {
        DrainState::Checking | DrainState::Moving => true,
        DrainState::Waiting
        | DrainState::Fits
        | DrainState::Moved
        | DrainState::Stays
        | DrainState::InDoubt
        | DrainState::Lost => false,
    }
}

/// How many are where, in one line.
pub(crate) fn summary(drain: &Drain) -> String {
    let of = [
        (DrainState::Moved, "moved"),
        (DrainState::Fits, "would go"),
        (DrainState::Moving, "on their way"),
        (DrainState::Checking, "checked"),
        (DrainState::Waiting, "waiting"),
        (DrainState::Stays, "staying"),
        (DrainState::InDoubt, "in doubt"),
        (DrainState::Lost, "lost"),
    ];
    let count = |state| drain.domains.iter().filter(|domain| domain.state == state).count();
    let parts: Vec<String> = of
        .into_iter()
        .map(|(state, word)| (count(state), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let stopping = if drain.stopping && !drain.ended { "; no further one is begun with" } else { "" };
    match parts.as_slice() {
        [] => format!("{}: no domain runs there", drain.host),
        parts => format!("{}: {}{stopping}", drain.host, parts.join(", ")),
    }
}

/// The domains that are under way, with their figures, below the summary.
pub(crate) fn live(drain: &Drain, width: usize) -> String {
    let rows: Vec<[String; 4]> =
        drain.domains.iter().filter(|domain| is_under_way(domain)).map(row).collect();
    let table = if rows.is_empty() { String::new() } else { printer::table(HEADER, rows, width) };
    format!("{}\n{table}", summary(drain)).trim_end().to_owned()
}

const HEADER: [&str; 4] = ["DOMAIN", "MEMORY", "STATE", "FIGURES"];

fn row(domain: &DrainedDomain) -> [String; 4] {
    let figures = domain.progress.map(|it| {
        let (left, speed) = (bytes(it.left_bytes), rate(it.rate_bytes_per_s));
        format!("round {}  left {left}  {speed}", it.round)
    });
    [domain.domain.clone(), bytes(domain.memory_bytes), stands(domain), figures.unwrap_or_default()]
}

/// Where a domain stands, with its target.
fn stands(domain: &DrainedDomain) -> String {
    match &domain.target {
        Some(target) => format!("{} to {target}", state(domain.state)),
        None => state(domain.state).to_owned(),
    }
}

/// All domains, and why those stay that do.
pub(crate) fn table(drain: &Drain, width: usize) -> String {
    let rows = drain.domains.iter().map(|domain| {
        let migration = domain.migration.map(|id| id.to_string()).unwrap_or_default();
        [domain.domain.clone(), bytes(domain.memory_bytes), stands(domain), migration]
    });
    let rows: Vec<_> = rows.collect();
    let table = match rows.is_empty() {
        true => String::new(),
        false => printer::table(["DOMAIN", "MEMORY", "STATE", "MIGRATION"], rows, width),
    };
    let whole = drain.domains.iter().filter(|domain| domain.state == DrainState::Stays);
    let reasons: String = whole.flat_map(|domain| why(domain, width)).collect();
    format!("{table}{reasons}{}\n", summary(drain))
}

fn why(domain: &DrainedDomain, width: usize) -> Vec<String> {
    let line = |it: &api::NotThere| {
        let host =
            it.host.as_ref().map(|host| format!(" does not go to {host}")).unwrap_or_else(|| " stays".into());
        wrap(&format!("{}{host}: {}", domain.domain, it.reason), "", "  ", width)
    };
    domain.not_there.iter().map(line).collect()
}

/// What has come to an end since the table before, a line each.
pub(crate) fn news(before: &Drain, now: &Drain, width: usize) -> Vec<String> {
    let is_new = |row: usize, domain: &DrainedDomain| {
        before
            .domains
            .get(row)
            .is_none_or(|known| known.state != domain.state || known.target != domain.target)
    };
    let new = now.domains.iter().enumerate().filter(|(row, domain)| is_new(*row, domain));
    let told = new.filter(|(_, domain)| !matches!(domain.state, DrainState::Waiting | DrainState::Checking));
    told.map(|(_, domain)| {
        let mut line = format!("{} {}", domain.domain, stands(domain));
        if let (DrainState::Stays, Some(last)) = (domain.state, domain.not_there.last()) {
            let host = last.host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
            line = format!("{line}: {host}{}", last.reason);
        }
        wrap(&line, "", "  ", width).trim_end().to_owned()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{live, news, summary, table};
    use api::{Drain, DrainState, DrainedDomain, NotThere, Progress};
    use uuid::Uuid;

    fn domain(name: &str, state: DrainState, target: Option<&str>) -> DrainedDomain {
        DrainedDomain {
            domain: name.to_owned(),
            uuid: Uuid::nil(),
            memory_bytes: 1 << 30,
            state,
            target: target.map(str::to_owned),
            migration: (state == DrainState::Moved).then(Uuid::nil),
            progress: None,
            not_there: Vec::new(),
        }
    }

    fn drain() -> Drain {
        let mut moving = domain("web2", DrainState::Moving, Some("kvm2"));
        moving.progress = Some(Progress {
            round: 2,
            sent_bytes: 3 << 29,
            left_bytes: 12 << 20,
            total_bytes: 1 << 30,
            rate_bytes_per_s: 100 << 20,
            dirty_bytes_per_s: 0,
            expected_blackout_ms: 300,
            throttle_percent: 0,
            elapsed_ms: 1,
        });
        let mut stays = domain("db1", DrainState::Stays, None);
        let reason = "bridge-missing: the bridge br7 is not on kvm2".to_owned();
        stays.not_there = vec![NotThere { host: Some("kvm2".to_owned()), reason }];
        let domains = vec![
            domain("web1", DrainState::Moved, Some("kvm3")),
            moving,
            stays,
            domain("web3", DrainState::Waiting, None),
        ];
        Drain { host: "kvm1".to_owned(), domains, ..Drain::default() }
    }

    #[test]
    fn what_is_under_way_is_a_table_below_the_summary() {
        insta::assert_snapshot!(live(&drain(), 80), @r"
        kvm1: 1 moved, 1 on their way, 1 waiting, 1 staying
        DOMAIN  MEMORY    STATE                  FIGURES
        web2    1.00 GiB  is on its way to kvm2  round 2  left 12.0 MiB  100 MiB/s
        ");
        assert_eq!(summary(&Drain { host: "kvm1".into(), ..Drain::default() }), "kvm1: no domain runs there");
    }

    #[test]
    fn the_end_names_what_stays_and_why() {
        insta::assert_snapshot!(table(&Drain { ended: true, ..drain() }, 80), @r"
        DOMAIN  MEMORY    STATE                  MIGRATION
        web1    1.00 GiB  has moved to kvm3      00000000-0000-0000-0000-000000000000
        web2    1.00 GiB  is on its way to kvm2
        db1     1.00 GiB  stays
        web3    1.00 GiB  waits
        db1 does not go to kvm2: bridge-missing: the bridge br7 is not on kvm2
        kvm1: 1 moved, 1 on their way, 1 waiting, 1 staying
        ");
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut before = drain();
        before.domains[0].state = DrainState::Moving;
        assert_eq!(news(&before, &drain(), 80), ["web1 has moved to kvm3"]);
        before.domains[2].state = DrainState::Moving;
        assert_eq!(
            news(&before, &drain(), 80)[1],
            "db1 stays: kvm2: bridge-missing: the bridge br7 is not on kvm2"
        );
        assert!(news(&drain(), &drain(), 80).is_empty());
    }
}
