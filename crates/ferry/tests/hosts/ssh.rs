//! `ferry --host ssh://…` through a real sshd, in a network namespace of its own, with its own configuration, keys and
//! known hosts: that the user's configuration and askpass apply, and what is said where the way is closed.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::agent::Agent;

const SSHD: &str = "/usr/sbin/sshd";

/// An ssh server that lets one key in, and a workstation that knows it as kvm2. Behind port 22 a login finds `ferry` and
/// the agent's socket, behind port 2222 neither.
struct Server {
    directory: tempfile::TempDir,
    sshd: Child,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("reads")
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("writes");
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
}

impl Server {
    fn start(agent: &Agent) -> Server {
        assert!(Path::new(SSHD).exists(), "install openssh-server: `cargo xtask setup` does");
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        for (key, secret) in [("host", ""), ("user", "open sesame"), ("stranger", "")] {
            run("ssh-keygen", &["-q", "-a", "1", "-t", "ed25519", "-N", secret, "-f", &path(key)]);
        }
        std::fs::create_dir(path("bin")).expect("a directory");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ferry"), path("bin/ferry")).expect("a link");
        let configuration = format!(
            "Port 22\nPort 2222\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             PidFile none\nMatch LocalPort 22\n  SetEnv PATH={}:/usr/bin:/bin FERRY_SOCKET={}\n\
             Match LocalPort 2222\n  SetEnv PATH={}\n",
            path("host"),
            path("user.pub"),
            path("bin"),
            agent.path("ferry.sock").display(),
            path("nothing")
        );
        write(Path::new(&path("sshd_config")), &configuration, 0o600);
        // Where root's password is locked, sshd lets nobody in, with a key neither.
        write(Path::new(&path("shadow")), "root:*:1:0:99999:7:::\n", 0o600);
        let script = format!(
            "ip link set lo up && mount -t tmpfs tmpfs /run && mkdir /run/sshd && \
             mount --bind {} /etc/shadow && exec {SSHD} -D -e -f {}",
            path("shadow"),
            path("sshd_config")
        );
        let mut sshd = Command::new("unshare");
        sshd.args(["--mount", "--net", "sh", "-c", &script]).stderr(Stdio::piped());
        let mut sshd = sshd.spawn().expect("unshare runs");
        let mut log = BufReader::new(sshd.stderr.take().expect("piped")).lines().map_while(Result::ok);
        for _port in 0..2 {
            let line = log.next().expect("it listens");
            assert!(line.contains("Server listening"), "{line}");
        }
        // Nobody reads on, and it must not wait for that.
        std::thread::spawn(move || log.for_each(drop));
        let server = Server { directory, sshd };
        server.workstation("user", "host.pub");
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The user's ssh: with this key, and knowing this key of the host's.
    fn workstation(&self, key: &str, host_key: &str) {
        let known = text(&self.path(host_key));
        let known: Vec<_> = known.split(' ').take(2).collect();
        write(&self.path("known_hosts"), &format!("kvm2 {}\n", known.join(" ")), 0o600);
        let configuration = format!(
            "Host kvm2\n  HostName 127.0.0.1\n  HostKeyAlias kvm2\n  User root\n  IdentityFile {}\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n",
            self.path(key).display(),
            self.path("known_hosts").display()
        );
        write(&self.path("ssh_config"), &configuration, 0o600);
        let pid = self.sshd.id();
        let configuration = self.path("ssh_config");
        let ssh = format!(
            "exec nsenter --net=/proc/{pid}/ns/net /usr/bin/ssh -F {} \"$@\"",
            configuration.display()
        );
        write(&self.path("ssh"), &format!("#!/bin/sh\n{ssh}\n"), 0o755);
        write(&self.path("askpass"), "#!/bin/sh\necho open sesame\n", 0o755);
    }

    fn ferry(&self, words: &str) -> Output {
        let path = format!("{}:{}", self.directory.path().display(), std::env::var("PATH").expect("is set"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.args(words.split_whitespace()).env("PATH", path).env_remove("SSH_AUTH_SOCK");
        command.env("SSH_ASKPASS", self.path("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
        command.env_remove("FERRY_SOCKET").env_remove("RUST_LOG").output().expect("runs")
    }

    /// What cannot be reached, and the words that say why and what to do.
    #[track_caller]
    fn refused(&self, words: &str, says: &str, mend: &str) {
        let output = self.ferry(&format!("{words} --json list"));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let error: serde_json::Value = serde_json::from_str(&error).unwrap_or_else(|_| panic!("{error}"));
        let word = |key: &str| error["error"][key].as_str().expect("text").to_owned();
        assert_eq!(
            (output.status.code(), word("code").as_str()),
            (Some(3), "agent-unreachable"),
            "{error:#}"
        );
        assert!(word("detail").contains(says), "{error:#}");
        assert!(word("mend").contains(mend), "{error:#}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.sshd.kill());
        drop(self.sshd.wait());
    }
}

#[test]
fn a_workstation_reaches_an_agent_as_the_user_has_configured_ssh() {
    let agent = Agent::bare("kvm2");
    let server = Server::start(&agent);
    // A name and a user of ssh_config, a key whose passphrase askpass knows.
    for url in ["ssh://kvm2", "ssh://root@kvm2:22"] {
        let output = server.ferry(&format!("--host {url} --json version"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("\"host\":\"kvm2\""), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    // Another request over standard streams, whose answer takes the agent some work.
    let output = server.ferry("--host ssh://kvm2 --json host list");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_way_that_is_closed_is_said() {
    let agent = Agent::bare("kvm2");
    let server = Server::start(&agent);
    server.refused("--host ssh://kvm2:2222", "not found", "install Ferry there");
    let nobody = server.path("nobody.sock");
    let words = format!("--host ssh://kvm2 --socket {}", nobody.display());
    server.refused(&words, "cannot connect to the agent", "systemctl start ferry-agent");
    server.refused("--host ssh://kvm2:23", "Connection refused", "that sshd runs there");
    server.workstation("stranger", "host.pub");
    server.refused("--host ssh://kvm2", "Permission denied (publickey)", "ssh-copy-id");
    server.workstation("user", "stranger.pub");
    server.refused("--host ssh://kvm2", "Host key verification failed", "compare");
}
