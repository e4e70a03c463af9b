//! Rule `cache-unsafe`: what the guest has flushed is on the disk.

use super::rule::{Answer, Rule, none};

/// A disk's cache mode ignores flushes.
pub(super) static CACHE_UNSAFE: Rule = Rule {
    code: "cache-unsafe",
    what: "each disk's cache mode",
    why: "with cache='unsafe' writes may still lie in the source's memory when the target reads the disk",
    needed: true,
    judge: |facts| {
        if !facts.domain.live {
            return none();
        }
        let writable = facts.domain.disks.iter().filter(|disk| disk.writable);
        let answers = writable.map(|disk| {
            let cache = disk.cache.as_deref().unwrap_or("default");
            let answer = if cache == "unsafe" {
                Answer::fail(
                    format!("disk {} of the guest has cache='unsafe'", disk.name),
                    format!("set cache='none' and restart the domain: ferry edit {}", facts.domain.name),
                )
            } else {
                Answer::pass()
            };
            answer.between(cache, "").about(&disk.name)
        });
        answers.collect()
    },
};
