//! The images that are copied: half text, half random, the same on every machine, and changed a little for a second
//! trip. Main type: [`Image`]. It knows nothing of who copies them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What extents are multiples of, and what changes between two trips: a cluster of qcow2.
const BLOCK_BYTES: u64 = 64 << 10;
/// A sparse image has so many times the room that its content takes.
const ROOM: u64 = 10;
/// Extents have so many blocks at most: 16 MiB.
const EXTENT_BLOCKS_MAX: u64 = 256;
/// Text is cut out of one piece of this size. Compression at level 1 remembers 512 KiB, so it sees no piece twice.
const TEXT_BYTES: usize = 32 << 20;
/// Pieces of text: from 8 to 64 KiB, as files of source code have.
const PIECE_BYTES: (u64, u64) = (8 << 10, 64 << 10);
/// Changing a block twice restores it, and a block stays as compressible as it was.
const CHANGE: u8 = 0xa5;

/// The images there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Raw, most of it holes
    Sparse,
    /// The same in qcow2
    Qcow2,
    /// Raw, without holes
    Full,
}

impl Kind {
    /// QEMU's name of the format.
    pub(crate) fn format(self) -> &'static str {
        match self {
            Kind::Sparse | Kind::Full => "raw",
            Kind::Qcow2 => "qcow2",
        }
    }

    /// Its file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Kind::Sparse => "sparse.raw",
            Kind::Qcow2 => "sparse.qcow2",
            Kind::Full => "full.raw",
        }
    }
}

/// An image that was made.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) kind: Kind,
    /// What a guest sees, in bytes.
    pub(crate) virtual_bytes: u64,
    /// What the file takes.
    pub(crate) allocated_bytes: u64,
    random: Random,
}

impl Image {
    /// Makes one with so much content in `directory`.
    pub(crate) fn make(kind: Kind, content_bytes: u64, directory: &Path) -> Result<Image> {
        let blocks = content_bytes / BLOCK_BYTES;
        ensure!(blocks >= 4, "an image has at least four blocks of 64 KiB");
        let mut random = Random(1);
        let (virtual_bytes, extents) = match kind {
            Kind::Full => (content_bytes, in_turn(blocks)),
            Kind::Sparse | Kind::Qcow2 => (content_bytes * ROOM, scattered(blocks, &mut random)),
        };
        let path = directory.join(kind.file());
        let raw = path.with_extension("raw");
        fill(&raw, virtual_bytes, &extents, &mut random).with_context(|| raw.display().to_string())?;
        if kind == Kind::Qcow2 {
            let mut convert = Command::new("qemu-img");
            run(convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args([&raw, &path]))?;
            fs::remove_file(&raw)?;
        }
        Ok(Image { kind, virtual_bytes, allocated_bytes: allocated(&path)?, random })
    }

    /// Changes one block in a hundred of what is allocated in a file of this image, as a guest would that writes here and
    /// there; returns how many bytes that is.
    pub(crate) fn change(&mut self, path: &Path) -> Result<u64> {
        #[derive(Deserialize)]
        struct Extent {
            data: bool,
            length: u64,
            #[serde(default)]
            offset: Option<u64>,
        }
        let map =
            run(Command::new("qemu-img").args(["map", "--output=json", "-f", self.kind.format()]).arg(path))?;
        let extents: Vec<Extent> = serde_json::from_slice(&map).context("qemu-img map")?;
        let mut blocks = Vec::new();
        for Extent { length, offset, .. } in extents.iter().filter(|extent| extent.data) {
            let offset = offset.context("qemu-img map names no place in the file")?;
            blocks.extend((0..length / BLOCK_BYTES).map(|number| offset + number * BLOCK_BYTES));
        }
        let count = blocks.len().div_ceil(100);
        let file = File::options().read(true).write(true).open(path)?;
        let mut block = vec![0; BLOCK_BYTES as usize];
        for place in 0..count {
            let chosen = place + self.random.below((blocks.len() - place) as u64) as usize;
            blocks.swap(place, chosen);
            file.read_exact_at(&mut block, blocks[place])?;
            block.iter_mut().for_each(|byte| *byte ^= CHANGE);
            file.write_all_at(&block, blocks[place])?;
        }
        Ok(count as u64 * BLOCK_BYTES)
    }

