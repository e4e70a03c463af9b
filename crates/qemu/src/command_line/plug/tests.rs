//! A real QEMU whose devices come and go.

use std::path::Path;
use std::time::Duration;

use ::domain::{Definition, DiskSource};
use serde_json::json;

use super::*;
use crate::command::{DeviceDel, QueryBlock, QueryNamedBlockNodes, SystemReset};
use crate::command_line::CommandLine;
use crate::command_line::tests::{EMULATOR, disks_in, frozen, launch};
use crate::process::Process;

/// A domain with one disk, and the same with two and an interface.
fn definitions(directory: &Path) -> (Definition, Definition) {
    let disk = |name: &str| {
        let path = directory.join(name);
        std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        format!(
            "<disk type='file' device='disk'><source file='{}'/><target dev='{name}' bus='virtio'/>\
             <serial>12</serial><shareable/></disk>",
            path.display()
        )
    };
    let interface =
        "<interface type='bridge'><source bridge='br0'/><model type='virtio'/><mtu size='1400'/></interface>";
    let plugged = format!("{}{interface}", disk("vdb"));
    let xml = format!(
        "<domain type='qemu'><name>plug</name><memory unit='MiB'>64</memory><os><type machine='pc'>hvm</type></os><features><acpi/></features>\
         <devices>{}{plugged}</devices></domain>",
        disk("vda")
    );
    let full = frozen(&xml);
    let cut = |xml: &str, from: &str, to: &str| {
        let begin = xml.rfind(from).unwrap();
        let end = begin + xml[begin..].find(to).unwrap() + to.len();
        format!("{}{}", &xml[..begin], &xml[end..])
    };
    let small = cut(full.xml(), "<disk", "</disk>");
    let small = cut(&small, "<interface", "</interface>");
    (Definition::parse(&small).unwrap(), full)
}

