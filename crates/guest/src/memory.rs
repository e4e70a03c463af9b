//! Memory with a pattern that tells every page from every other page and from its own older versions.
//!
//! A migration that loses the last change of a page leaves an older, intact page behind; a checksum inside the
//! page would not notice. So the version that a page must have is kept outside of it, and the whole page follows
//! from its index and version. The main type is [`Memory`]; it never allocates after [`Memory::filled`].

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
const WORDS: usize = PAGE_BYTES / 8;
/// 2^64 divided by the golden ratio, odd: its multiples are far from each other and do not compress.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Pages under watch. Changing goes round in the order of the pages, so each is checked once per round.
#[derive(Debug)]
pub struct Memory {
    words: Vec<u64>,
    versions: Vec<u32>,
    next: usize,
    checked: u64,
    errors: u64,
}

impl Memory {
    /// `pages` pages, each filled with its version 1.
    pub fn filled(pages: usize) -> Memory {
        let mut memory = Memory {
            words: vec![0; pages * WORDS],
            versions: vec![1; pages],
            next: 0,
            checked: 0,
            errors: 0,
        };
        for page in 0..pages {
            memory.write(page);
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

    /// Checks the next `count` pages in turn and gives each its next version.
    pub fn change(&mut self, count: usize) {
        if self.pages() == 0 {
            return;
        }
        for _ in 0..count {
            let page = self.next;
            self.next = (page + 1) % self.pages();
            self.check(page);
            self.versions[page] = self.versions[page].wrapping_add(1);
            self.write(page);
        }
    }

    /// Checks `count` pages from page `first` on, as far as there are any, and changes none.
    pub fn check_range(&mut self, first: usize, count: usize) {
        for page in first..self.pages().min(first.saturating_add(count)) {
            self.check(page);
        }
    }

    fn check(&mut self, page: usize) {
        let seed = seed(page, self.versions[page]);
        let words = &self.words[page * WORDS..(page + 1) * WORDS];
        let mut expect = seed;
        let mut differs = 0;
        for word in words {
            differs |= word ^ expect;
            expect = expect.wrapping_add(STEP);
        }
        self.checked += 1;
        if differs != 0 {
            self.errors += 1;
        }
    }

    fn write(&mut self, page: usize) {
        let mut value = seed(page, self.versions[page]);
        for word in &mut self.words[page * WORDS..(page + 1) * WORDS] {
            *word = value;
            value = value.wrapping_add(STEP);
        }
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

    #[test]
    fn untouched_memory_has_no_errors() {
        let mut memory = Memory::filled(8);
        memory.change(100);
        memory.check_range(0, usize::MAX);
        assert_eq!((memory.checked(), memory.errors()), (108, 0));
    }

    #[test]
    fn one_wrong_bit_is_an_error() {
        let mut memory = Memory::filled(8);
        memory.words[3 * WORDS + 511] ^= 1 << 63;
        memory.check_range(0, 8);
        assert_eq!(memory.errors(), 1);
    }

    #[test]
    fn an_intact_but_older_page_is_an_error() {
        let mut memory = Memory::filled(4);
        let old = memory.words[..WORDS].to_vec();
        memory.change(1);
        memory.words[..WORDS].copy_from_slice(&old);
        memory.change(4);
        assert_eq!(memory.errors(), 1);
    }

    #[test]
    fn a_page_in_the_place_of_another_is_an_error() {
        let mut memory = Memory::filled(4);
        memory.words.copy_within(WORDS..2 * WORDS, 0);
        memory.check_range(0, 4);
        assert_eq!(memory.errors(), 1);
    }
}
