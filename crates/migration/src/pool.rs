//! Whether a storage pool is the same on two hosts: only then a path below it names the same storage on both. It compares
//! what was defined and what was mounted, and never whether a pool is started. Main function: [`differences`].

use api::Pool;

/// One thing in which a pool of this host and one of another are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As in `path`.
    pub what: &'static str,
    /// Of this host's pool.
    pub here: String,
    /// Of the other's.
    pub there: String,
}

/// In what two pools differ. UUIDs are not compared: each host has made its own where the pool was not defined on all at
/// once, and they lead nowhere else.
#[must_use]
pub fn differences(here: &Pool, there: &Pool) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |what, here: Option<String>, there: Option<String>| {
        if let (Some(here), Some(there)) = (here, there)
            && here != there
        {
            found.push(Difference { what, here, there });
        }
    };
    compare("type", Some(here.kind.as_str().to_owned()), Some(there.kind.as_str().to_owned()));
    compare("path", Some(here.path.clone()), Some(there.path.clone()));
    compare("source", source(here), source(there));
    compare("NFS version", version(here), version(there));
    compare("mount options", options(here), options(there));
    found
}

fn source(pool: &Pool) -> Option<String> {
    let source = pool.source.as_ref()?;
    Some(source.strip_suffix('/').filter(|shorter| !shorter.ends_with(':')).unwrap_or(source).to_owned())
}

/// What it is mounted with says more than what the definition leaves open.
fn version(pool: &Pool) -> Option<String> {
    pool.mounted_version.clone().or_else(|| pool.nfs_version.clone())
}

/// None of a directory; in any order, for mount(8) takes them so but for those that contradict each other.
fn options(pool: &Pool) -> Option<String> {
    pool.source.as_ref()?;
    let mut options = pool.options.clone();
    options.sort();
    Some(if options.is_empty() { "none".to_owned() } else { options.join(",") })
}

#[cfg(test)]
mod tests {
    use api::PoolKind;

    use super::*;

    fn shared() -> Pool {
        Pool {
            name: "shared".into(),
            uuid: uuid::Uuid::from_u128(1),
            kind: PoolKind::Netfs,
            path: "/srv/shared".into(),
            source: Some("nfs:/nfs-share".into()),
            nfs_version: Some("4.1".into()),
            options: vec!["rsize=65536".into(), "hard".into()],
            active: true,
            autostart: true,
            capacity_bytes: Some(1),
            available_bytes: Some(1),
            mounted_version: Some("4.1".into()),
            fault: None,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Pool), expect: &[(&str, &str, &str)]) {
        let mut there = shared();
        change(&mut there);
        let found = differences(&shared(), &there);
        let found: Vec<_> = found.iter().map(|it| (it.what, it.here.as_str(), it.there.as_str())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn what_leads_elsewhere_is_a_difference() {
        check(|_| {}, &[]);
        check(|there| there.path = "/srv/other".into(), &[("path", "/srv/shared", "/srv/other")]);
        check(
            |there| there.source = Some("nfs2:/nfs-share".into()),
            &[("source", "nfs:/nfs-share", "nfs2:/nfs-share")],
        );
        check(|there| there.mounted_version = Some("3".into()), &[("NFS version", "4.1", "3")]);
        check(|there| there.options = Vec::new(), &[("mount options", "hard,rsize=65536", "none")]);
        let dir = |there: &mut Pool| {
            (there.kind, there.source, there.options) = (PoolKind::Dir, None, Vec::new());
            (there.nfs_version, there.mounted_version) = (None, None);
        };
        check(dir, &[("type", "netfs", "dir")]);
    }

    #[test]
    fn what_leads_to_the_same_is_none() {
        check(|there| there.uuid = uuid::Uuid::from_u128(2), &[]);
        check(|there| there.source = Some("nfs:/nfs-share/".into()), &[]);
        check(|there| there.options.reverse(), &[]);
        // Not started: what it will be mounted with is what both were defined with.
        check(|there| (there.active, there.mounted_version) = (false, None), &[]);
        check(|there| (there.mounted_version, there.nfs_version) = (None, None), &[]);
    }
}
