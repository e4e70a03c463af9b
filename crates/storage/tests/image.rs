//! Images copied and snapshots kept, with the real qemu-img, which these tests need and fail without.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use storage::{
    ImageError, ImageFormat, LockError, ReadLock, SnapshotVerb, check_unused, copy, create, image, snapshot,
};

const MIB: u64 = 1 << 20;

fn qemu_io(path: &Path, format: &str, command: &str) {
    let output = Command::new("qemu-io").args(["-f", format, "-c", command]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !said.contains("verification failed"), "{command}: {said}");
}

async fn make(directory: &Path, name: &str, format: ImageFormat) -> PathBuf {
    let path = directory.join(name);
    create(&path, 64 * MIB, format).await.unwrap();
    qemu_io(&path, format.as_str(), "write -P 1 8M 1M");
    path
}

#[tokio::test]
async fn a_copy_has_the_content_and_the_holes() {
    let directory = tempfile::tempdir().unwrap();
    for format in [ImageFormat::Qcow2, ImageFormat::Raw] {
        let from = make(directory.path(), &format!("a, b.{format}"), format).await;
        let to = directory.path().join(format!("copy.{format}"));
        copy(&from, &to, format).await.unwrap();
        qemu_io(&to, format.as_str(), "read -P 1 8M 1M");
        let copied = image(&to, format).await.unwrap();
        assert_eq!((copied.virtual_size, copied.format), (64 * MIB, format));
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 4 * MIB, "{format}: the holes are filled");
        assert!(matches!(copy(&from, &to, format).await, Err(ImageError::Exists { .. })));
    }
    let broken = directory.path().join("broken.qcow2");
    fs::write(&broken, "no image").unwrap();
    let to = directory.path().join("never.qcow2");
    assert!(matches!(copy(&broken, &to, ImageFormat::Qcow2).await, Err(ImageError::Refused { .. })));
    assert!(!to.exists(), "what failed is left behind");
}

#[tokio::test]
async fn a_snapshot_brings_the_content_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = make(directory.path(), "a, b.qcow2", ImageFormat::Qcow2).await;
    snapshot(&path, SnapshotVerb::Create, "clean").await.unwrap();
    let known = image(&path, ImageFormat::Qcow2).await.unwrap().snapshots;
    assert_eq!(known.iter().map(|known| known.name.as_str()).collect::<Vec<_>>(), ["clean"]);
    assert!(known[0].date_sec > 1_700_000_000 && known[0].vm_state_size == 0, "{known:?}");
    qemu_io(&path, "qcow2", "write -P 2 8M 1M");
    snapshot(&path, SnapshotVerb::Revert, "clean").await.unwrap();
    qemu_io(&path, "qcow2", "read -P 1 8M 1M");
    snapshot(&path, SnapshotVerb::Delete, "clean").await.unwrap();
    assert!(image(&path, ImageFormat::Qcow2).await.unwrap().snapshots.is_empty());
    let missing = snapshot(&path, SnapshotVerb::Revert, "clean").await.unwrap_err();
    assert!(missing.to_string().contains("cannot revert"), "{missing}");
}

#[tokio::test]
async fn an_image_that_a_qemu_writes_to_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = make(directory.path(), "a.qcow2", ImageFormat::Qcow2).await;
    check_unused(&path, ImageFormat::Qcow2).await.unwrap();
    let mut holder = Command::new("qemu-io")
        .args(["-f", "qcow2"])
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Its prompt comes when the image is open.
    let mut prompt = [0; 1];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut prompt).unwrap();
    let error = check_unused(&path, ImageFormat::Qcow2).await.unwrap_err();
    assert!(error.to_string().contains("Failed to get"), "{error}");
    assert!(snapshot(&path, SnapshotVerb::Create, "x").await.is_err());
    let to = directory.path().join("copy.qcow2");
    assert!(copy(&path, &to, ImageFormat::Qcow2).await.is_err() && !to.exists());
    drop(holder.stdin.take());
    holder.wait().unwrap();
    check_unused(&path, ImageFormat::Qcow2).await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_read_is_not_written_by_a_qemu_and_read_by_others() {
    let directory = tempfile::tempdir().unwrap();
    for format in [ImageFormat::Qcow2, ImageFormat::Raw] {
        let path = make(directory.path(), &format!("read.{format}"), format).await;
        let (one, other) = (ReadLock::take(&path).await.unwrap(), ReadLock::take(&path).await.unwrap());
        let write = ["-f", format.as_str(), "-c", "write -P 2 8M 1M"];
        let refused = Command::new("qemu-io").args(write).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("lock"), "{refused:?}");
        check_unused(&path, format).await.unwrap();
        copy(&path, &directory.path().join(format!("copy.{format}")), format).await.unwrap();
        drop((one, other));
        qemu_io(&path, format.as_str(), "read -P 1 8M 1M");
        qemu_io(&path, format.as_str(), "write -P 2 8M 1M");
    }
}

#[tokio::test]
async fn an_image_that_a_qemu_writes_to_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = make(directory.path(), "written.qcow2", ImageFormat::Qcow2).await;
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2"]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = command.spawn().unwrap();
    // Its prompt comes when the image is open.
    writer.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let refused = ReadLock::take(&path).await.unwrap_err();
    assert!(matches!(refused, LockError::InUse { .. }), "{refused}");
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
    ReadLock::take(&path).await.unwrap();
}
