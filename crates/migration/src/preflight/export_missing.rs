//! Rule `export-missing`: the NFS server exports what the domain's disks lie on.

use super::rule::{Answer, Rule};

/// An NFS server lists no export that a disk lies on.
pub(super) static EXPORT_MISSING: Rule = Rule {
    code: "export-missing",
    what: "the NFS server lists the export, as `showmount -e` shows it",
    why: "what is not exported any more is stale where it is mounted, and cannot be mounted anew",
    needed: false,
    judge: |facts| {
        let hosts = std::iter::once(&facts.source).chain(facts.told().map(|target| &target.host));
        let asked = hosts.flat_map(|host| host.nfs.iter().map(move |nfs| (&host.host, nfs)));
        let answers = asked.filter_map(|(host, nfs)| {
            let exports = nfs.exports.as_ref()?;
            let (server, path) = (&nfs.server, &nfs.path);
            let answer = if exports.iter().any(|export| lies_in(path, export)) {
                Answer::pass()
            } else {
                let listed = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
                let said = format!("{server} tells {host} that it exports {listed}, and not {path}");
                let mend = format!(
                    "on {server}: add `{path} {host}(rw,no_root_squash)` to /etc/exports; exportfs -ra; showmount -e"
                );
                // Only version 3 mounts by this list.
                if nfs.version3 { Answer::fail(said, mend) } else { Answer::warn(said, mend) }
            };
            let listed = exports.join(", ");
            let answer = if *host == facts.source.host {
                answer.between(listed, "")
            } else {
                answer.between("", listed)
            };
            Some(answer.about(path))
        });
        answers.collect()
    },
};

fn lies_in(path: &str, export: &str) -> bool {
    let rest = path.strip_prefix(export.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
