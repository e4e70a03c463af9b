//! Volumes in a directory, with the real qemu-img, which these tests need and fail without.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use storage::{
    Download, ImageError, ImageFormat, Upload, check_unused, create, image, resize, volume, volumes,
};

const MIB: u64 = 1 << 20;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn volumes_are_the_files_that_are_images() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    create(&path("b.qcow2"), 64 * MIB, ImageFormat::Qcow2).await.unwrap();
    create(&path("a.img"), MIB, ImageFormat::Raw).await.unwrap();
    assert_eq!(names(directory.path()), ["a.img", "b.qcow2"], "nothing else was made");
    fs::write(path("b.qcow2.ferry"), "a record").unwrap();
    fs::write(path(".hidden"), "").unwrap();
    fs::create_dir(path("directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path("link")).unwrap();
    let found = volumes(directory.path()).await.unwrap();
    let found: Vec<_> = found.iter().map(|it| (it.name.as_str(), it.format, it.capacity)).collect();
    assert_eq!(found, [("a.img", ImageFormat::Raw, MIB), ("b.qcow2", ImageFormat::Qcow2, 64 * MIB)]);
    assert_eq!(volume(&path("link")).await.unwrap(), None);
    assert_eq!(volume(&path("nothing")).await.unwrap(), None);
    let exists = create(&path("a.img"), MIB, ImageFormat::Raw).await.unwrap_err();
    assert!(matches!(exists, ImageError::Exists { .. }), "{exists}");
    let endless = create(&path("c.qcow2"), u64::MAX, ImageFormat::Qcow2).await.unwrap_err();
    assert!(matches!(endless, ImageError::Refused { .. }), "{endless}");
    assert_eq!(names(directory.path()).len(), 6, "what failed is gone");
}

#[tokio::test]
async fn a_volume_grows_and_shrinks_only_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    for format in [ImageFormat::Qcow2, ImageFormat::Raw] {
        let path = directory.path().join(format.as_str());
        create(&path, 2 * MIB, format).await.unwrap();
        resize(&path, 4 * MIB, format, false).await.unwrap();
        assert_eq!(image(&path, format).await.unwrap().virtual_size, 4 * MIB);
        assert!(matches!(resize(&path, MIB, format, false).await, Err(ImageError::Refused { .. })));
        resize(&path, MIB, format, true).await.unwrap();
        assert_eq!(image(&path, format).await.unwrap().virtual_size, MIB);
    }
}

#[tokio::test]
async fn bytes_go_in_and_come_out_with_their_holes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web1.img");
    let mut bytes = vec![0; 3 * MIB as usize + 5];
    bytes[MIB as usize..][..4].copy_from_slice(b"here");
    let mut upload = Upload::begin(&path).await.unwrap();
    for part in bytes.chunks(700_000) {
        assert!(!path.exists(), "it appears when it is complete");
        upload.append(part.to_vec()).await.unwrap();
    }
    upload.finish().await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < MIB, "the holes are filled");
    assert!(matches!(Upload::begin(&path).await, Err(ImageError::Exists { .. })));
    check_unused(&path, ImageFormat::Raw).await.unwrap();

    let mut download = Download::open(&path).await.unwrap();
    assert_eq!(download.left(), bytes.len() as u64);
    let mut read = Vec::new();
    while let Some(part) = download.next().await.unwrap() {
        read.extend(part);
    }
    assert_eq!(read, bytes);
}

#[tokio::test]
async fn half_an_upload_is_no_volume() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("half.img");
    let mut upload = Upload::begin(&path).await.unwrap();
    upload.append(vec![1; 4096]).await.unwrap();
    assert_eq!(volumes(directory.path()).await.unwrap(), []);
    // Two that are under way at once: the first that is complete has the name.
    let mut other = Upload::begin(&path).await.unwrap();
    other.append(vec![2; 4096]).await.unwrap();
    other.finish().await.unwrap();
    assert!(matches!(upload.finish().await, Err(ImageError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), [2; 4096]);
    assert_eq!(names(directory.path()), ["half.img"]);
}
