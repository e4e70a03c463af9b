//! The test guest runs under TCG, finds KVM wanting here, and does not take a wrong result for a right one.

use super::*;

const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";

#[tokio::test]
async fn the_test_guest_is_right_under_tcg() {
    run_guest(Path::new(EMULATOR), Accelerator::Tcg, "max").await.unwrap();
    // Without BMI2 it passes the instruction over.
    run_guest(Path::new(EMULATOR), Accelerator::Tcg, "qemu64").await.unwrap();
}

#[tokio::test]
async fn kvm_works_or_is_refused_with_a_reason() {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let hardware = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    match probe_kvm(Path::new(EMULATOR)).await {
        Ok(()) => {}
        // A machine without the flags may still have a KVM that opens: the guest finds out.
        Err(KvmUnusable::Device(_) | KvmUnusable::GuestStopped { .. }) => assert!(!hardware),
        Err(error) => panic!("{error}: {error:?}"),
    }
}

#[test]
fn the_reason_is_taken_from_the_log() {
    let log =
        "starting at 1\nKVM internal error. Suberror: 1\nextra data[0]: 0x1\nemulation failure\nRAX=0\n";
    assert_eq!(shown(log), "KVM internal error. Suberror: 1, emulation failure");
    assert_eq!(shown("a\nb\n"), "b");
}
