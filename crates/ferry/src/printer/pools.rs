//! What `pool` and `vol` print.

use api::{HostPools, Pool, Volume, VolumeFormat};

use super::{Facts, problem, table, wrap};
use crate::measure::bytes;

/// `ferry pool list`.
pub(crate) fn list(pools: &[Pool], width: usize) -> String {
    if pools.is_empty() {
        return "No pool is defined here.\n".to_owned();
    }
    let faults: String = pools.iter().map(|pool| fault(pool, "", width)).collect();
    format!(
        "{}{faults}",
        table(["NAME", "STATE", "TYPE", "PATH", "FREE"], pools.iter().map(row).collect(), width)
    )
}

fn row(pool: &Pool) -> [String; 5] {
    let free = pool.available_bytes.map(bytes).unwrap_or_default();
    [pool.name.clone(), state(pool).to_owned(), pool.kind.as_str().to_owned(), pool.path.clone(), free]
}

fn state(pool: &Pool) -> &'static str {
    match (pool.active, &pool.fault) {
        (true, None) => "active",
        (true, Some(_)) => "broken",
        (false, _) => "inactive",
    }
}

fn fault(pool: &Pool, host: &str, width: usize) -> String {
    let fault = pool.fault.as_ref().map(|fault| format!("{host}{}: {fault}", pool.name));
    fault.map_or_else(String::new, |fault| wrap(&fault, "  • ", "    ", width))
}

/// `ferry pool info`.
pub(crate) fn pool(pool: &Pool, width: usize) -> String {
    let mut facts = Facts::default();
    facts.add("uuid", &pool.uuid.to_string());
    facts.add("state", state(pool));
    facts.add("type", pool.kind.as_str());
    facts.add("path", &pool.path);
    if let Some(source) = &pool.source {
        facts.add("source", source);
    }
    match (&pool.nfs_version, &pool.mounted_version) {
        (_, Some(mounted)) => facts.add("nfs version", mounted),
        (Some(wanted), None) => facts.add("nfs version", wanted),
        (None, None) => {}
    }
    if !pool.options.is_empty() {
        facts.add("options", &pool.options.join(","));
    }
    facts.add("autostart", if pool.autostart { "yes" } else { "no" });
    if let (Some(capacity), Some(available)) = (pool.capacity_bytes, pool.available_bytes) {
        facts.add("room", &format!("{}, {} free", bytes(capacity), bytes(available)));
    }
    if let Some(fault) = &pool.fault {
        facts.add("fault", fault);
    }
    format!("{}\n{}", pool.name, facts.render(width))
}

/// The same on every host: `word` is what became of the pool; none where it is only shown.
pub(crate) fn everywhere(answers: &[HostPools], word: &str, width: usize) -> String {
    let mut text = String::new();
    if word.is_empty() {
        let rows = answers.iter().flat_map(|answer| answer.pools.iter().map(|pool| (&answer.host, pool)));
        let rows = rows.map(|(host, pool)| {
            let [name, state, kind, path, free] = row(pool);
            [host.clone(), name, state, kind, path, free]
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            text.push_str(&table(["HOST", "NAME", "STATE", "TYPE", "PATH", "FREE"], rows, width));
        }
        for answer in answers {
            let host = format!("{}: ", answer.host);
            text.extend(answer.pools.iter().map(|pool| fault(pool, &host, width)));
        }
    }
    for answer in answers {
        match &answer.problem {
            Some(refused) => text.push_str(&format!("{}: {}", answer.host, problem(refused, width))),
            None if word.is_empty() => {}
            None => text.push_str(&format!("{}: {word}\n", answer.host)),
        }
    }
    let differences = answers.iter().flat_map(|answer| &answer.differences);
    text.extend(differences.map(|difference| wrap(difference, "  • ", "    ", width)));
    text
}

/// `ferry vol list`.
pub(crate) fn volumes(volumes: &[Volume], width: usize) -> String {
    if volumes.is_empty() {
        return "It has no volumes.\n".to_owned();
    }
    let rows = volumes.iter().map(|volume| {
        let (capacity, allocation) = (bytes(volume.capacity_bytes), bytes(volume.allocation_bytes));
        [volume.name.clone(), format(volume.format).to_owned(), capacity, allocation]
    });
    table(["NAME", "FORMAT", "CAPACITY", "TAKES"], rows.collect(), width)
}

fn format(format: VolumeFormat) -> &'static str {
    match format {
        VolumeFormat::Qcow2 => "qcow2",
        VolumeFormat::Raw => "raw",
    }
}

/// `ferry vol info`.
pub(crate) fn volume(volume: &Volume, width: usize) -> String {
    let mut facts = Facts::default();
    facts.add("path", &volume.path);
    facts.add("format", format(volume.format));
    facts.add("capacity", &bytes(volume.capacity_bytes));
    facts.add("takes", &bytes(volume.allocation_bytes));
    if let Some(backing) = &volume.backing {
        facts.add("stands on", backing);
    }
    if !volume.used_by.is_empty() {
        facts.add("used by", &volume.used_by.join(", "));
    }
    if let Some(owner) = &volume.owner {
        facts.add("domain on", owner);
    }
    format!("{}\n{}", volume.name, facts.render(width))
}
