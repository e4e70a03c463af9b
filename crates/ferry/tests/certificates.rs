//! `ferry ca`: what it makes is taken by rustls and by QEMU's GnuTLS, and kept from others.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use client::tls;

fn ferry(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferry")).args(arguments).output().expect("runs")
}

#[track_caller]
fn done(arguments: &[&str]) -> String {
    let output = ferry(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

struct Made {
    directory: tempfile::TempDir,
}

impl Made {
    /// A CA, and certificates for kvm1 and kvm2.
    fn new() -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a directory") };
        done(&["ca", "init", &made.path("ca")]);
        made.issue("kvm1", &["10.0.0.1", "fd00::1"]);
        made.issue("kvm2", &["10.0.0.2"]);
        made
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn issue(&self, name: &str, addresses: &[&str]) {
        let (ca, out) = (self.path("ca"), self.path(name));
        let mut arguments = vec!["ca", "issue", name, "--dir", &ca, "--out", &out];
        arguments.extend(addresses.iter().flat_map(|address| ["--address", address]));
        done(&arguments);
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("is there")
    }
}

fn mode(path: &str) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[test]
fn keys_are_their_owners() {
    let made = Made::new();
    for (name, expect) in [
        ("ca", 0o700),
        ("ca/ca-key.pem", 0o600),
        ("ca/ca.pem", 0o644),
        ("kvm1", 0o700),
        ("kvm1/host-key.pem", 0o600),
        ("kvm1/server-key.pem", 0o600),
        ("kvm1/host.pem", 0o644),
    ] {
        assert_eq!(mode(&made.path(name)), expect, "{name}");
    }
    let mut names: Vec<_> = std::fs::read_dir(made.path("kvm1"))
        .expect("is there")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ca-cert.pem",
            "ca.pem",
            "client-cert.pem",
            "client-key.pem",
            "dh-params.pem",
            "host-key.pem",
            "host.pem",
            "server-cert.pem",
            "server-key.pem"
        ]
    );
}

#[test]
fn nothing_is_replaced_unasked() {
    let made = Made::new();
    let (ca, out) = (made.path("ca"), made.path("kvm1"));
    let before = (made.read("ca/ca.pem"), made.read("kvm1/host.pem"));
    let output = ferry(&["ca", "init", &ca]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("never replaced"));
    let issue = ["ca", "issue", "kvm1", "--dir", &ca, "--out", &out];
    assert_eq!(ferry(&issue).status.code(), Some(1));
    assert_eq!((made.read("ca/ca.pem"), made.read("kvm1/host.pem")), before);
    // What the CA has revoked stays: nobody else could say it to this host's QEMUs.
    std::fs::write(made.path("kvm1/ca-crl.pem"), "a list").expect("writes");
    done(&[&issue[..], &["--replace"]].concat());
    assert_ne!(made.read("kvm1/host.pem"), before.1);
    assert_eq!(made.read("kvm1/ca-crl.pem"), b"a list");
    assert_eq!(ferry(&["ca", "issue", "a b", "--dir", &ca, "--out", &out]).status.code(), Some(2));
}

#[test]
fn rustls_takes_them() {
    let made = Made::new();
    let (ca, certificate, key) = ("kvm1/ca.pem", "kvm1/host.pem", "kvm1/host-key.pem");
    let (ca, certificate, key) = (made.read(ca), made.read(certificate), made.read(key));
    let papers = tls::Papers { ca: &ca, revocations: None, certificate: &certificate, key: &key };
    tls::client_config(papers).expect("a client");
    tls::server_config(papers, tls::Strangers::Refused).expect("a server");
}

