//! Rule `snapshots-lost`: no disk that becomes a new image holds snapshots.

use super::rule::{Answer, Rule};

/// An image holds snapshots, and only what the guest sees of it goes along.
pub(super) static SNAPSHOTS_LOST: Rule = Rule {
    code: "snapshots-lost",
    what: "snapshots inside disks that become new images: by --flatten, or since their guest works",
    why: "a new image has what the guest sees now; what a snapshot kept is on the source alone",
    needed: false,
    judge: |facts| {
        let disks = facts.source.disks.iter();
        let anew = disks.filter(|disk| disk.fault.is_none() && facts.is_made_anew(&disk.disk));
        let answers = anew.map(|disk| {
            let (to, names) = (&facts.target_name, disk.snapshots.join(", "));
            let answer = match (disk.snapshots.is_empty(), facts.domain.live) {
                (true, _) => Answer::pass().between("none", ""),
                (false, live) => {
                    let mend = if live { "shut it down and add --offline" } else { "leave out --flatten" };
                    Answer::fail(
                        format!("disk {} holds snapshots, and becomes an image without them on {to}: {names}", disk.path),
                        format!(
                            "{mend}, and they go along; or delete those that nobody needs: ferry snapshot delete {} NAME",
                            facts.domain.name
                        ),
                    )
                    .between(names, "none")
                }
            };
            answer.about(&disk.disk)
        });
        answers.collect()
    },
};
