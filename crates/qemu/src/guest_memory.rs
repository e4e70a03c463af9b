//! What a guest's memory holds, seen from its host: some pages of the QEMU process are read, and once more later. It tells what
//! QEMU tells only while it migrates: how much is not zero, which pages change, and how much of such a page.
//!
//! Only pages that have memory of their own are read (`/proc/PID/pagemap`), so that a look gives the guest none. It never
//! writes, and what it has read is nobody's but its own. All of it blocks for some milliseconds.
//!
//! The main type is [`Look`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::dirty_rate::Written;
use crate::limits::{LOOK_PAGES, MEMORY_MAPPINGS_MAX};

/// Bytes of a page of an x86-64 guest, and of what QEMU sends at once.
pub const PAGE_BYTES: u64 = 4096;

/// A page that nobody has written to.
const ZERO: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// Bits of an entry of `/proc/PID/pagemap` (proc_pid_pagemap(5)).
const PRESENT: u64 = 1 << 63;
/// See [`PRESENT`].
const SWAPPED: u64 = 1 << 62;

/// Why nothing was seen.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Something of `/proc/PID` cannot be read: the QEMU is gone, or the agent may not.
    #[error("/proc/{pid}/{file} cannot be read")]
    Read {
        /// The QEMU.
        pid: u32,
        /// What.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has no mapping that is large enough.
    #[error("the guest's memory of {memory_bytes} bytes is not found in process {pid}")]
    NotFound {
        /// The QEMU.
        pid: u32,
        /// What was looked for.
        memory_bytes: u64,
    },
}

/// A page that was looked at.
enum Page {
    /// It has no memory, or is all zero.
    Zero,
    /// It lies on a swap device, and is left there.
    Swapped,
    /// What it held.
    Held(Box<[u8; PAGE_BYTES as usize]>),
}

/// A first look at a guest's memory.
pub struct Look {
    pid: u32,
    memory_bytes: u64,
    at: Instant,
    /// By their addresses in the QEMU.
    pages: Vec<(u64, Page)>,
}

/// What had changed at a later look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Changed {
    /// The pages that are not as they were.
    pub written: Written,
    /// Bytes that XBZRLE makes of such a page, as a share of the page; `None` where none has changed.
    pub delta: Option<f64>,
}

impl Look {
    /// Finds the memory of a guest that has so much of it, and looks at it.
    ///
    /// # Errors
    /// [`LookError`].
    pub fn first(pid: u32, memory_bytes: u64) -> Result<Look, LookError> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"));
        let maps = maps.map_err(|source| LookError::Read { pid, file: "maps", source })?;
        let ranges = memory(&maps, memory_bytes).ok_or(LookError::NotFound { pid, memory_bytes })?;
        let at = Instant::now();
        let reader = Reader::open(pid)?;
        let pages = addresses(&ranges).map(|address| Ok((address, reader.page(address)?)));
        Ok(Look { pid, memory_bytes, at, pages: pages.collect::<Result<_, _>>()? })
    }

    /// Bytes of memory that are not zero, as the pages looked at have it.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.share_of_memory(self.pages.iter().filter(|(_, page)| !matches!(page, Page::Zero)).count())
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`LookError`].
    pub fn again(&self) -> Result<Changed, LookError> {
        let reader = Reader::open(self.pid)?;
        let (mut changed, mut delta_bytes) = (0, 0);
        let window = self.at.elapsed();
        for (address, before) in &self.pages {
            let bytes = match (before, reader.page(*address)?) {
                (Page::Held(before), Page::Held(now)) => delta(&before[..], &now[..]),
                // What was zero is sent whole.
                (Page::Zero, Page::Held(_)) => Some(PAGE_BYTES as usize),
                (_, Page::Zero | Page::Swapped) | (Page::Swapped, Page::Held(_)) => None,
            };
            if let Some(bytes) = bytes {
                changed += 1;
                delta_bytes += bytes;
            }
        }
        let delta = (changed > 0).then(|| delta_bytes as f64 / (changed as f64 * PAGE_BYTES as f64));
        Ok(Changed { written: Written { window, bytes: self.share_of_memory(changed) }, delta })
    }

    fn share_of_memory(&self, pages: usize) -> u64 {
        let of = self.pages.len().max(1) as u128;
        u64::try_from(u128::from(self.memory_bytes) * pages as u128 / of).unwrap_or(u64::MAX)
    }
}

