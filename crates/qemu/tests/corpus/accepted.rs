//! The installed QEMU takes the command line of every definition that Ferry takes. Images, sockets and networks of the
//! host are replaced by empty ones; devices, machines and their properties stay as they are.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use qemu::accelerator::Accelerator;
use serde_json::{Value, json};

use crate::document::rows;
use crate::files::{all, arguments, frozen};

const EMULATOR: &str = "qemu-system-x86_64";

/// As many as the processors of a small machine.
const AT_ONCE: usize = 2;

/// Bytes of an empty disk.
const DISK: u64 = 64 << 20;

/// Bytes of an empty flash chip: one block of 4 KiB is the least.
const FLASH: u64 = 256 << 10;

#[test]
fn the_installed_qemu_takes_every_definition() {
    let directory = tempfile::tempdir().expect("there is room");
    let lacking: Vec<[String; 2]> = rows("What a QEMU may lack");
    // Many files of the corpus are one guest.
    let mut lines: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for (number, file) in all().into_iter().enumerate() {
        let Ok(definition) = frozen(&file.xml) else { continue };
        let run = directory.path().join(number.to_string());
        std::fs::create_dir(&run).expect("there is room");
        let line = harmless(&arguments(&definition, Accelerator::Tcg, "max", Path::new("/run/ferry")), &run);
        let key: Vec<String> =
            line.iter().map(|it| it.replace(run.to_str().expect("it is UTF-8"), "")).collect();
        lines.entry(key).or_insert_with(|| format!("{}\0{}", file.file, line.join("\0")));
    }
    let waiting = Mutex::new(lines.into_values().collect::<Vec<_>>());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(next) = { waiting.lock().expect("nobody panics with it").pop() } {
                    let mut words = next.split('\0');
                    let file = words.next().expect("it begins with the file");
                    let mut tpm = tpm(&next);
                    let result = started(words);
                    if let Some(tpm) = &mut tpm {
                        drop(tpm.kill());
                        tpm.wait().expect("it was started");
                    }
                    let Err(said) = result else { continue };
                    if !lacking.iter().any(|[words, _]| said.contains(words)) {
                        wrong.lock().expect("nobody panics with it").push(format!("{file}: {said}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The TPM of a guest that has one; it ends with its QEMU.
fn tpm(arguments: &str) -> Option<std::process::Child> {
    let (before, _) = arguments.split_once("/swtpm.sock")?;
    let (_, run) = before.rsplit_once("path=")?;
    let swtpm = Command::new("swtpm")
        .args(["socket", "--tpm2", "--terminate", "--tpmstate", &format!("dir={run}")])
        .args(["--ctrl", &format!("type=unixio,path={run}/swtpm.sock")])
        .stdout(Stdio::null())
        .spawn()
        .expect("swtpm is installed");
    while !Path::new(run).join("swtpm.sock").exists() {
        std::thread::yield_now();
    }
    Some(swtpm)
}

/// Starts QEMU and has it end at once; what it says where it does not start.
fn started<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut qemu = Command::new(EMULATOR)
        .args(arguments)
        .args(["-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{EMULATOR}: {error}"))?;
    let mut stdin = qemu.stdin.take().expect("it is piped");
    // A QEMU that has already ended says why in its own words.
    drop(stdin.write_all(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}"));
    let output = qemu.wait_with_output().map_err(|error| format!("{EMULATOR}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The same guest on a host that has nothing.
fn harmless(arguments: &[String], run: &Path) -> Vec<String> {
    let run = run.to_str().expect("it is UTF-8");
    let mut line = Vec::new();
    let mut switch = "";
    for argument in arguments {
        line.push(match switch {
            "-blockdev" => block(argument),
            "-netdev" => network(argument),
            "-chardev" | "-vnc" | "-spice" => argument
                .replace("port=4555", "port=0")
                .replace("/run/ferry", run)
                .replace("path=/var/log/libvirt", &format!("path={run}"))
                .replace("path=/run", &format!("path={run}")),
            "-object" => memory(argument, run),
            "-overcommit" => argument.replace("mem-lock=on", "mem-lock=off"),
            _ => argument.clone(),
        });
        switch = if argument.starts_with('-') { argument } else { "" };
    }
    // Empty kernels are no kernels.
    let kernel = |words: &[String]| matches!(words[0].as_str(), "-kernel" | "-initrd" | "-append");
    while let Some(at) = line.windows(2).position(kernel) {
        line.drain(at..at + 2);
    }
    line
}

/// An empty disk in place of a file, and raw blocks in place of a format.
fn block(argument: &str) -> String {
    let mut node: Value = serde_json::from_str(argument).expect("a blockdev is JSON");
    let name = node["node-name"].as_str().unwrap_or_default().to_owned();
    if node.get("file").is_none() {
        let size = if name.contains("pflash") { FLASH } else { DISK };
        let read_only = node["read-only"].as_bool().unwrap_or(false);
        return json!({ "driver": "null-co", "node-name": name, "size": size, "read-zeroes": true, "read-only": read_only })
            .to_string();
    }
    if node["driver"] == "qcow2" {
        node["driver"] = "raw".into();
    }
    node.to_string()
}

fn network(argument: &str) -> String {
    let id = argument.split(',').find(|part| part.starts_with("id=")).expect("a netdev has an id");
    if argument.starts_with("tap,") { format!("hubport,{id},hubid=0") } else { argument.to_owned() }
}

/// Ordinary memory in place of huge pages that are taken at once.
fn memory(argument: &str, run: &str) -> String {
    let Ok(mut object) = serde_json::from_str::<Value>(argument) else { return argument.to_owned() };
    if let Some(members) = object.as_object_mut() {
        members.remove("hugetlb");
        members.remove("hugetlbsize");
        members.remove("prealloc");
        if members.contains_key("mem-path") {
            members.insert("mem-path".to_owned(), run.into());
        }
    }
    object.to_string()
}
