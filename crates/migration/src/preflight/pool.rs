//! Rule `pool-differs`: both hosts have the storage pools of the domain's disks, and the same ones.

use api::{Fix, Pool};

use super::Facts;
use super::rule::{Answer, Rule, none};
use crate::pool::differences;

/// A pool of the domain's disks is missing on the target, is not started there, or is another one.
pub(super) static POOL_DIFFERS: Rule = Rule {
    code: "pool-differs",
    what: "each disk's storage pool, on both hosts",
    why: "a disk is found by its path, and what is there after the next boot is what the host's pools say",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        // What is copied, or lies elsewhere there, has another pool or none.
        let stays = |path: &str, disk: &str| !facts.is_copied(disk) && facts.domain.there(path) == path;
        let disks = facts.source.disks.iter().filter(|disk| stays(&disk.path, &disk.disk));
        let of_disks = |pool: &&Pool| disks.clone().any(|disk| holds(pool, &disk.path));
        let pools = facts.source.pools.iter().filter(of_disks);
        pools.map(|pool| judged(facts, pool, &target.host.pools).about(&pool.name)).collect()
    },
};

fn holds(pool: &Pool, path: &str) -> bool {
    path.strip_prefix(&pool.path).is_some_and(|rest| rest.starts_with('/'))
}

fn judged(facts: &Facts, here: &Pool, pools: &[Pool]) -> Answer {
    let (name, from, to) = (&here.name, &facts.source.host, &facts.target_name);
    let place = |pool: &Pool| pool.source.clone().unwrap_or_else(|| pool.path.clone());
    let same_name = pools.iter().find(|there| there.name == *name);
    let Some(there) = same_name.or_else(|| pools.iter().find(|there| there.path == here.path)) else {
        return Answer::warn(
            format!("{to} does not have the pool {name} of {from}"),
            format!("ferry pool dumpxml {name} > {name}.xml; ferry --host ssh://{to} pool define {name}.xml"),
        )
        .between(place(here), "missing")
        .fixed_by(Fix::DefinePool { pool: name.clone() });
    };
    if let Some(first) = differences(here, there).into_iter().next() {
        return Answer::warn(
            format!("the pool {name} has another {} on {to} than on {from}", first.what),
            format!("define it on {to} as it is on {from}: ferry pool dumpxml {name} shows it"),
        )
        .between(first.here, first.there);
    }
    if here.active && !there.active {
        let there = &there.name;
        return Answer::warn(
            format!("the pool {there} is not started on {to}"),
            format!("ferry --host ssh://{to} pool start {there}"),
        )
        .between("started", "not started")
        .fixed_by(Fix::StartPool { pool: there.clone() });
    }
    Answer::pass().between(place(here), place(there))
}
