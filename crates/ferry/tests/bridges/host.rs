//! A host: a real agent in a network namespace of its own, an uplink, and another namespace behind that. Main type: [`Host`].

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that nobody tells of.
const LOOK: Duration = Duration::from_millis(20);

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs `test` on a thread in a fresh network namespace, with an uplink `up0` that leads to another namespace.
pub(crate) fn on_a_host(test: impl FnOnce(Host) + Send + 'static) {
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
pub(crate) fn ip(words: &str) -> String {
    done(Command::new("ip").args(words.split_whitespace()))
}

/// An agent in this thread's network namespace, and what lies behind its uplink.
pub(crate) struct Host {
    pub(crate) directory: tempfile::TempDir,
    /// Lives in the other namespace, which goes with it.
    far: Running,
    agent: Option<Running>,
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
        let mut host = Host { directory, far, agent: None };
        host.start_agent();
        host.far_away("ip addr add 192.0.2.7/24 dev far0");
        host.far_away("ip link set far0 up");
        wait_until(|| ip("link show dev up0").contains("state UP"));
        host
    }

    pub(crate) fn inside_far(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.far.0.id().to_string(), "-n", program]);
        command
    }

    #[track_caller]
    pub(crate) fn far_away(&self, words: &str) -> String {
        let (program, words) = words.split_once(' ').expect("a program and its words");
        done(self.inside_far(program).args(words.split_whitespace()))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("ferry.sock")
    }

    pub(crate) fn ferry(&self, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.arg("--socket").arg(self.socket()).args(words.split_whitespace());
        command.env_remove("RUST_LOG").stdin(Stdio::null()).output().expect("runs")
    }

    #[track_caller]
    pub(crate) fn json(&self, words: &str) -> Value {
        let output = self.ferry(&format!("--json {words}"));
        assert_eq!(output.status.code(), Some(0), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The command is refused, with this code, and nothing has changed.
    #[track_caller]
    pub(crate) fn refuses(&self, words: &str, code: &str, says: &str) {
        let before = everything();
        assert_eq!(self.fails(words, code, says), Some(4), "{words}");
        assert_eq!(everything(), before, "{words}");
        assert!(!self.record().exists(), "{words}");
    }

    /// The command fails with this code, and says this. Returns its exit code.
    #[track_caller]
    pub(crate) fn fails(&self, words: &str, code: &str, says: &str) -> Option<i32> {
        let output = self.ferry(&format!("--json {words}"));
        let said: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(said["error"]["code"], code, "{words}: {said}");
        let message = format!("{} → {}", said["error"]["detail"], said["error"]["mend"]);
        assert!(message.contains(says), "{message}");
        output.status.code()
    }

    /// The next agent says that it is ready.
    pub(crate) fn start_agent(&mut self) {
        let mut agent = self.agent("");
        let mut log = BufReader::new(agent.0.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        while said.last().is_none_or(|line: &String| !line.contains("ready")) {
            said.push(log.next().unwrap_or_else(|| panic!("it ended: {said:#?}")).expect("reads"));
        }
        // Nobody reads on: it must not wait for that.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        self.agent = Some(agent);
    }

    /// An agent with more in its configuration than it needs.
    pub(crate) fn agent(&self, more: &str) -> Running {
        let below = |name: &str| self.directory.path().join(name).display().to_string();
        let config = format!(
            "host = \"kvm1\"\nstate_dir = {:?}\nrun_dir = {:?}\nlog_dir = {:?}\nsocket = {:?}\n{more}",
            below("state"),
            below("run"),
            below("log"),
            below("ferry.sock")
        );
        std::fs::write(below("agent.toml"), config).expect("writes");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.args(["agent", "--config", &below("agent.toml")]).env_remove("RUST_LOG");
        Running(command.stderr(Stdio::piped()).spawn().expect("spawns"))
    }

    /// Kills the agent as nothing can be prepared for.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        agent.0.kill().expect("kills");
        agent.0.wait().expect("ends");
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.directory.path().join("state/bridges/br0.json")
    }

    /// Changes what is remembered of br0, while no agent runs.
    pub(crate) fn rewrite(&self, change: impl FnOnce(&mut Value)) {
        assert!(self.agent.is_none(), "an agent would not read it again");
        let mut record =
            serde_json::from_slice(&std::fs::read(self.record()).expect("it is there")).expect("JSON");
        change(&mut record);
        std::fs::write(self.record(), record.to_string()).expect("writes");
    }
}

/// All links, addresses and routes.
pub(crate) fn everything() -> Vec<String> {
    let all = [ip("-o -d link"), ip("-o addr"), ip("-4 route show table all"), ip("-6 route show table all")];
    let mut lines: Vec<String> = all.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What the kernel tells of addresses in this namespace, with the time at which it came.
pub(crate) struct Monitor {
    lines: Receiver<(Instant, String)>,
    _ip: Running,
}

impl Monitor {
    pub(crate) fn start() -> Monitor {
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
    pub(crate) fn address_on(&self, link: &str) -> Instant {
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
pub(crate) struct Sshd {
    /// A directory with a program named `ssh` for the far side.
    path: PathBuf,
    pub(crate) release: std::sync::mpsc::Sender<()>,
}

impl Sshd {
    pub(crate) fn start(host: &Host, held: bool) -> Sshd {
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

    pub(crate) fn ferry(&self, host: &Host, words: &str) -> Child {
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

#[track_caller]
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::sleep(LOOK);
    }
}
