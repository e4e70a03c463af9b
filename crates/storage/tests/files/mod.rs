//! Files with known content, loop devices and a mount namespace for the tests of copies.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The smallest block of a copy, in bytes.
pub(crate) const BLOCK: u64 = 64 << 10;

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; length];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}

/// Writes `bytes` bytes of noise at `offset`.
pub(crate) fn fill(file: &File, offset: u64, bytes: u64, seed: u64) {
    let content = noise(usize::try_from(bytes).unwrap(), seed + offset);
    file.write_all_at(&content, offset).unwrap();
}

/// A file of this length with noise at these places (offset, bytes).
pub(crate) fn sparse(path: &Path, length: u64, data: &[(u64, u64)]) {
    let file = File::create_new(path).unwrap();
    file.set_len(length).unwrap();
    for (offset, bytes) in data {
        fill(&file, *offset, *bytes, 1);
    }
    file.sync_all().unwrap();
}

/// Bytes that a file takes.
pub(crate) fn allocated(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

/// Runs qemu-img, which must succeed.
pub(crate) fn qemu_img(arguments: &[&str]) -> String {
    run("qemu-img", arguments)
}

/// Runs commands of qemu-io on a qcow2 image.
pub(crate) fn qemu_io(path: &Path, commands: &[&str]) {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    let arguments: Vec<&str> = ["-f", "qcow2"].into_iter().chain(commands).collect();
    run("qemu-io", &[&arguments[..], &[path.to_str().unwrap()]].concat());
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A loop device on a file, until it is dropped.
pub(crate) struct Loop(PathBuf);

impl Loop {
    pub(crate) fn new(file: &Path) -> Loop {
        let device = run("losetup", &["--find", "--show", file.to_str().unwrap()]);
        Loop(PathBuf::from(device.trim()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach", self.0.to_str().unwrap()]);
    }
}

/// Runs a test where what it mounts is seen by nobody else.
pub(crate) fn in_mount_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        #[expect(unsafe_code, reason = "rustix has no other call for it that is not deprecated")]
        // SAFETY: only the mount namespace is unshared, not the table of file descriptors.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
            .expect("this test needs the right to make mount namespaces: run it as root");
        let private =
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
