//! Owner records on real filesystems: whole, durable, and with a mend for what goes wrong. The tests with a
//! full or read-only filesystem mount one in a mount namespace of their own, so they need root, and fail
//! without.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_remount};
use storage::{
    RECORD_BYTES_MAX, RecordError, create_record, owner_path, read_record, remove_record, write_record,
};

/// Runs `test` with a fresh tmpfs of 64 KiB that only its thread, and threads made by it, see.
fn on_tmpfs<F: Future<Output = ()>>(test: impl FnOnce(tempfile::TempDir) -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        #[expect(unsafe_code, reason = "rustix has no other call for it that is not deprecated")]
        // SAFETY: only the mount namespace is unshared, not the table of file descriptors.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
            .expect("this test needs the right to make mount namespaces: run it as root");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        let directory = tempfile::tempdir().unwrap();
        mount("none", directory.path(), "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
        let path = directory.path().to_owned();
        runtime().block_on(test(directory));
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
        fs::remove_dir(&path).ok();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The names in a directory, for what must not be left behind.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_record_is_written_replaced_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let record = owner_path(&directory.path().join("web1.qcow2"));
    assert_eq!(read_record(&record).await.unwrap(), None);
    write_record(&record, b"first").await.unwrap();
    assert_eq!(read_record(&record).await.unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
    write_record(&record, b"").await.unwrap();
    assert_eq!(read_record(&record).await.unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(names(directory.path()), ["web1.qcow2.ferry"]);
    remove_record(&record).await.unwrap();
    remove_record(&record).await.expect("a record that is absent is removed");
    assert_eq!(read_record(&record).await.unwrap(), None);
    assert!(names(directory.path()).is_empty());
}

#[tokio::test]
async fn only_one_creates() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("web1.ferry");
    let attempts: Vec<_> = (0..8u8)
        .map(|n| {
            let record = record.clone();
            tokio::spawn(async move { create_record(&record, &[n]).await.map(|()| n) })
        })
        .collect();
    let mut winners = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(winner) => winners.push(winner),
            Err(RecordError::Exists { path }) => assert_eq!(path, record),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(read_record(&record).await.unwrap(), Some(winners));
    assert_eq!(names(directory.path()), ["web1.ferry"]);
}

#[tokio::test]
async fn a_reader_sees_whole_records_only() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("web1.ferry");
    let of = |n: u8| vec![n; 32 << 10];
    write_record(&record, &of(0)).await.unwrap();
    let writer = tokio::spawn({
        let record = record.clone();
        async move {
            for n in 1..50 {
                write_record(&record, &of(n)).await.unwrap();
            }
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    while !writer.is_finished() {
        let bytes = read_record(&record).await.unwrap().expect("a replaced record never lacks");
        assert!(bytes.len() == 32 << 10 && bytes.iter().all(|byte| *byte == bytes[0]));
        seen.insert(bytes[0]);
    }
    writer.await.unwrap();
    assert!(seen.len() > 1, "the reader saw no change: {seen:?}");
}

#[tokio::test]
async fn a_missing_directory_is_not_a_missing_record() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("not-mounted");
    let record = gone.join("web1.ferry");
    for error in [
        read_record(&record).await.unwrap_err(),
        write_record(&record, b"x").await.unwrap_err(),
        create_record(&record, b"x").await.unwrap_err(),
        remove_record(&record).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, RecordError::MissingDirectory { directory } if *directory == gone),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_record_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("directory")).unwrap();
    fs::write(path("file"), b"x").unwrap();
    std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
    std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for name in ["directory", "link", "socket"] {
        let error = read_record(&path(name)).await.unwrap_err();
        assert!(matches!(error, RecordError::NotAFile { .. }), "{name}: {error:?}");
    }
    for error in [
        write_record(&path("directory"), b"x").await.unwrap_err(),
        remove_record(&path("directory")).await.unwrap_err(),
    ] {
        assert!(matches!(error, RecordError::NotAFile { .. }), "{error:?}");
    }
    // A link is replaced, and what it points at stays.
    write_record(&path("link"), b"new").await.unwrap();
    assert_eq!(fs::read(path("file")).unwrap(), b"x");

    let limit = usize::try_from(RECORD_BYTES_MAX).unwrap();
    fs::write(path("large"), vec![0; limit + 1]).unwrap();
    for error in [
        read_record(&path("large")).await.unwrap_err(),
        write_record(&path("new"), &vec![0; limit + 1]).await.unwrap_err(),
    ] {
        assert!(matches!(error, RecordError::TooLarge { .. }), "{error:?}");
    }
    write_record(&path("large"), &vec![1; limit]).await.unwrap();
    assert_eq!(read_record(&path("large")).await.unwrap(), Some(vec![1; limit]));
    assert_eq!(names(directory.path()), ["directory", "file", "large", "link", "socket"]);
}

#[test]
fn a_full_filesystem_keeps_the_old_record() {
    on_tmpfs(|directory| async move {
        let record = directory.path().join("web1.ferry");
        write_record(&record, b"old").await.unwrap();
        let filler = fs::write(directory.path().join("filler"), vec![0; 128 << 10]).unwrap_err();
        assert_eq!(filler.kind(), std::io::ErrorKind::StorageFull);
        for error in [
            write_record(&record, b"new").await.unwrap_err(),
            create_record(&directory.path().join("web2.ferry"), b"new").await.unwrap_err(),
        ] {
            assert!(matches!(error, RecordError::NoSpace { .. }), "{error:?}");
        }
        assert_eq!(read_record(&record).await.unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(names(directory.path()), ["filler", "web1.ferry"]);
    });
}

#[test]
fn a_read_only_filesystem_is_named() {
    on_tmpfs(|directory| async move {
        let record = directory.path().join("web1.ferry");
        write_record(&record, b"old").await.unwrap();
        fs::write(directory.path().join("disk"), b"x").unwrap();
        mount_remount(directory.path(), MountFlags::RDONLY, "").unwrap();
        for error in [
            write_record(&record, b"new").await.unwrap_err(),
            create_record(&directory.path().join("web2.ferry"), b"new").await.unwrap_err(),
            remove_record(&record).await.unwrap_err(),
        ] {
            assert!(matches!(error, RecordError::ReadOnly { .. }), "{error:?}");
        }
        assert_eq!(read_record(&record).await.unwrap().as_deref(), Some(&b"old"[..]));

        let disk = directory.path().join("disk");
        storage::open_check(&disk, false).await.unwrap();
        let error = storage::open_check(&disk, true).await.unwrap_err();
        assert!(matches!(error, storage::DiskError::ReadOnly { .. }), "{error:?}");
    });
}