async fn node_names(qmp: &Qmp) -> Vec<String> {
    let nodes = qmp.execute(QueryNamedBlockNodes { flat: true }).await.unwrap();
    let mut names: Vec<_> = nodes.into_iter().filter_map(|node| node.node_name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_plugged_is_there_and_goes_again() {
    let directory = tempfile::tempdir().unwrap();
    let (small, full) = definitions(directory.path());
    let run_directory = directory.path().join("run");
    let line = CommandLine::new(&launch(&small, &[], &run_directory)).unwrap();
    let log = directory.path().join("log");
    let process = Process::spawn(Path::new(EMULATOR), &line, &run_directory, &log).await.unwrap();
    let qmp = &process.qmp;

    run(qmp, &disk(full.domain(), 1).unwrap()).await.unwrap();
    let both = ["disk-vda", "disk-vda-file", "disk-vdb", "disk-vdb-file"];
    assert_eq!(node_names(qmp).await, both);
    let serial = json!({"path": "/machine/peripheral/disk-vdb", "property": "serial"});
    assert_eq!(qmp.execute_value("qom-get", serial).await.unwrap(), "12");

    // A second time it is refused, and nothing of what the first made is taken away.
    assert!(run(qmp, &disk(full.domain(), 1).unwrap()).await.is_err());
    assert_eq!(node_names(qmp).await, both);

    // Firmware gives no device up, so a reset has to.
    let unplug = unplug_disk(full.domain(), 1);
    let (gone, reset) = tokio::join!(let_go(qmp, &unplug), qmp.execute(SystemReset));
    gone.unwrap();
    reset.unwrap();
    assert_eq!(node_names(qmp).await, ["disk-vda", "disk-vda-file"]);

    process.kill();
    process.exited().await;
}

/// Asks the guest for a device, waits until it is gone, and frees the host's side.
async fn let_go(qmp: &Qmp, unplug: &Unplug) -> Result<(), QmpError> {
    let mut events = qmp.events();
    qmp.execute(DeviceDel { id: unplug.device.clone() }).await?;
    let gone = json!({ "device": unplug.device, "path": format!("/machine/peripheral/{}", unplug.device) });
    let deleted = async { while events.recv().await.unwrap().data != gone {} };
    tokio::time::timeout(Duration::from_secs(30), deleted).await.expect("the device goes");
    unplug.free(qmp).await;
    Ok(())
}

async fn tray(qmp: &Qmp, device: &str) -> (Option<bool>, Option<String>) {
    let drives = qmp.execute(QueryBlock).await.unwrap();
    let drive =
        drives.into_iter().find(|it| it.qdev.as_ref().is_some_and(|path| path.ends_with(device))).unwrap();
    (drive.tray_open, drive.inserted.and_then(|medium| medium.node_name))
}

#[tokio::test]
async fn a_scsi_disk_with_limits_comes_and_goes_and_a_medium_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let frozen = frozen(&disks_in(directory.path()));
    let run_directory = directory.path().join("run");
    let line = CommandLine::new(&launch(&frozen, &[], &run_directory)).unwrap();
    let log = directory.path().join("log");
    let process = Process::spawn(Path::new(EMULATOR), &line, &run_directory, &log).await.unwrap();
    let qmp = &process.qmp;
    let before = node_names(qmp).await;

    // The last of the two that share their limits takes them along; a SCSI disk needs no guest to go.
    let domain = frozen.domain();
    let shared = frozen.detach_disk("sdb").unwrap();
    let_go(qmp, &unplug_disk(domain, 1)).await.unwrap();
    let_go(qmp, &unplug_disk(shared.domain(), 1)).await.unwrap();
    assert!(
        node_names(qmp)
            .await
            .iter()
            .all(|name| !name.starts_with("disk-sdb") && !name.starts_with("disk-sdi"))
    );
    run(qmp, &disk(shared.domain(), 1).unwrap()).await.unwrap();
    run(qmp, &disk(domain, 1).unwrap()).await.unwrap();
    assert_eq!(node_names(qmp).await, before);

    let medium = DiskSource::File(directory.path().join("install.iso"));
    let (empty, full) = (&domain.disks[4], &domain.disks[5]);
    assert_eq!(tray(qmp, "disk-sdc").await, (Some(false), None));
    let filled = frozen.change_media("sdg", None).unwrap().change_media("sdc", Some(&medium)).unwrap();
    run(qmp, &eject(full, false)).await.unwrap();
    run(qmp, &insert(&filled.domain().disks[5])).await.unwrap();
    assert_eq!(tray(qmp, "disk-sdg").await, (Some(false), None));
    run(qmp, &eject(empty, false)).await.unwrap();
    assert_eq!(tray(qmp, "disk-sdc").await, (Some(true), None));
    run(qmp, &insert(&filled.domain().disks[4])).await.unwrap();
    assert_eq!(tray(qmp, "disk-sdc").await, (Some(false), Some("disk-sdc".to_owned())));

    process.kill();
    process.exited().await;
}

#[test]
fn an_interface_is_two_steps() {
    let directory = tempfile::tempdir().unwrap();
    let (_, full) = definitions(directory.path());
    let steps = interface(full.domain(), 0, "tap7", true).unwrap();
    insta::assert_debug_snapshot!(steps, @r#"
    [
        AddNetdev(
            NetdevAdd {
                options: {
                    "type": String("tap"),
                    "id": String("netdev-0"),
                    "ifname": String("tap7"),
                    "script": String("no"),
                    "downscript": String("no"),
                    "vhost": Bool(true),
                },
            },
        ),
        AddDevice(
            DeviceAdd {
                properties: {
                    "driver": String("virtio-net-pci"),
                    "netdev": String("netdev-0"),
                    "id": String("interface-0"),
                    "mac": String("52:54:00:00:00:01"),
                    "bus": String("pci.0"),
                    "addr": String("0x2"),
                    "host_mtu": Number(1400),
                    "romfile": String(""),
                },
            },
        ),
    ]
    "#);
    insta::assert_debug_snapshot!(unplug_interface(full.domain(), 0), @r#"
    Unplug {
        device: "interface-0",
        afterwards: [
            DeleteNetdev(
                NetdevDel {
                    id: "netdev-0",
                },
            ),
        ],
    }
    "#);
}
