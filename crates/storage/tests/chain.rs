//! Real images that stand on each other.

use std::path::{Path, PathBuf};
use std::process::Command;

use storage::{Below, ImageError, ImageFormat, below};

fn qemu_img(directory: &Path, arguments: &[&str]) {
    let status = Command::new("qemu-img").current_dir(directory).args(arguments).status();
    assert!(status.expect("qemu-img is installed").success(), "{arguments:?}");
}

/// `top` on `middle` on `base`, which is raw; `top` names it relative.
fn chain(directory: &Path) {
    qemu_img(directory, &["create", "-q", "-f", "raw", "base", "1M"]);
    qemu_img(directory, &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", "middle"]);
    qemu_img(directory, &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "middle", "top"]);
}

#[tokio::test]
async fn a_chain_is_followed_as_far_as_it_is_allowed() {
    let directory = tempfile::tempdir().expect("there is room");
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    chain(directory.path());
    let all = below(&at("top"), ImageFormat::Qcow2, |_| true).await.expect("it can be read");
    assert_eq!((all.backing, all.data_files), (vec![at("middle"), at("base")], Vec::new()));
    let named: Vec<_> = all.headers.iter().map(|header| header.backing.clone()).collect();
    assert_eq!(named, [Some("middle".into()), Some("base".into())]);
    let one = below(&at("top"), ImageFormat::Qcow2, |_| false).await.expect("it can be read");
    assert_eq!(one.backing, [at("middle")]);
    let raw = below(&at("top"), ImageFormat::Raw, |_| true).await.expect("there is nothing to read");
    assert_eq!(raw, Below::default());
}

#[tokio::test]
async fn an_image_without_its_base_is_named() {
    let directory = tempfile::tempdir().expect("there is room");
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    for missing in ["base", "middle"] {
        chain(directory.path());
        std::fs::remove_file(at(missing)).expect("it is there");
        let broken = below(&at("top"), ImageFormat::Qcow2, |_| true).await;
        let above = if missing == "base" { "middle" } else { "top" };
        let named = |path: &PathBuf, below: &PathBuf| (path, below) == (&at(above), &at(missing));
        assert!(
            matches!(&broken, Err(ImageError::Below { path, below, .. }) if named(path, below)),
            "{broken:?}"
        );
    }
}

#[tokio::test]
async fn an_image_outside_is_named_and_a_circle_ends() {
    let directory = tempfile::tempdir().expect("there is room");
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    chain(directory.path());
    qemu_img(directory.path(), &["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", "middle"]);
    let inside = |path: &Path| path.starts_with(directory.path());
    let found = below(&at("top"), ImageFormat::Qcow2, inside).await.expect("it can be read");
    assert_eq!(found.backing, [at("middle"), "/etc/shadow".into()]);

    qemu_img(directory.path(), &["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "top", "middle"]);
    let circle = below(&at("top"), ImageFormat::Qcow2, |_| true).await;
    assert!(matches!(circle, Err(ImageError::Chain { .. })), "{circle:?}");

    let data = ["create", "-q", "-f", "qcow2", "-o", "data_file=blocks", "outside", "1M"];
    qemu_img(directory.path(), &data);
    let found = below(&at("outside"), ImageFormat::Qcow2, |_| true).await.expect("it can be read");
    assert_eq!(found.data_files, [at("blocks")]);
}