/// QEMU's answers to commands on its QMP, with these command-line options.
fn qemu(options: &[&str]) -> (bool, String) {
    let mut child = Command::new("qemu-system-x86_64")
        .args(["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("qemu-system-x86_64 is installed");
    let commands = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n";
    // A QEMU that refuses its options may be gone already.
    drop(child.stdin.take().expect("piped").write_all(commands.as_bytes()));
    let output = child.wait_with_output().expect("waits");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn check_qemu(directory: &str, endpoint: &str, accepted: bool) {
    let object = format!("tls-creds-x509,id=t,dir={directory},endpoint={endpoint},verify-peer=on");
    let (success, said) = qemu(&["-object", &object]);
    assert_eq!(success, accepted, "{endpoint}: {said}");
    assert_eq!(said.is_empty(), accepted, "{endpoint}: {said}");
}

#[test]
fn qemu_takes_them() {
    let made = Made::new();
    check_qemu(&made.path("kvm1"), "server", true);
    check_qemu(&made.path("kvm1"), "client", true);
    // It looks: a certificate of another CA is refused.
    let other = Made::new();
    std::fs::copy(other.path("kvm1/host.pem"), made.path("kvm1/host.pem")).expect("copies");
    std::fs::copy(other.path("kvm1/host-key.pem"), made.path("kvm1/host-key.pem")).expect("copies");
    check_qemu(&made.path("kvm1"), "server", false);
}

#[test]
fn two_hosts_shake_hands_and_strangers_do_not() {
    if Path::new("/usr/bin/openssl").exists() {
        let made = Made::new();
        let stranger = Made::new();
        for (ca, verified) in [(&made, true), (&stranger, false)] {
            let output = Command::new("openssl")
                .args(["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "kvm2"])
                .args([
                    "-verify_ip",
                    "10.0.0.2",
                    "-CAfile",
                    &ca.path("ca/ca.pem"),
                    &made.path("kvm2/host.pem"),
                ])
                .output()
                .expect("runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.success(), verified, "{said}");
        }
    }
}

/// An NBD server of QEMU's that takes clients with certificates only.
struct Nbd {
    pid: String,
    socket: String,
}

impl Nbd {
    fn start(made: &Made, identity: &str) -> Nbd {
        let socket = made.path("nbd.sock");
        std::fs::write(made.path("disk"), [0; 512]).expect("writes");
        let (pid, creds) = (made.path("nbd.pid"), credentials(&made.path(identity), "server"));
        let output = Command::new("qemu-nbd")
            .args(["--fork", "-t", "-f", "raw", "-k", &socket, "--pid-file", &pid])
            .args(["--object", &creds, "--tls-creds", "t", &made.path("disk")])
            .output()
            .expect("qemu-nbd is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Nbd { pid: std::fs::read_to_string(pid).expect("it runs").trim().to_owned(), socket }
    }

    /// Whether it takes a client with these certificates.
    fn takes(&self, directory: &str) -> bool {
        let image = format!("driver=nbd,path={},tls-creds=t,tls-hostname=nbd", self.socket);
        let output = Command::new("qemu-img")
            .args(["info", "--object", &credentials(directory, "client"), "--image-opts", &image])
            .output();
        output.expect("qemu-img is installed").status.success()
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(&self.pid).status());
    }
}

fn credentials(directory: &str, endpoint: &str) -> String {
    format!("tls-creds-x509,id=t,dir={directory},endpoint={endpoint},verify-peer=on")
}

#[test]
fn qemu_refuses_what_is_revoked() {
    let made = Made::new();
    made.issue("nbd", &[]);
    let ca = agent::ca::Ca::load(Path::new(&made.path("ca"))).expect("reads").expect("a CA");
    let described = tls::describe(&made.read("kvm2/host.pem")).expect("a certificate");
    for (revoked, taken) in [(vec![], true), (vec![(described.serial, described.from_s)], false)] {
        let list = ca.revoke(&revoked, 1).expect("signs");
        std::fs::write(made.path("nbd").to_owned() + "/" + agent::identity::REVOCATIONS, list)
            .expect("writes");
        let nbd = Nbd::start(&made, "nbd");
        assert!(nbd.takes(&made.path("kvm1")), "kvm1 is not revoked");
        assert_eq!(nbd.takes(&made.path("kvm2")), taken, "{revoked:?}");
    }
}
