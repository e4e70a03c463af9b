//! Writes a cpio archive in the "newc" form that Linux unpacks as its initramfs
//! (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst). Main type: [`Archive`].
//!
//! ```text
//! "070701" then 13 fields of 8 hexadecimal digits: ino mode uid gid nlink mtime filesize
//!          devmajor devminor rdevmajor rdevminor namesize check | name, NUL, to 4 bytes | content, to 4 bytes
//! ```
//! Everything belongs to root and has the time 0, so equal inputs give equal bytes.

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows entry by entry; a directory comes before what lies in it.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(crate) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, (0, 0), &[]);
    }

    /// A file that everyone may read and run.
    pub(crate) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, (0, 0), content);
    }

    pub(crate) fn link(&mut self, name: &str, to: &str) {
        self.entry(name, LINK, (0, 0), to.as_bytes());
    }

    pub(crate) fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("no file of the guest has 4 GiB");
        let name_size = name.len() as u32 + 1;
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0]
            .map(|field| format!("{field:08x}"));
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.concat().bytes());
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.program("init", b"12345");
        let text = String::from_utf8(archive.finish()).expect("only ASCII here");
        let (dev, init, trailer) = (text.find("dev\0"), text.find("init\0"), text.find("TRAILER!!!\0"));
        assert_eq!((dev, init, trailer), (Some(110), Some(226), Some(350)));
        assert_eq!(&text[116..122], "070701");
        assert_eq!(&text[116 + 6 + 6 * 8..][..8], "00000005");
        assert!(text[232..].starts_with("12345\x00\x00\x00070701"));
        assert_eq!(text.len() % 4, 0);
    }
}