/// The mappings that are the guest's memory: the largest that can be written and are no code, which under TCG is as large.
/// A guest with NUMA nodes has one for each.
fn memory(maps: &str, memory_bytes: u64) -> Option<Vec<Range<u64>>> {
    let mut mappings: Vec<Range<u64>> = maps.lines().filter_map(data).collect();
    mappings.sort_by_key(|range| std::cmp::Reverse(range.end - range.start));
    let mut found = 0;
    let enough = |range: &Range<u64>| {
        let wanted = found < memory_bytes;
        found += range.end - range.start;
        wanted
    };
    let ranges: Vec<_> = mappings.into_iter().take_while(enough).collect();
    let all: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    (memory_bytes > 0 && all >= memory_bytes && ranges.len() <= MEMORY_MAPPINGS_MAX).then_some(ranges)
}

/// A mapping with data, of a line as in `7f00-7f10 rw-p 00000000 00:00 0`.
fn data(line: &str) -> Option<Range<u64>> {
    let (addresses, rest) = line.split_once(' ')?;
    if !rest.starts_with("rw-") {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    (start < end).then_some(start..end)
}

/// Which pages are looked at: one of each of as many equal parts, somewhere in it.
fn addresses(ranges: &[Range<u64>]) -> impl Iterator<Item = u64> {
    let count = |range: &Range<u64>| (range.end - range.start) / PAGE_BYTES;
    let all: u64 = ranges.iter().map(count).sum();
    let parts = all.min(LOOK_PAGES as u64);
    (0..parts).filter_map(move |part| {
        let (from, to) = (all * part / parts, all * (part + 1) / parts);
        // Knuth's multiplicative hash: what lies at regular distances must not be met or missed each time.
        let mut page = from + part.wrapping_mul(2_654_435_761) % (to - from);
        for range in ranges {
            if page < count(range) {
                return Some(range.start + page * PAGE_BYTES);
            }
            page -= count(range);
        }
        None
    })
}

/// The files that a look reads.
struct Reader {
    pid: u32,
    pagemap: File,
    mem: File,
}

impl Reader {
    fn open(pid: u32) -> Result<Reader, LookError> {
        let open = |file| {
            let opened = File::open(format!("/proc/{pid}/{file}"));
            opened.map_err(|source| LookError::Read { pid, file, source })
        };
        Ok(Reader { pid, pagemap: open("pagemap")?, mem: open("mem")? })
    }

    fn page(&self, address: u64) -> Result<Page, LookError> {
        let fault = |file| move |source| LookError::Read { pid: self.pid, file, source };
        let mut entry = [0; 8];
        self.pagemap.read_exact_at(&mut entry, address / PAGE_BYTES * 8).map_err(fault("pagemap"))?;
        let entry = u64::from_ne_bytes(entry);
        if entry & PRESENT == 0 {
            return Ok(if entry & SWAPPED == 0 { Page::Zero } else { Page::Swapped });
        }
        let mut page = Box::new([0; PAGE_BYTES as usize]);
        self.mem.read_exact_at(&mut page[..], address).map_err(fault("mem"))?;
        Ok(if page[..] == ZERO { Page::Zero } else { Page::Held(page) })
    }
}

/// How many bytes XBZRLE makes of a page that was another before (`xbzrle_encode_buffer` of QEMU): the lengths of what is
/// equal and of what is not, in turn, each with one byte or two, and what is not equal. `None` where nothing differs; a page
/// that would become longer is sent whole.
fn delta(before: &[u8], now: &[u8]) -> Option<usize> {
    if before == now {
        return None;
    }
    let length_bytes = |run: usize| if run < 0x80 { 1 } else { 2 };
    let (mut at, mut bytes) = (0, 0);
    while at < now.len() {
        let differs = |i: &usize| before[*i] != now[*i];
        let equal_until = (at..now.len()).find(differs).unwrap_or(now.len());
        if equal_until == now.len() {
            break;
        }
        let other_until = (equal_until..now.len()).find(|i| !differs(i)).unwrap_or(now.len());
        let (equal, other) = (equal_until - at, other_until - equal_until);
        bytes += length_bytes(equal) + length_bytes(other) + other;
        at = other_until;
    }
    (bytes > 0).then_some(bytes.min(now.len()))
}

#[cfg(test)]
mod tests {
    use super::{Look, PAGE_BYTES, addresses, delta, memory};

    const MAPS: &str = "\
55d0c0000000-55d0c0a00000 r-xp 00000000 08:01 12 /usr/bin/qemu-system-x86_64
55d0c2000000-55d0c2800000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0040000000 rwxp 00000000 00:00 0
7f1000000000-7f1010000000 rw-p 00000000 00:00 0
7f1010000000-7f1010001000 ---p 00000000 00:00 0
7f2000000000-7f2004000000 rw-s 00000000 00:01 5 /memfd:ram (deleted)
nonsense
";

    #[test]
    fn memory_is_the_largest_that_is_no_code() {
        let mib = |mib: u64| mib << 20;
        let whole = 0x7f10_0000_0000..0x7f10_1000_0000;
        assert_eq!(memory(MAPS, mib(256)), Some(Vec::from([whole])));
        let both = vec![0x7f10_0000_0000..0x7f10_1000_0000, 0x7f20_0000_0000..0x7f20_0400_0000];
        assert_eq!(memory(MAPS, mib(320)), Some(both));
        assert_eq!(memory(MAPS, mib(1024)), None);
        assert_eq!(memory("", 0), None);
    }

    #[test]
    fn pages_are_spread_over_all_of_it() {
        let ranges = [0..1 << 20, 1 << 30..(1 << 30) + (64 << 20)];
        let chosen: Vec<u64> = addresses(&ranges).collect();
        assert!(chosen.windows(2).all(|two| two[0] < two[1]) && chosen.iter().all(|it| it % PAGE_BYTES == 0));
        assert!(chosen.iter().all(|address| ranges.iter().any(|range| range.contains(address))));
        let inside = chosen.iter().filter(|address| ranges[0].contains(address)).count();
        assert!(inside.abs_diff(chosen.len() / 65) <= 1, "{inside} of {}", chosen.len());
        let two = 0..2 * PAGE_BYTES;
        assert_eq!(addresses(&[two]).collect::<Vec<_>>(), [0, PAGE_BYTES]);
        assert_eq!(addresses(&[]).count(), 0);
    }

    #[test]
    fn a_delta_is_as_long_as_what_differs() {
        let before = vec![7; 4096];
        let check = |places: &[usize], expect| {
            let mut now = before.clone();
            places.iter().for_each(|place| now[*place] = 1);
            assert_eq!(delta(&before, &now), expect, "{places:?}");
        };
        check(&[], None);
        check(&[0], Some(3));
        check(&[0, 1, 2], Some(5));
        check(&[5, 400], Some(3 + 4));
        check(&(0..4096).step_by(2).collect::<Vec<_>>(), Some(4096));
    }

    #[test]
    fn this_process_has_memory_that_changes() {
        // Larger than anything else here, so that it is what is found; a quarter is written before the look.
        let bytes: usize = 64 << 20;
        let mut memory = vec![0_u8; bytes];
        memory[..bytes / 4].fill(1);
        let look = Look::first(std::process::id(), bytes as u64).expect("it reads itself");
        let used = look.used_bytes();
        assert!(used.abs_diff(bytes as u64 / 4) < 4 << 20, "{used}");
        for page in memory[..bytes / 8].chunks_mut(4096) {
            page[100..108].fill(2);
        }
        let changed = look.again().expect("it reads itself");
        assert!(changed.written.bytes.abs_diff(bytes as u64 / 8) < 4 << 20, "{changed:?}");
        let delta = changed.delta.expect("some changed");
        assert!(delta < 0.01, "{delta}");
        assert!(memory.contains(&2));
    }
}
