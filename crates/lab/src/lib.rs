//! A whole installation on one machine, for tests and demonstrations: two KVM hosts and a measuring client, each in a
//! network namespace of its own, storage that both hosts see, real agents, real QEMUs, a guest that watches itself.
//!
//! Main type: [`Lab`]. It needs root; it changes nothing outside its own namespaces and its own directory, and is
//! taken down when it is dropped, on Ctrl-C and on a panic. It starts, breaks, measures and counts; only [`trial`]
//! judges, by what must hold for every guest after everything.

pub mod apart;
pub mod beats;
pub mod client;
pub mod device;
pub mod guest;
pub mod holder;
pub mod host;
pub mod kvm_host;
pub mod libvirt;
pub mod limits;
pub mod matrix;
pub mod migration;
pub mod namespace;
pub mod network;
pub mod nfs;
pub mod preflight;
pub mod previous;
pub mod qemu;
pub mod runs;
pub mod shown;
pub mod talk;
pub mod teardown;
mod trace;
pub mod trial;

use std::io::{Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use ::guest::echo::{EchoSocket, Heard};
use anyhow::{Context, Result, ensure};

use crate::guest::{Guest, GuestOptions, Images};
use crate::host::{Host, Neighbour};
use crate::limits::{LOOK, REACHED, SILENCE};
use crate::namespace::Namespace;
use crate::network::{CLIENT, HOST_LINKS, Place, Unheard};
use crate::nfs::{Export, NfsServer};
use crate::runs::Run;
use crate::teardown::Guard;
use crate::trace::Traces;

/// The hosts, with the last part of their addresses.
const HOSTS: [(&str, u8); 2] = [("kvm1", 1), ("kvm2", 2)];
/// How much of a log goes into an error.
const TAIL_BYTES: u64 = 4096;

/// How a lab is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabOptions {
    /// Spanning tree on the hosts' bridges: a port that joins one forwards only after 4 s.
    pub stp: bool,
    /// The program `ferry`.
    pub ferry: PathBuf,
    /// What guests boot from.
    pub images: Images,
    /// QEMUs write down when they run a guest, and each agent's state has a small file system of its own.
    pub watched: bool,
    /// A host `nfs` exports the storage that all hosts see.
    pub nfs: bool,
    /// Hosts have no certificates and know nobody, until they join.
    pub bare: bool,
}

impl LabOptions {
    /// A lab with the program and the images of this workspace, without STP.
    ///
    /// # Errors
    /// When one of them is not built yet.
    pub fn find() -> Result<LabOptions> {
        let ferry = match env::var_os("FERRY_BIN") {
            Some(path) => path.into(),
            None => target().join("debug/ferry"),
        };
        ensure!(ferry.exists(), "{} is not there: run cargo build -p ferry", ferry.display());
        let images = Images::find()?;
        Ok(LabOptions { stp: false, ferry, images, watched: false, nfs: false, bare: false })
    }
}

/// Two hosts with running agents, a client, and what connects them.
#[derive(Debug)]
pub struct Lab {
    /// Names everything that belongs to this lab.
    pub id: String,
    /// The measuring client's place; it is on both networks.
    pub client: Namespace,
    /// The storage that all hosts see at this path.
    pub shared: PathBuf,
    hosts: [Host; 2],
    nfs: Option<NfsServer>,
    switch: Namespace,
    images: Images,
    traces: Option<Traces>,
    guard: Guard,
}

impl Lab {
    /// Makes everything and starts both agents.
    ///
    /// # Errors
    /// Without root, or when a step fails; nothing is left behind then.
    pub fn new(options: LabOptions) -> Result<Lab> {
        let bare = options.bare;
        let lab = Lab::without_agents(options)?;
        match bare {
            true => lab.hosts.iter().try_for_each(|host| host.prepare(None, &lab.shared, &[]))?,
            false => lab.issue_certificates()?,
        }
        thread::scope(|scope| {
            let starts = lab.hosts.each_ref().map(|host| scope.spawn(|| host.start_agent()));
            starts.into_iter().try_for_each(|start| start.join().expect("starting an agent does not panic"))
        })?;
        Ok(lab)
    }

