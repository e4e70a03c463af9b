//! Rule `chain-broken`: every image that a disk stands on is there.

use api::DiskFacts;

use super::rule::{Answer, Rule};

/// An image below a disk cannot be opened.
pub(super) static CHAIN_BROKEN: Rule = Rule {
    code: "chain-broken",
    what: "every image that a disk stands on, down to the lowest",
    why: "what was never written into the upper images is in the lower ones",
    needed: false,
    judge: |facts| {
        let there = facts.told().map(|target| target.host.disks.as_slice()).unwrap_or_default();
        let there = there.iter().filter(|disk| !facts.is_copied(&disk.disk));
        let on_source = facts.source.disks.iter().filter_map(|disk| judged(&facts.source.host, disk, true));
        on_source.chain(there.filter_map(|disk| judged(&facts.target_name, disk, false))).collect()
    },
};

fn judged(host: &str, disk: &DiskFacts, source: bool) -> Option<Answer> {
    disk.file.as_ref()?;
    let (answer, found) = match &disk.broken {
        None => (Answer::pass(), format!("{} below it", disk.below.len())),
        Some(broken) => {
            let (image, below) = (&broken.image, &broken.below);
            let said = format!("the image {image} on {host} stands on {below}: {}", broken.fault);
            let mend = format!(
                "put {below} back; if it only has another place now: qemu-img rebase -u -b PLACE {image}"
            );
            (Answer::fail(said, mend), format!("{below} is missing"))
        }
    };
    let answer = if source { answer.between(found, "") } else { answer.between("", found) };
    Some(answer.about(&disk.disk))
}
