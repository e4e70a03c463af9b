//! What the tests of every configuration share, and the steps themselves.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

pub(super) fn card() -> Link {
    Link {
        name: "eth0".to_owned(),
        index: 2,
        kind: None,
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        mtu_max: None,
        up: true,
        loopback: false,
        ethernet: true,
        wireless: false,
        controller: None,
        vlan: None,
    }
}

/// The steps as a person would take them.
pub(super) fn shown(native: &Native) -> String {
    let step = |step: &Step| match step {
        Step::Write { path, text } => format!("--- {}\n{text}---\n", path.display()),
        Step::Remove { path } => format!("rm {}\n", path.display()),
        Step::Run { words } => {
            let quoted =
                words.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { word.clone() });
            format!("{}\n", quoted.collect::<Vec<_>>().join(" "))
        }
        Step::Unlink { link } => format!("ip link delete {link}\n"),
        Step::Forget { profile } => format!("forget {profile}\n"),
        Step::Release { path, bridge } => format!("take {bridge} out of {}\n", path.display()),
    };
    let all = |steps: &[Step]| steps.iter().map(step).collect::<String>();
    format!("{}=== undone by\n{}", all(&native.make), all(&native.unmake))
}

#[tokio::test]
async fn a_program_that_fails_is_quoted() {
    let run = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        async move { run(&words).await }
    };
    assert_eq!(run("echo eth0").await.unwrap(), "eth0\n");
    let error = run("ls /nonexistent").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot run `ls /nonexistent`");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("No such file or directory"), "{cause}");
    assert!(run("no-such-program x").await.is_err());
}

#[test]
fn a_file_is_written_whole_with_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b.network");
    write(&path, "one").unwrap();
    write(&path, "two").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}

/// It may have the key of a wireless network in it.
#[test]
fn a_file_that_was_there_keeps_its_mode_and_owner_and_is_still_linked_to() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("interfaces.real"), directory.path().join("interfaces"));
    std::fs::write(&file, "one").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&file, Some(1), Some(2)).expect("this test changes an owner: run it as root");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    write(&link, "two").unwrap();
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!((after.mode() & 0o777, after.uid(), after.gid()), (0o600, 1, 2));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
}
