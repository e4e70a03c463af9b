//! Rule `hugepages-short`: the target has huge pages for the guest.

use super::rule::{Answer, Rule, none};

/// The target has too few free huge pages.
pub(super) static HUGEPAGES_SHORT: Rule = Rule {
    code: "hugepages-short",
    what: "free huge pages for the guest",
    why: "QEMU does not start where the huge pages that the definition wants are not free",
    needed: false,
    judge: |facts| {
        let (Some(size), Some(target)) = (facts.domain.hugepage_bytes, facts.told()) else { return none() };
        let host = &target.host;
        let size = if size == 0 { host.hugepage_default_bytes.unwrap_or(0) } else { size };
        if size == 0 {
            return none();
        }
        let wanted = facts.domain.memory_bytes.div_ceil(size);
        let pool = host.hugepages.iter().find(|pages| pages.size_bytes == size);
        let free = pool.map_or(0, |pages| pages.free);
        let (kib, to) = (size >> 10, &facts.target_name);
        let answer = if wanted <= free {
            Answer::pass()
        } else {
            // The file says how many there are in all, those in use included.
            let total = pool.map_or(0, |pages| pages.total).saturating_sub(free) + wanted;
            Answer::fail(
                format!("the guest wants {wanted} huge pages of {kib} KiB, {to} has {free} free"),
                format!("on {to}: echo {total} > /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"),
            )
        };
        vec![answer.between(format!("{wanted} × {kib} KiB"), format!("{free} × {kib} KiB"))]
    },
};