    /// Makes the networks and directories only.
    ///
    /// # Errors
    /// Without root, or when a step fails; nothing is left behind then.
    pub fn without_agents(options: LabOptions) -> Result<Lab> {
        ensure!(is_root(), "the lab makes network namespaces and taps, and only root may do that");
        let id = new_id()?;
        let guard = Guard::new(&id);
        let directory = teardown::directory(&id);
        let shared = directory.join("shared");
        fs::create_dir_all(&shared)?;
        let (traces, emulator) = match options.watched {
            true => Traces::begin(&directory).map(|(traces, emulator)| (Some(traces), Some(emulator)))?,
            false => (None, None),
        };
        let namespace = |part: &str| Namespace::named(teardown::namespace_name(&id, part));
        let hosts = HOSTS.map(|(name, part)| {
            let (directory, ferry) = (directory.join(name), options.ferry.clone());
            Host::new(name, namespace(name), part, directory, ferry, emulator.clone())
        });
        if options.watched {
            hosts.iter().try_for_each(Host::mount_state)?;
        }
        let nfs = options.nfs.then(|| NfsServer::new(namespace("nfs"), directory.join("nfs")));
        let lab = Lab {
            client: namespace("client"),
            switch: namespace("switch"),
            hosts,
            shared,
            nfs,
            images: options.images,
            traces,
            guard,
            id,
        };
        let mut places: Vec<Place<'_>> = lab
            .hosts
            .iter()
            .zip(HOSTS)
            .map(|(host, (name, part))| Place { name, namespace: &host.namespace, part, bridge: true })
            .collect();
        places.push(Place { name: "client", namespace: &lab.client, part: CLIENT, bridge: false });
        if let Some(nfs) = &lab.nfs {
            places.push(Place { name: "nfs", namespace: &nfs.namespace, part: nfs::PART, bridge: false });
        }
        network::build(&lab.switch, &places, options.stp).context("the lab's networks")?;
        if let Some(nfs) = &lab.nfs {
            nfs.start(&[Export::share(&lab.shared)])?;
        }
        Ok(lab)
    }

    /// The host `kvm1`.
    pub fn kvm1(&self) -> &Host {
        &self.hosts[0]
    }

    /// The host `kvm2`.
    pub fn kvm2(&self) -> &Host {
        &self.hosts[1]
    }

    /// Both.
    pub fn hosts(&self) -> &[Host; 2] {
        &self.hosts
    }

    /// The NFS server.
    ///
    /// # Errors
    /// When the lab was made without one.
    pub fn nfs(&self) -> Result<&NfsServer> {
        self.nfs.as_ref().context("this lab has no NFS server")
    }

    /// The lab's directory.
    pub fn directory(&self) -> PathBuf {
        teardown::directory(&self.id)
    }