    /// Whether a guest sees the same in two files of this image; qemu-img says where not.
    pub(crate) fn compare(&self, one: &Path, other: &Path) -> Result<()> {
        let format = self.kind.format();
        run(Command::new("qemu-img").args(["compare", "-f", format, "-F", format]).args([one, other]))
            .map(drop)
    }
}

/// What a file takes, holes left out.
pub(crate) fn allocated(path: &Path) -> Result<u64> {
    // stat(2): in units of 512 bytes.
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.blocks() * 512)
}

/// Some blocks in a row, and what they hold.
struct Extent {
    block: u64,
    blocks: u64,
    text: bool,
}

/// Extents of 16 MiB without holes, text and random in turn.
fn in_turn(blocks: u64) -> Vec<Extent> {
    let length = EXTENT_BLOCKS_MAX.min(blocks / 2);
    let starts = (0..blocks).step_by(length as usize).enumerate();
    starts
        .map(|(number, block)| Extent { block, blocks: length.min(blocks - block), text: number % 2 == 1 })
        .collect()
}

/// Extents of 1 to 16 MiB with holes between them; for each with text there is one with as many random blocks.
fn scattered(blocks: u64, random: &mut Random) -> Vec<Extent> {
    let mut lengths = Vec::new();
    let mut left = blocks / 2;
    while left > 0 {
        let length =
            (EXTENT_BLOCKS_MAX / 16 + random.below(EXTENT_BLOCKS_MAX)).min(EXTENT_BLOCKS_MAX).min(left);
        lengths.extend([(length, false), (length, true)]);
        left -= length;
    }
    let hole = blocks * ROOM - lengths.iter().map(|(length, _)| length).sum::<u64>();
    let mut gaps: Vec<u64> = lengths.iter().map(|_| random.below(hole)).collect();
    gaps.sort_unstable();
    let mut before = 0;
    let place = |((blocks, text), gap)| {
        let block = gap + before;
        before += blocks;
        Extent { block, blocks, text }
    };
    lengths.into_iter().zip(gaps).map(place).collect()
}

fn fill(path: &PathBuf, length: u64, extents: &[Extent], random: &mut Random) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(length)?;
    let text = text(TEXT_BYTES, random);
    let mut content = Vec::new();
    for extent in extents {
        let bytes = (extent.blocks * BLOCK_BYTES) as usize;
        content.clear();
        while content.len() < bytes {
            match extent.text {
                true => {
                    let piece = (PIECE_BYTES.0 + random.below(PIECE_BYTES.1 - PIECE_BYTES.0)) as usize;
                    let from = random.below((text.len() - piece) as u64) as usize;
                    content.extend_from_slice(&text[from..from + piece.min(bytes - content.len())]);
                }
                false => content.extend_from_slice(&random.next().to_le_bytes()),
            }
        }
        file.write_all_at(&content, extent.block * BLOCK_BYTES)?;
    }
    Ok(())
}

