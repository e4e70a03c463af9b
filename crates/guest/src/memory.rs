//! Memory with a pattern that tells every page from every other page and from its own older versions.
//!
//! A migration that loses the last change of a page leaves an older, intact page behind; a checksum inside the
//! page would not notice. So the version that a page must have is kept outside of it, and the whole page follows
//! from its index and version. The main type is [`Memory`]; it never allocates after [`Memory::filled`].
//!
//! ```text
//! Rewrite::Page   every word: a row of numbers that begins with the version's seed, so nothing of it compresses
//! Rewrite::Word   stamp: the version's seed, 8 bytes | the rest of version 1's row, to the middle | its first number, over and over
//! ```

use std::fmt;
use std::str::FromStr;

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
const WORDS: usize = PAGE_BYTES / 8;
/// 2^64 divided by the golden ratio, odd: its multiples are far from each other and do not compress.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// How much of a page is written when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// Its first eight bytes. Half of the rest compresses well.
    Word,
    /// All of it, with what does not compress.
    Page,
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rewrite::Word => "word",
            Rewrite::Page => "page",
        })
    }
}

impl FromStr for Rewrite {
    type Err = ();

    fn from_str(word: &str) -> Result<Rewrite, ()> {
        [Rewrite::Word, Rewrite::Page].into_iter().find(|rewrite| rewrite.to_string() == word).ok_or(())
    }
}

/// Pages under watch. Changing goes round in the order of the pages, so each is checked once per round.
#[derive(Debug)]
pub struct Memory {
    rewrite: Rewrite,
    words: Vec<u64>,
    versions: Vec<u32>,
    next: usize,
    checked: u64,
    errors: u64,
}

impl Memory {
    /// `pages` pages, each filled with its version 1.
    pub fn filled(pages: usize, rewrite: Rewrite) -> Memory {
        let mut memory = Memory {
            rewrite,
            words: vec![0; pages * WORDS],
            versions: vec![1; pages],
            next: 0,
            checked: 0,
            errors: 0,
        };
        for page in 0..pages {
            memory.write(page, WORDS);
        }
        memory
    }

    /// Pages under watch.
    pub fn pages(&self) -> usize {
        self.versions.len()
    }

    /// Pages compared so far.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Comparisons that failed so far.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Gives the next `count` pages in turn their next version; what is overwritten is checked before.
    pub fn change(&mut self, count: usize) {
        if self.pages() == 0 {
            return;
        }
        let words = match self.rewrite {
            Rewrite::Word => 1,
            Rewrite::Page => WORDS,
        };
        for _ in 0..count {
            let page = self.next;
            self.next = (page + 1) % self.pages();
            self.check(page, words);
            self.versions[page] = self.versions[page].wrapping_add(1);
            self.write(page, words);
        }
    }

    /// Checks `count` pages from page `first` on, as far as there are any, and changes none.
    pub fn check_range(&mut self, first: usize, count: usize) {
        for page in first..self.pages().min(first.saturating_add(count)) {
            self.check(page, WORDS);
        }
    }

    /// Compares the first `words` of a page with what they must be.
    fn check(&mut self, page: usize, words: usize) {
        let row = self.row(page);
        let held = &self.words[page * WORDS..][..words];
        let differs = held.iter().zip(row).fold(0, |differs, (word, expect)| differs | (word ^ expect));
        self.checked += 1;
        if differs != 0 {
            self.errors += 1;
        }
    }

    fn write(&mut self, page: usize, words: usize) {
        let row = self.row(page);
        for (word, value) in self.words[page * WORDS..][..words].iter_mut().zip(row) {
            *word = value;
        }
    }

    /// What a page must hold, word by word.
    fn row(&self, page: usize) -> impl Iterator<Item = u64> + use<> {
        let stamp = seed(page, self.versions[page]);
        let (first, middle) = match self.rewrite {
            Rewrite::Word => (seed(page, 1), WORDS / 2),
            Rewrite::Page => (stamp, WORDS),
        };
        (0..WORDS).map(move |place| match place {
            0 => stamp,
            place if place < middle => first.wrapping_add(STEP.wrapping_mul(place as u64)),
            _ => first,
        })
    }
}

/// The first word of a page: index and version, well mixed (the finalizer of SplitMix64).
fn seed(page: usize, version: u32) -> u64 {
    let mut value = (page as u64) << 32 | u64::from(version);
    value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Rewrite; 2] = [Rewrite::Word, Rewrite::Page];

    #[test]
    fn untouched_memory_has_no_errors() {
        for rewrite in BOTH {
            let mut memory = Memory::filled(8, rewrite);
            memory.change(100);
            memory.check_range(0, usize::MAX);
            assert_eq!((memory.checked(), memory.errors()), (108, 0), "{rewrite}");
        }
    }

    #[test]
    fn one_wrong_bit_is_an_error() {
        for rewrite in BOTH {
            let mut memory = Memory::filled(8, rewrite);
            memory.words[3 * WORDS + 511] ^= 1 << 63;
            memory.check_range(0, 8);
            assert_eq!(memory.errors(), 1, "{rewrite}");
        }
    }

    #[test]
    fn an_intact_but_older_page_is_an_error() {
        for rewrite in BOTH {
            let mut memory = Memory::filled(4, rewrite);
            let old = memory.words[..WORDS].to_vec();
            memory.change(1);
            memory.words[..WORDS].copy_from_slice(&old);
            memory.change(4);
            assert_eq!(memory.errors(), 1, "{rewrite}");
        }
    }

    #[test]
    fn a_page_in_the_place_of_another_is_an_error() {
        for rewrite in BOTH {
            let mut memory = Memory::filled(4, rewrite);
            memory.words.copy_within(WORDS..2 * WORDS, 0);
            memory.check_range(0, 4);
            assert_eq!(memory.errors(), 1, "{rewrite}");
        }
    }

    #[test]
    fn a_page_with_a_piece_of_its_older_version_is_an_error() {
        let mut memory = Memory::filled(4, Rewrite::Page);
        let old = memory.words[WORDS - 1];
        memory.change(1);
        memory.words[WORDS - 1] = old;
        memory.check_range(0, 4);
        assert_eq!(memory.errors(), 1);
    }

    #[test]
    fn so_much_of_a_page_changes() {
        for (rewrite, expect) in [(Rewrite::Word, 1), (Rewrite::Page, WORDS)] {
            let mut memory = Memory::filled(2, rewrite);
            let old = memory.words.clone();
            memory.change(1);
            let changed = memory.words.iter().zip(&old).filter(|(word, old)| word != old).count();
            assert_eq!(changed, expect, "{rewrite}");
        }
    }
}