    /// A token of `kvm1`, by which a bare host joins it.
    ///
    /// # Errors
    /// When it makes none.
    pub fn token(&self) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Made {
            token: String,
        }
        let kvm1 = self.kvm1();
        let Made { token } = kvm1.ferry_json(&["host", "token", "--listen", &kvm1.listen()])?;
        Ok(token)
    }

    /// Has bare hosts know each other: `kvm2` joins `kvm1`.
    ///
    /// # Errors
    /// When one refuses.
    pub fn join(&self) -> Result<()> {
        self.kvm2().ferry_output(["host", "join", "--token", &self.token()?])?;
        Ok(())
    }

    /// Makes a guest's disk and definition on the shared storage; no host knows of it yet.
    ///
    /// # Errors
    /// When the disk cannot be made.
    pub fn guest(&self, options: GuestOptions) -> Result<Guest> {
        let server = if options.over_nfs { Some(self.nfs()?.address) } else { None };
        Guest::create(options, &self.images, &self.shared, server, self.client.clone())
    }

    /// Whether the client's packets for a guest go to `host`: the client has the guest's MAC address for its address, and the
    /// switch between them has learned it behind the host's cable.
    ///
    /// # Errors
    /// When `ip` or `bridge` fails.
    pub fn client_finds(&self, guest: &Guest, host: &Host) -> Result<bool> {
        let resolved = network::resolved(&self.client, guest.address())?;
        let behind = network::learned_behind(&self.switch, &guest.mac())?;
        Ok(resolved == Some(guest.mac()) && behind == Some(format!("{}-guest", host.name)))
    }

    /// Silences the management network of a host: nothing goes in or out, and nobody is told. Proved before it
    /// returns. The guest network is not touched.
    ///
    /// # Errors
    /// When something still gets through.
    pub fn cut(&self, host: &Host) -> Result<()> {
        network::cut(&self.switch, host.name)?;
        for (from, to) in self.pairs(host) {
            ensure!(
                !reaches(from, to, SILENCE)?,
                "the cut does not hold: {} still reaches {to}",
                from.name()
            );
        }
        Ok(())
    }

    /// Undoes [`Lab::cut`]; proved before it returns.
    ///
    /// # Errors
    /// When the host is still not reached.
    pub fn heal(&self, host: &Host) -> Result<()> {
        network::heal(&self.switch, host.name)?;
        for (from, to) in self.pairs(host) {
            ensure!(reaches(from, to, REACHED)?, "{} does not reach {to} again", from.name());
        }
        Ok(())
    }

    /// Bounds what a host sends into the management network. QEMU lifts its own bound when it stops the guest, so
    /// this is how a blackout is made long enough to break something in it.
    ///
    /// # Errors
    /// When `tc` refuses.
    pub fn shape(&self, host: &Host, bytes_per_s: u64) -> Result<()> {
        network::shape(&host.namespace, bytes_per_s)
    }

    /// Undoes [`Lab::shape`].
    ///
    /// # Errors
    /// When `tc` refuses, as for a host that was not shaped.
    pub fn unshape(&self, host: &Host) -> Result<()> {
        network::unshape(&host.namespace)
    }

    /// Slows down what both hosts send into the management network, and bounds nothing else.
    ///
    /// # Errors
    /// When `tc` refuses.
    pub fn shape_both(&self, bytes_per_s: u64) -> Result<()> {
        self.hosts.iter().try_for_each(|host| self.shape(host, bytes_per_s))
    }

    /// Has a host not hear the other one any more, which still hears it.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn deafen(&self, host: &Host, unheard: Unheard) -> Result<()> {
        network::deafen(&host.namespace, self.other(host).address, host::PORT, unheard)
    }

    /// Undoes [`Lab::deafen`]; a host that hears already stays as it is.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn hear(&self, host: &Host) -> Result<()> {
        network::hear(&host.namespace)
    }

    /// Every time in which a QEMU ran a guest, in a lab that is watched.
    ///
    /// # Errors
    /// When the lab is not watched, or a trace cannot be read.
    pub fn runs(&self) -> Result<Vec<Run>> {
        self.traces.as_ref().context("this lab's QEMUs write nothing down")?.runs()
    }

    /// The other host.
    pub fn other(&self, host: &Host) -> &Host {
        if host.name == self.hosts[0].name { &self.hosts[1] } else { &self.hosts[0] }
    }

    /// What agents and QEMUs have in this lab that the lab itself did not make: processes other than running agents,
    /// links, files and sockets in run directories, and files on the storage other than those named in `known`.
    /// After the last guest is gone, each line is a leak.
    ///
    /// # Errors
    /// When a namespace cannot be looked into.
    pub fn residue(&self, known: &[&Path]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for host in &self.hosts {
            let links = host.namespace.links()?;
            let foreign = links.iter().filter(|link| !HOST_LINKS.contains(&link.as_str()));
            found.extend(foreign.map(|link| format!("link {link} on {}", host.name)));
            let own: Vec<String> = std::iter::once(host.run())
                .chain(host.agent_files())
                .map(|path| format!("file {}", path.display()))
                .collect();
            found.extend(teardown::files_below(&host.run()).into_iter().filter(|line| !own.contains(line)));
        }
        let agents: Vec<u32> = self.hosts.iter().filter_map(Host::agent_pid).collect();
        let processes = teardown::processes(&self.id).into_iter();
        let serves = |pid: u32| self.nfs.as_ref().is_some_and(|nfs| nfs.namespace.holds(pid));
        let foreign = processes.filter(|(pid, _)| !agents.contains(pid) && !serves(*pid));
        found.extend(foreign.map(|(pid, line)| format!("process {pid}: {line}")));
        for entry in fs::read_dir(&self.shared)? {
            let path = entry?.path();
            if path != self.shared.join("boot") && !known.contains(&path.as_path()) {
                found.push(format!("file {}", path.display()));
            }
        }
        Ok(found)
    }

    /// Takes everything down and tells what is left; an empty list is a clean end.
    pub fn end(self) -> Vec<String> {
        let id = self.id.clone();
        drop(self);
        teardown::leaks(&id)
    }

    /// Leaves everything running when this process ends; [`teardown::teardown`] takes it down later, by its id.
    pub fn keep(self) {
        self.guard.disarm();
    }

    /// Copies the logs of agents, QEMUs and guests to where they outlive the lab; returns where.
    pub fn save_logs(&self) -> PathBuf {
        let to = target().join("lab-logs").join(&self.id);
        for host in &self.hosts {
            // Something has gone wrong already: what cannot be saved is lost.
            let _ = copy_files(&host.log(), &to.join(host.name));
            let _ = copy_files(&host.state().join("migrations"), &to.join(host.name).join("migrations"));
        }
        let _ = copy_files(&self.directory().join("nfs"), &to.join("nfs"));
        let _ = copy_files(&self.directory().join("traces"), &to.join("traces"));
        let _ = copy_files(&self.shared, &to.join("shared"));
        to
    }

    fn issue_certificates(&self) -> Result<()> {
        let authority = self.directory().join("ca");
        let made = Command::new(self.hosts[0].ferry_program())
            .args(["ca", "init"])
            .arg(&authority)
            .output()
            .context("ferry ca init")?;
        ensure!(made.status.success(), "ferry ca init: {}", String::from_utf8_lossy(&made.stderr).trim());
        for host in &self.hosts {
            let others = self.hosts.iter().filter(|other| other.name != host.name);
            let neighbours: Vec<Neighbour> =
                others.map(|other| Neighbour { name: other.name, address: other.address }).collect();
            host.prepare(Some(&authority), &self.shared, &neighbours)?;
        }
        Ok(())
    }

    /// Who could reach whom through the management cable of a host.
    fn pairs(&self, host: &Host) -> Vec<(&Namespace, Ipv4Addr)> {
        let own =
            self.hosts.iter().find(|own| own.name == host.name).map_or(&self.client, |own| &own.namespace);
        let others = self.hosts.iter().filter(|other| other.name != host.name).map(|other| other.address);
        let mut pairs: Vec<_> =
            others.chain([network::management(CLIENT)]).map(|address| (own, address)).collect();
        pairs.push((&self.client, host.address));
        pairs
    }
}