/// Text that compresses as source code and documents do: made-up words, and things said a moment ago said again. zstd at
/// level 1 makes it 4 times smaller, in pieces of 64 KiB as in one, where it makes C headers, Python and manuals 3.9 to 4.1
/// times smaller.
fn text(bytes: usize, random: &mut Random) -> Vec<u8> {
    const WORDS: u64 = 2000;
    const LETTERS: &[u8] = b"etaoinsrhldcumfpgwybvkxjqz";
    const BETWEEN: [&str; 8] = [" ", " ", "_", ".", ", ", "(", ") ", " = "];
    const AGAIN_BYTES_MAX: u64 = 64;
    const REMEMBERED_BYTES: usize = 4000;
    const LINE_BYTES: usize = 60;
    let letters = LETTERS.len() as u64;
    let words: Vec<Vec<u8>> = (0..WORDS)
        .map(|_| {
            let length = 2 + random.below(9);
            (0..length).map(|_| LETTERS[random.early(letters, 2) as usize]).collect()
        })
        .collect();
    let mut text: Vec<u8> = Vec::with_capacity(bytes + LINE_BYTES);
    let mut line = 0;
    while text.len() < bytes {
        for _ in 0..1 + random.below(4) {
            // Some words are much more frequent than others.
            let word = random.early(WORDS, 3);
            text.extend_from_slice(&words[word as usize]);
            text.extend_from_slice(BETWEEN[random.below(BETWEEN.len() as u64) as usize].as_bytes());
        }
        let again = 1 + random.below(AGAIN_BYTES_MAX) as usize;
        let remembered = text.len().min(REMEMBERED_BYTES);
        let from = text.len() - remembered + random.below(remembered as u64) as usize;
        text.extend_from_within(from..(from + again).min(text.len()));
        if text.len() - line > LINE_BYTES {
            text.push(b'\n');
            line = text.len();
        }
    }
    text.truncate(bytes);
    text
}

/// Numbers that look random and are the same each time (splitmix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..bound`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// One of `0..bound`, early ones more often: the first of so many.
    fn early(&mut self, bound: u64, of: usize) -> u64 {
        (0..of).map(|_| self.below(bound)).min().unwrap_or_default()
    }
}

fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = [&output.stdout[..], &output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said).trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_image_is_half_text_and_no_extent_lies_on_another() {
        for blocks in [4, 97, 32_768] {
            let extents = scattered(blocks, &mut Random(3));
            let of =
                |text| extents.iter().filter(|extent| extent.text == text).map(|extent| extent.blocks).sum();
            let (text, random): (u64, u64) = (of(true), of(false));
            assert_eq!((text, random), (blocks / 2, blocks / 2));
            assert!(extents.windows(2).all(|two| two[0].block + two[0].blocks <= two[1].block));
            assert!(extents.iter().all(|extent| extent.block + extent.blocks <= blocks * ROOM));
        }
    }

    #[test]
    fn a_full_image_has_no_hole() {
        for blocks in [4, 97, 32_768] {
            let extents = in_turn(blocks);
            assert_eq!(extents.iter().map(|extent| extent.blocks).sum::<u64>(), blocks);
            assert!(extents.windows(2).all(|two| two[0].block + two[0].blocks == two[1].block));
            assert!(extents.windows(2).all(|two| two[0].text != two[1].text));
        }
    }

    #[test]
    fn text_is_the_same_each_time_and_is_text() {
        let made = || text(100_000, &mut Random(1));
        assert_eq!(made(), made());
        assert!(made().iter().all(|byte| byte.is_ascii_graphic() || b" \n".contains(byte)));
    }

    #[test]
    fn a_change_is_one_block_in_a_hundred_and_undone_by_the_same_change() -> Result<()> {
        let directory = tempfile::tempdir()?;
        for kind in [Kind::Sparse, Kind::Qcow2, Kind::Full] {
            let mut image = Image::make(kind, 16 << 20, directory.path())?;
            let path = directory.path().join(kind.file());
            let before = fs::read(&path)?;
            let changed = image.change(&path)?;
            let after = fs::read(&path)?;
            let differ = before.chunks(BLOCK_BYTES as usize).zip(after.chunks(BLOCK_BYTES as usize));
            assert_eq!(differ.filter(|(one, other)| one != other).count() as u64 * BLOCK_BYTES, changed);
            assert_eq!(changed, 3 * BLOCK_BYTES, "256 blocks of content, and {kind:?}");
            assert_eq!(allocated(&path)?, image.allocated_bytes);
            fs::remove_file(path)?;
        }
        Ok(())
    }
}
