//! Bridges, by the program itself and a real agent in a network namespace of their own, whose uplink leads to another one.
//! Needs root and `ip`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much later than it should a loaded machine may do something.
const SLACK: Duration = Duration::from_secs(5);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs `test` on a thread in a fresh network namespace, with an uplink `up0` that leads to another namespace.
fn on_a_host(test: impl FnOnce(Host) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        #[expect(unsafe_code, reason = "rustix has no other call for it that is not deprecated")]
        // SAFETY: only the network namespace is unshared, not the table of file descriptors.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
            .expect("this test needs the right to make network namespaces: run it as root");
        test(Host::new());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[track_caller]
fn done(command: &mut Command) -> String {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn ip(words: &str) -> String {
    done(Command::new("ip").args(words.split_whitespace()))
}

/// An agent in this thread's network namespace, and what lies behind its uplink.
struct Host {
    directory: tempfile::TempDir,
    /// Lives in the other namespace, which goes with it.
    far: Running,
    agent: Running,
}

impl Host {
    fn new() -> Host {
        let directory = tempfile::tempdir().expect("a directory");
        let mut far = Command::new("unshare");
        far.args(["-n", "sh", "-c", "echo; exec sleep 1000"]).stdout(Stdio::piped());
        let mut far = Running(far.spawn().expect("spawns"));
        far.0.stdout.take().expect("piped").read_exact(&mut [0]).expect("it is in its namespace");
        // An address of IPv6 is what it will be from the beginning.
        std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").expect("the kernel has IPv6");
        ip("link set lo up");
        ip("link add up0 address 02:00:00:00:00:01 type veth peer name far0");
        ip(&format!("link set far0 netns {}", far.0.id()));
        ip("addr add 192.0.2.1/24 broadcast + dev up0");
        ip("link set up0 up");
        ip("route add default via 192.0.2.254 dev up0 metric 100");
        let agent = start(directory.path());
        let host = Host { directory, far, agent };
        host.far_away("ip addr add 192.0.2.7/24 dev far0");
        host.far_away("ip link set far0 up");
        wait_until(|| ip("link show dev up0").contains("state UP"));
        host
    }

    fn inside_far(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.far.0.id().to_string(), "-n", program]);
        command
    }

    #[track_caller]
    fn far_away(&self, words: &str) -> String {
        let (program, words) = words.split_once(' ').expect("a program and its words");
        done(self.inside_far(program).args(words.split_whitespace()))
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("ferry.sock")
    }

    fn ferry(&self, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.arg("--socket").arg(self.socket()).args(words.split_whitespace());
        command.env_remove("RUST_LOG").stdin(Stdio::null()).output().expect("runs")
    }

    #[track_caller]
    fn json(&self, words: &str) -> Value {
        let output = self.ferry(&format!("--json {words}"));
        assert_eq!(output.status.code(), Some(0), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The command is refused, with this code, and nothing has changed.
    #[track_caller]
    fn refuses(&self, words: &str, code: &str, says: &str) {
        let before = everything();
        let output = self.ferry(&format!("--json {words}"));
        let said: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(
            (output.status.code(), &said["error"]["code"]),
            (Some(4), &code.into()),
            "{words}: {said}"
        );
        let message = format!("{} → {}", said["error"]["detail"], said["error"]["mend"]);
        assert!(message.contains(says), "{message}");
        assert_eq!(everything(), before, "{words}");
        assert!(!self.directory.path().join("state/bridges").join("br0.json").exists(), "{words}");
    }

    /// Kills the agent as nothing can be prepared for.
    fn kill_agent(&mut self) {
        self.agent.0.kill().expect("kills");
        self.agent.0.wait().expect("ends");
    }
}

/// All links, addresses and routes.
fn everything() -> Vec<String> {
    let all = [ip("-o -d link"), ip("-o addr"), ip("-4 route show table all"), ip("-6 route show table all")];
    let mut lines: Vec<String> = all.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// An agent that says it is ready.
fn start(directory: &Path) -> Running {
    let below = |name: &str| directory.join(name).display().to_string();
    let config = format!(
        "host = \"kvm1\"\nstate_dir = {:?}\nrun_dir = {:?}\nlog_dir = {:?}\nsocket = {:?}\n",
        below("state"),
        below("run"),
        below("log"),
        below("ferry.sock")
    );
    std::fs::write(below("agent.toml"), config).expect("writes");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.args(["agent", "--config", &below("agent.toml")]).env_remove("RUST_LOG").stderr(Stdio::piped());
    let mut agent = Running(command.spawn().expect("spawns"));
    let mut log = BufReader::new(agent.0.stderr.take().expect("piped")).lines();
    let mut said = Vec::new();
    while said.last().is_none_or(|line: &String| !line.contains("ready")) {
        said.push(log.next().unwrap_or_else(|| panic!("it ended: {said:#?}")).expect("reads"));
    }
    // Nobody reads on: it must not wait for that.
    std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
    agent
}

/// What the kernel tells of addresses in this namespace, with the time at which it came.
struct Monitor {
    lines: Receiver<(Instant, String)>,
    _ip: Running,
}

impl Monitor {
    fn start() -> Monitor {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "ip", "-o", "monitor", "address"]).stdout(Stdio::piped());
        let mut ip_monitor = Running(command.spawn().expect("spawns"));
        let told = BufReader::new(ip_monitor.0.stdout.take().expect("piped")).lines();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in told.map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let monitor = Monitor { lines, _ip: ip_monitor };
        // It listens when it tells of something.
        while monitor.lines.try_recv().is_err() {
            ip("addr add 127.0.0.9/8 dev lo");
            ip("addr del 127.0.0.9/8 dev lo");
        }
        monitor
    }

    /// When `link` gets the host's address.
    #[track_caller]
    fn address_on(&self, link: &str) -> Instant {
        loop {
            let (at, line) = self.lines.recv_timeout(PATIENCE).expect("the kernel tells of it");
            if line.contains(&format!("{link} "))
                && line.contains("192.0.2.1/24")
                && !line.contains("Deleted")
            {
                return at;
            }
        }
    }
}

/// The other side of ssh: an address on the uplink that leads to the agent's socket. The agent's answer that a bridge is
/// made waits for a word of the test.
struct Sshd {
    /// A directory with a program named `ssh` for the far side.
    path: PathBuf,
    release: std::sync::mpsc::Sender<()>,
}

impl Sshd {
    fn start(host: &Host, held: bool) -> Sshd {
        let listener = TcpListener::bind("192.0.2.1:0").expect("listens");
        let port = listener.local_addr().expect("bound").port();
        let path = host.directory.path().join("bin");
        std::fs::create_dir(&path).expect("makes");
        let script = format!("#!/bin/sh\nexec busybox nc 192.0.2.1 {port}\n");
        std::fs::write(path.join("ssh"), script).expect("writes");
        std::fs::set_permissions(path.join("ssh"), std::fs::Permissions::from_mode(0o755)).expect("sets");
        let (release, word) = channel();
        let word = Arc::new(Mutex::new(word));
        let socket = host.socket();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let agent = UnixStream::connect(&socket).expect("the agent listens");
                relay(stream, agent, held.then(|| Arc::clone(&word)));
            }
        });
        Sshd { path, release }
    }

    fn ferry(&self, host: &Host, words: &str) -> Child {
        let mut command = host.inside_far(env!("CARGO_BIN_EXE_ferry"));
        command.args(["--json", "--host", "ssh://root@kvm1"]).args(words.split_whitespace());
        let path = format!("{}:{}", self.path.display(), std::env::var("PATH").expect("is set"));
        command.env("PATH", path).env_remove("FERRY_SOCKET").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawns")
    }
}