impl Drop for Lab {
    /// The guard takes the lab down; here only what a person wants to read after a failed test is saved.
    fn drop(&mut self) {
        if thread::panicking() {
            let to = self.save_logs();
            say(&format!("lab {}: logs are in {}", self.id, to.display()));
        }
    }
}

/// Whether this process may make labs.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The workspace's target directory.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(path) => path.into(),
        None => {
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).join("target")
        }
    }
}

/// The end of a log, for an error's text.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("({}: {error})", path.display()))
}

#[expect(clippy::print_stderr, reason = "the person who runs the tests reads it there")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Five letters and digits that no lab on this machine uses.
fn new_id() -> Result<String> {
    let random =
        fs::read_to_string("/proc/sys/kernel/random/uuid").context("/proc/sys/kernel/random/uuid")?;
    Ok(random.chars().take(5).collect())
}

/// Whether an answer to a ping comes within a time.
fn reaches(from: &Namespace, to: Ipv4Addr, within: Duration) -> Result<bool> {
    const ECHO_ID: u16 = 0x7265;
    from.enter(|| -> Result<bool> {
        let socket = EchoSocket::open(ECHO_ID)?;
        let end = Instant::now() + within;
        let mut number = 0;
        while Instant::now() < end {
            // What cannot even be sent does not reach.
            let _ = socket.send(to, number);
            number += 1;
            let next = Instant::now() + LOOK;
            while Instant::now() < next {
                if let Some(Heard::Answer(_)) = socket.receive(LOOK)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    })?
}

/// Copies the small files of a directory; images stay where they are.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    const SMALL_BYTES: u64 = 4 << 20;
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.len() <= SMALL_BYTES {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
