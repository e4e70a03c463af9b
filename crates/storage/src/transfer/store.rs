//! The bytes of a copy on the target: written, punched, fsynced, read back. It keeps no account of them. Main type:
//! [`Store`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;

use super::block::{Blocks, hash};
use super::buffer::Aligned;
use super::error::TransferError;
use super::original::data;
use super::run::Mark;
use crate::limits::PIECE_BYTES;

/// An open copy.
#[derive(Debug)]
pub(super) struct Store {
    file: File,
    /// The same, past the page cache; none where that is refused.
    direct: Option<File>,
    path: PathBuf,
    blocks: Blocks,
}

impl Store {
    /// `place` is where the file lies now, `path` what it is called in messages.
    pub(super) fn new(file: File, place: &Path, path: &Path, blocks: Blocks) -> Result<Store, TransferError> {
        let direct = File::options().read(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(place);
        let direct = match direct {
            Ok(direct) => Some(direct),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => None,
            Err(error) => return Err(TransferError::io("open", path)(error)),
        };
        Ok(Store { file, direct, path: path.to_owned(), blocks })
    }

    pub(super) fn blocks(&self) -> Blocks {
        self.blocks
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&self, range: &Range<usize>, content: &[u8]) -> Result<(), TransferError> {
        let offset = self.blocks.offset(range.start);
        let written = self.file.write_all_at(content, offset);
        written.map_err(|error| TransferError::at("write", &self.path, offset, error))
    }

    /// Makes holes of these blocks, or zeros where there are no holes.
    pub(super) fn punch(&self, range: &Range<usize>) -> Result<(), TransferError> {
        let (offset, bytes) = (self.blocks.offset(range.start), self.blocks.bytes(range));
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.write_zeros(range),
            Err(errno) => Err(TransferError::at("punch a hole in", &self.path, offset, errno.into())),
        }
    }

    fn write_zeros(&self, range: &Range<usize>) -> Result<(), TransferError> {
        let zeros = vec![0; self.blocks.size()];
        for block in range.clone() {
            let block = block..block + 1;
            let bytes = usize::try_from(self.blocks.bytes(&block)).expect("a block is at most 16 MiB");
            self.write(&block, &zeros[..bytes])?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), TransferError> {
        self.file.sync_data().map_err(|error| TransferError::at("fsync", &self.path, 0, error))
    }

    /// A buffer for [`Store::look`].
    pub(super) fn buffer(&self) -> Aligned {
        Aligned::new(PIECE_BYTES.max(self.blocks.size()))
    }

    /// What these blocks are on the disk, whatever the page cache has of them.
    pub(super) fn look(
        &self,
        range: &Range<usize>,
        buffer: &mut Aligned,
        mut each: impl FnMut(Mark),
    ) -> Result<(), TransferError> {
        let mut at = range.start;
        while at < range.end {
            let piece = at..range.end.min(at + self.blocks.per_piece());
            let offset = self.blocks.offset(piece.start);
            let bytes = usize::try_from(self.blocks.bytes(&piece)).expect("a piece is at most 16 MiB");
            let read = self.read(buffer.bytes(), bytes, offset);
            read.map_err(|error| TransferError::at("read back", &self.path, offset, error))?;
            let content = buffer.bytes()[..bytes].chunks(self.blocks.size());
            for (block, content) in piece.clone().zip(content) {
                each(Mark { block, hash: hash(content), received: false });
            }
            at = piece.end;
        }
        Ok(())
    }

    fn read(&self, buffer: &mut [u8], bytes: usize, offset: u64) -> io::Result<()> {
        match self.direct.as_ref().map(|direct| read_direct(direct, buffer, bytes, offset)) {
            Some(Err(error)) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {}
            Some(done) => return done,
            None => {}
        }
        let length = std::num::NonZeroU64::new(bytes as u64);
        rustix::fs::fadvise(&self.file, offset, length, Advice::DontNeed)?;
        self.file.read_exact_at(&mut buffer[..bytes], offset)
    }

    /// Which blocks may have content: those that are not in a hole.
    pub(super) fn with_data(&self) -> Result<Vec<bool>, TransferError> {
        let mut with_data = vec![false; self.blocks.count()];
        let found = data(&self.file, self.blocks.length, |extent| {
            with_data[self.blocks.touching(extent)].fill(true);
        });
        found.map(|()| with_data).map_err(TransferError::io("look at", &self.path))
    }
}

/// Fills `bytes` bytes at least; the buffer, its length and the offset are aligned.
fn read_direct(file: &File, buffer: &mut [u8], bytes: usize, offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
