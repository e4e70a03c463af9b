//! Nonces as one host writes and another reads them: here both are this machine, and what is read is made wrong.

use std::path::Path;

use storage::{NonceRead, RecordError, lock_nonce, nonce_path, read_nonce, remove_nonce, write_nonce};
use uuid::Uuid;

const CHECK: Uuid = Uuid::from_u128(7);

async fn check(change: impl FnOnce(&Path), expect: NonceRead) {
    let directory = tempfile::tempdir().unwrap();
    let path = nonce_path(&directory.path().join("web1.qcow2"), CHECK);
    write_nonce(&path, CHECK).await.unwrap();
    change(&path);
    assert_eq!(read_nonce(&path, CHECK).await.unwrap(), expect);
}

#[tokio::test]
async fn what_was_written_is_told_from_what_was_not() {
    check(|_| {}, NonceRead::Same).await;
    check(|path| std::fs::remove_file(path).unwrap(), NonceRead::Missing).await;
    check(|path| std::fs::remove_dir_all(path.parent().unwrap()).unwrap(), NonceRead::Missing).await;
    check(|path| std::fs::write(path, "another").unwrap(), NonceRead::Other).await;
    let zeros = |path: &Path| {
        let length = std::fs::metadata(path).unwrap().len();
        std::fs::write(path, vec![0; usize::try_from(length).unwrap()]).unwrap();
    };
    check(zeros, NonceRead::Zeros).await;
    let directory = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    check(directory, NonceRead::Other).await;
}

#[tokio::test]
async fn a_nonce_is_locked_for_a_moment_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = nonce_path(&directory.path().join("web1.qcow2"), CHECK);
    assert!(matches!(lock_nonce(&path).await, Err(RecordError::Io { step: "lock", .. })));
    write_nonce(&path, CHECK).await.unwrap();
    lock_nonce(&path).await.unwrap();
    lock_nonce(&path).await.unwrap();
    remove_nonce(&path).await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_filesystem_of_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let here = storage::filesystem(directory.path()).await.unwrap();
    assert!(here.kind != 0 && here.id != 0 && here.free_bytes > 0, "{here:?}");
    let proc = storage::filesystem(Path::new("/proc")).await.unwrap();
    assert_eq!(proc.kind, 0x9fa0, "PROC_SUPER_MAGIC");
    let missing = storage::filesystem(&directory.path().join("none")).await;
    assert!(matches!(missing, Err(storage::DiskError::Missing { .. })), "{missing:?}");
}