fn relay(mut stream: TcpStream, mut agent: UnixStream, word: Option<Arc<Mutex<Receiver<()>>>>) {
    let (mut asked, mut to_agent) = (stream.try_clone().expect("clones"), agent.try_clone().expect("clones"));
    std::thread::spawn(move || {
        // Either end may go at any time.
        drop(std::io::copy(&mut asked, &mut to_agent));
        drop(to_agent.shutdown(Shutdown::Both));
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(length @ 1..) = agent.read(&mut buffer) {
            if let Some(word) = word.as_ref().filter(|_| buffer.starts_with(b"HTTP/1.1 201")) {
                // A test that ended without its word lets go of it too.
                let _ = word.lock().expect("lock").recv();
            }
            if stream.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
        drop(stream.shutdown(Shutdown::Both));
    });
}

#[test]
fn asked_over_the_uplink_it_is_confirmed_over_the_uplink() {
    on_a_host(|host| {
        let before = everything();
        let sshd = Sshd::start(&host, false);
        let output = sshd.ferry(&host, "bridge create br0 --uplink up0").wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        let made: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!((output.status.code(), &made["undone_at"]), (Some(0), &Value::Null), "{made} {said}");
        assert_eq!(made["addresses"], serde_json::json!(["192.0.2.1/24"]));
        assert_eq!(made["mac"], "02:00:00:00:00:01");
        assert_eq!(host.json("bridge list"), serde_json::json!([made]));
        host.far_away("busybox ping -c 1 -W 5 192.0.2.1");
        assert!(ip("route").contains("default via 192.0.2.254 dev br0 metric 100"), "{}", ip("route"));

        // The same once more is nothing, something else is another bridge.
        assert_eq!(host.json("bridge create br0 --uplink up0"), made);
        let output = host.ferry("bridge create br0 --uplink up0 --mtu 1400");
        assert!(String::from_utf8_lossy(&output.stderr).contains("its MTU is 1500"));
        assert_eq!(output.status.code(), Some(4));
        let output = host.ferry("bridge confirm br0");
        assert_eq!(output.status.code(), Some(4));

        ip("tuntap add tap0 mode tap");
        ip("link set tap0 master br0");
        let output = host.ferry("bridge delete br0");
        assert!(String::from_utf8_lossy(&output.stderr).contains("is used by its port tap0"));
        assert_eq!(output.status.code(), Some(4));
        ip("link del tap0");
        assert_eq!(host.json("bridge delete br0"), serde_json::json!({"deleted": "br0"}));
        assert_eq!(everything(), before);
        host.far_away("busybox ping -c 1 -W 5 192.0.2.1");
        assert_eq!(host.ferry("bridge delete br0").status.code(), Some(4));
    });
}

/// Whoever asked is cut off by what they asked for: the answer comes when the uplink is back.
#[test]
fn an_uplink_whose_far_side_is_cut_is_back_in_time() {
    on_a_host(|host| {
        let before = everything();
        let monitor = Monitor::start();
        let sshd = Sshd::start(&host, true);
        let asked = sshd.ferry(&host, "bridge create br0 --uplink up0 --confirm-within 2s");
        let made = monitor.address_on("br0");
        host.far_away("ip link set far0 down");
        sshd.release.send(()).expect("it waits");
        let back = monitor.address_on("up0");
        let took = back - made;
        assert!(took > Duration::from_secs(1) && took < Duration::from_secs(2) + SLACK, "{took:?}");
        wait_until(|| host.json("bridge list") == serde_json::json!([]));

        host.far_away("ip link set far0 up");
        let output = asked.wait_with_output().expect("ends");
        let said: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(
            (output.status.code(), &said["error"]["code"]),
            (Some(4), &"bridge-not-pending".into()),
            "{said}"
        );
        wait_until(|| !ip("link").contains("NO-CARRIER"));
        assert_eq!(everything(), before);
    });
}

#[track_caller]
fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_agent_s_bridge_is_undone_by_the_next_one_when_its_time_is_over() {
    on_a_host(|mut host| {
        let before = everything();
        let monitor = Monitor::start();
        let made = host.json("bridge create br0 --uplink up0 --confirm-within 4s");
        let at = monitor.address_on("br0");
        host.kill_agent();
        host.agent = start(host.directory.path());
        let found = host.json("bridge list");
        assert_eq!(found[0]["undone_at"], made["undone_at"], "{found}");
        let took = monitor.address_on("up0") - at;
        assert!(took > Duration::from_secs(3) && took < Duration::from_secs(4) + SLACK, "{took:?}");
        wait_until(|| host.json("bridge list") == serde_json::json!([]));
        assert_eq!(everything(), before);
    });
}

#[test]
fn an_agent_that_comes_too_late_undoes_it_at_once() {
    on_a_host(|mut host| {
        let before = everything();
        let made = host.json("bridge create br0 --uplink up0 --confirm-within 1s");
        host.kill_agent();
        let over: jiff::Timestamp = made["undone_at"].as_str().expect("a time").parse().expect("a time");
        wait_until(|| jiff::Timestamp::now() > over);
        assert!(ip("addr show dev br0").contains("192.0.2.1/24"), "nobody was there to undo it");
        host.agent = start(host.directory.path());
        wait_until(|| host.json("bridge list") == serde_json::json!([]));
        assert_eq!(everything(), before);
    });
}

#[test]
fn a_confirmed_bridge_stays_after_its_time_and_with_the_next_agent() {
    on_a_host(|mut host| {
        let made = host.json("bridge create br0 --uplink up0 --confirm-within 1s");
        let kept = host.json("bridge confirm br0");
        let over: jiff::Timestamp = made["undone_at"].as_str().expect("a time").parse().expect("a time");
        wait_until(|| jiff::Timestamp::now() > over);
        host.kill_agent();
        host.agent = start(host.directory.path());
        assert_eq!(host.json("bridge list"), serde_json::json!([kept]));
        assert_eq!(host.json("bridge delete br0"), serde_json::json!({"deleted": "br0"}));
    });
}

#[test]
fn what_cannot_be_is_refused_before_anything_changes() {
    on_a_host(|host| {
        let check =
            |words: &str, code: &str, says: &str| host.refuses(&format!("bridge {words}"), code, says);
        ip("link add br9 type bridge");
        ip("link add port9 type veth peer name a-longer-name");
        ip("link set port9 master br9");
        ip("tuntap add tunnel9 mode tun");
        ip("addr add 2001:db8::1/64 dev up0");
        ip("link add up0.8 type veth peer name plain8");

        for name in ["a-name-of-16-byt", "a/b", "br%d", "br0;reboot", "*"] {
            let output = host.ferry(&format!("bridge create {name} --uplink up0"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("1 to 15 letters"), "{said}");
            assert_eq!(output.status.code(), Some(2), "{name}");
        }
        check("create port9 --uplink up0", "bridge-name-taken", "no bridge but a veth");
        check("create br9 --uplink up0", "bridge-differs", "up0 is not its port");
        check("create br0 --uplink up9", "uplink-not-found", "there are");
        check("create br0 --uplink port9", "uplink-enslaved", "a port of br9 already");
        check("create br0 --uplink br9", "uplink-not-bridgeable", "it is a bridge itself");
        check("create br0 --uplink lo", "uplink-not-bridgeable", "it is the loopback");
        check("create br0 --uplink tunnel9", "uplink-not-bridgeable", "not Ethernet's");
        check("create br0 --uplink up0 --vlan 0", "vlan-range", "1 to 4094");
        check("create br0 --uplink up0 --vlan 4095", "vlan-range", "1 to 4094");
        check("create br0 --uplink up0 --vlan 8", "vlan-name-taken", "taken by a veth");
        check("create br0 --uplink a-longer-name --vlan 4000", "vlan-name", "ip link add link");
        check("create br0 --uplink up0 --mtu 67", "mtu-impossible", "IPv4 needs at least 68");
        check("create br0 --uplink up0 --mtu 1279", "mtu-impossible", "from 1280 to 65535");
        check("create br0 --uplink up0 --mtu 65536", "mtu-impossible", "it takes at most 65535");
        check("confirm br0", "bridge-not-pending", "no change of br0");
        check("delete br0", "bridge-not-found", "no bridge br0 on host kvm1");
        check("delete br9", "bridge-not-ours", "ip link delete br9");

        ip("nexthop add id 5 via 192.0.2.253 dev up0");
        ip("route add 10.9.0.0/16 nhid 5");
        check("create br0 --uplink up0", "nexthop-object", "10.9.0.0/16");
        ip("route del 10.9.0.0/16");

        let listener = TcpListener::bind("192.0.2.1:0").expect("listens");
        let port = listener.local_addr().expect("bound").port();
        let mut far = host.inside_far("busybox");
        far.args(["nc", "192.0.2.1", &port.to_string()]).stdin(Stdio::piped());
        let _far = Running(far.spawn().expect("spawns"));
        let _connection = listener.accept().expect("accepts");
        check(
            "create br0 --uplink up0 --confirm-within 0",
            "uplink-carries-connections",
            "connections of other machines with this one (1; that from 192.0.2.7 is among them)",
        );
        check(
            "create br0 --uplink up0 --confirm-within 0",
            "uplink-carries-connections",
            "--confirm-within, as in 30s",
        );
    });
}

#[test]
fn only_one_change_waits_for_being_confirmed() {
    on_a_host(|host| {
        ip("link add other type veth peer name other9");
        host.json("bridge create br1 --uplink other --confirm-within 60s");
        let output = host.ferry("bridge create br0 --uplink up0");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the bridge br1 has not been confirmed yet"), "{said}");
        assert_eq!((output.status.code(), ip("link").contains(" br0:")), (Some(4), false));
        host.json("bridge confirm br1");
        let made = host.json("bridge create br0 --uplink up0 --mtu 1400 --confirm-within 0");
        assert_eq!((&made["mtu"], &made["undone_at"]), (&1400.into(), &Value::Null), "{made}");
        assert!(ip("link show dev up0").contains("mtu 1400 "), "{}", ip("link show dev up0"));
    });
}

/// A domain that is shut off needs its bridge when it is started.
#[test]
fn a_bridge_that_a_domain_uses_is_not_removed() {
    on_a_host(|host| {
        host.json("bridge create br0 --uplink up0 --confirm-within 60s");
        host.json("bridge confirm br0");
        let file = host.directory.path().join("web1.xml");
        let xml = "<domain type='qemu'><name>web1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
                   <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
                   <interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface></devices></domain>";
        std::fs::write(&file, xml).expect("writes");
        host.json(&format!("define {}", file.display()));
        let output = host.ferry("bridge delete br0");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the bridge br0 is used by domain web1"), "{said}");
        assert_eq!(output.status.code(), Some(4));
    });
}
