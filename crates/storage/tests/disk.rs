//! Disks and images on a real filesystem, with the real qemu-img, which these tests need and fail without.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use storage::{DiskError, DiskKind, ImageError, ImageFormat, create_qcow2, image, open_check};

#[tokio::test]
async fn a_file_is_a_disk_by_any_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.raw");
    fs::write(&path, vec![0; 4096]).unwrap();
    let disk = open_check(&path, true).await.unwrap();
    assert_eq!((disk.kind, disk.size), (DiskKind::File, 4096));

    std::os::unix::fs::symlink(&path, directory.path().join("symbolic")).unwrap();
    fs::hard_link(&path, directory.path().join("hard")).unwrap();
    fs::copy(&path, directory.path().join("copy")).unwrap();
    for (name, same) in [("symbolic", true), ("hard", true), ("copy", false)] {
        let other = open_check(&directory.path().join(name), false).await.unwrap();
        assert_eq!(other.identity == disk.identity, same, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_disk_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, 0o600.into(), 0).unwrap();
    for (path, expect) in [
        (path("."), "a directory"),
        (path("socket"), "a socket"),
        (path("fifo"), "a FIFO"),
        ("/dev/null".into(), "a character device"),
    ] {
        match open_check(&path, true).await.unwrap_err() {
            DiskError::NotADisk { what, .. } => assert_eq!(what, expect),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        open_check(Path::new("/no/such/disk"), true).await.unwrap_err().to_string(),
        "disk \"/no/such/disk\" does not exist on this host: create it, or mount the storage that holds it at \
         the same path"
    );
    let relative = open_check(Path::new("nbd:host:1"), false).await.unwrap_err();
    assert!(matches!(relative, DiskError::NotAbsolute { .. }), "{relative:?}");
}

#[tokio::test]
async fn a_program_that_runs_is_not_writable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sleep");
    fs::copy("/bin/sleep", &path).unwrap();
    let mut running = Command::new(&path).arg("1000").spawn().unwrap();
    open_check(&path, false).await.unwrap();
    let error = open_check(&path, true).await.unwrap_err();
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(matches!(error, DiskError::NotWritable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_image_is_created_once_and_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("-web 1,x=y.qcow2");
    create_qcow2(&path, 10 << 20).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let made = image(&path, ImageFormat::Qcow2).await.unwrap();
    assert_eq!((made.virtual_size, made.format), (10 << 20, ImageFormat::Qcow2));
    assert!(made.actual_size.unwrap() < 1 << 20);
    assert_eq!((made.backing, made.data_file, made.dirty, made.corrupt), (None, None, false, false));

    let error = create_qcow2(&path, 1 << 20).await.unwrap_err();
    assert!(matches!(error, ImageError::Exists { .. }), "{error:?}");
    assert_eq!(image(&path, ImageFormat::Qcow2).await.unwrap().virtual_size, 10 << 20);

    let raw = image(&path, ImageFormat::Raw).await.unwrap();
    let sectors = fs::metadata(&path).unwrap().len().div_ceil(512);
    assert_eq!(raw.virtual_size, sectors * 512, "raw: the file is the disk");
}

#[tokio::test]
async fn a_backing_file_is_told_and_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("overlay.qcow2");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/no/such/base"])
        .arg(&path)
        .arg("1M")
        .status()
        .unwrap();
    assert!(made.success());
    let overlay = image(&path, ImageFormat::Qcow2).await.unwrap();
    assert_eq!(overlay.backing.as_deref(), Some(Path::new("/no/such/base")));
}

#[tokio::test]
async fn a_wrong_format_and_a_bad_size_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.raw");
    fs::write(&path, vec![0; 4096]).unwrap();
    let error = image(&path, ImageFormat::Qcow2).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "qemu-img cannot read {path:?} as qcow2 (exit status: 1): Could not open '{}': Image is not in qcow2 \
             format",
            path.display()
        )
    );

    let too_large = directory.path().join("b.qcow2");
    let error = create_qcow2(&too_large, u64::MAX).await.unwrap_err();
    assert!(matches!(error, ImageError::Refused { step: "create", .. }), "{error:?}");
    assert!(!too_large.exists(), "a failed image is left behind");

    let nowhere = create_qcow2(Path::new("/no/such/directory/a.qcow2"), 1 << 20).await.unwrap_err();
    assert!(matches!(nowhere, ImageError::Disk(DiskError::Io { step: "create", .. })), "{nowhere:?}");
}

/// A writer's lock does not keep the header from being read.
#[tokio::test]
async fn an_image_in_use_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.qcow2");
    create_qcow2(&path, 1 << 20).await.unwrap();
    let mut writer = Command::new("qemu-io")
        .args(["-f", "qcow2"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-utils is installed");
    // Its prompt comes when it has the image, and the lock.
    let mut prompt = [0; 1];
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut prompt).unwrap();
    let locked = Command::new("qemu-img").args(["info", "-f", "qcow2"]).arg(&path).output().unwrap();
    let read = image(&path, ImageFormat::Qcow2).await;
    drop(writer.stdin.take());
    writer.wait().unwrap();
    assert!(!locked.status.success(), "the image was not locked");
    assert_eq!(read.unwrap().virtual_size, 1 << 20);
}
