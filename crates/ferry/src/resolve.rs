//! What the typed words mean: which agent is asked, what a migration is asked to do. It opens nothing. Main type:
//! [`Agent`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use api::{
    CheckMode, CheckRequest, CopyStorage, DrainRequest, Identity, Maps, MigrationRequest, OnStuck, ResolveAs,
    Settings, SourceDefinition, SourceDisks, Verify,
};
use client::Client;
use jiff::{SignedDuration, Timestamp};

use crate::args::{
    self, Check, Ending, Migrate, Plan, Reach, Set, SourceDisksWord, Storage, StuckWord, VerifyWord, Word,
};

/// Where an agent listens for its own host.
pub(crate) const SOCKET: &str = "/run/ferry/ferry.sock";

/// An agent to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Agent {
    /// This host's.
    Local { socket: PathBuf },
    /// Another host's, through ssh.
    Ssh { ssh_host: String, socket: Option<String> },
}

/// Why the words mean nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// `--host` is no ssh URL.
    #[error("--host {url}: this is not ssh://[USER@]HOST[:PORT]")]
    Host { url: String },
    /// The socket's path there cannot be written in a command.
    #[error("--socket {path:?}: the path is not UTF-8")]
    Socket { path: PathBuf },
    /// `--since` is neither a time nor a span of time.
    #[error("--since {text}: this is no time as in 2026-01-31T12:00:00Z, and no span of time as in 10m")]
    Since { text: String },
}

/// Which agent is asked. `environment` is the value of `FERRY_SOCKET`; it means this host's socket only.
pub(crate) fn agent(reach: &Reach, environment: Option<OsString>) -> Result<Agent, ResolveError> {
    let Some(url) = &reach.host else {
        let named = environment.filter(|path| !path.is_empty()).map(PathBuf::from);
        let socket = reach.socket.clone().or(named).unwrap_or_else(|| PathBuf::from(SOCKET));
        return Ok(Agent::Local { socket });
    };
    let socket = match &reach.socket {
        Some(path) => {
            Some(path.to_str().ok_or_else(|| ResolveError::Socket { path: path.clone() })?.to_owned())
        }
        None => None,
    };
    let wrong = || ResolveError::Host { url: url.clone() };
    let place = url.strip_prefix("ssh://").ok_or_else(wrong)?;
    let place = place.strip_suffix('/').unwrap_or(place);
    let (user, host) = match place.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, place),
    };
    let odd = |text: &str| {
        text.is_empty()
            || text.starts_with('-')
            || text.contains(|c: char| c.is_whitespace() || c.is_control() || "/'\"\\$`;&|<>()".contains(c))
    };
    if odd(host) || user.is_some_and(odd) {
        return Err(wrong());
    }
    Ok(Agent::Ssh { ssh_host: format!("ssh://{place}"), socket })
}

impl Agent {
    /// A client of this agent.
    pub(crate) fn client(&self) -> Client {
        match self {
            Self::Local { socket } => Client::unix(socket),
            Self::Ssh { ssh_host, socket } => Client::ssh_to_socket(ssh_host.clone(), socket.as_deref()),
        }
    }
}

/// When `--since` is, in RFC 3339: a time, or how long before `now`.
pub(crate) fn since(text: &str, now: Timestamp) -> Result<String, ResolveError> {
    let ago = || now.checked_sub(text.parse::<SignedDuration>().ok()?.abs()).ok();
    let since = text.parse::<Timestamp>().ok().or_else(ago);
    since.map(|since| since.to_string()).ok_or_else(|| ResolveError::Since { text: text.to_owned() })
}

/// A migration with these limits of its memory, where they were typed.
fn within(
    to: &str,
    max_blackout: Option<Duration>,
    ending: &Ending,
    bandwidth: Option<u64>,
) -> MigrationRequest {
    let request = MigrationRequest::to(to);
    MigrationRequest {
        blackout_ms_max: max_blackout.map_or(request.blackout_ms_max, blackout_ms),
        blackout_bound_ms: ending.blackout_bound.map_or(request.blackout_bound_ms, blackout_ms),
        throttle_percent_max: ending.max_throttle.unwrap_or(request.throttle_percent_max),
        deadline_s: ending.deadline.map(|deadline| deadline.as_secs()),
        on_stuck: match ending.on_stuck {
            Some(StuckWord::Suspend) => OnStuck::Suspend,
            Some(StuckWord::Keep) => OnStuck::Keep,
            None => request.on_stuck,
        },
        bandwidth_bytes_per_s: bandwidth.unwrap_or(request.bandwidth_bytes_per_s),
        ..request
    }
}

fn blackout_ms(blackout: Duration) -> u64 {
    u64::try_from(blackout.as_millis()).unwrap_or(u64::MAX)
}

/// What is changed about a migration.
pub(crate) fn settings(typed: &Set) -> Settings {
    Settings {
        bandwidth_bytes_per_s: typed.bandwidth,
        blackout_ms_max: typed.max_blackout.map(blackout_ms),
        throttle_percent_max: typed.max_throttle,
    }
}

/// What a migration is asked to do. What was not typed is left to the interface's defaults.
pub(crate) fn migration(typed: &Migrate) -> MigrationRequest {
    let mut request = within(&typed.to, typed.max_blackout, &typed.ending, typed.bandwidth);
    if let Some(channels) = typed.channels {
        request.channels = channels;
    }
    if typed.keep_definition {
        request.source_definition = SourceDefinition::Keep;
    }
    let verify = match typed.verify {
        Some(VerifyWord::Wire) => Verify::Wire,
        Some(VerifyWord::Disk) | None => Verify::Disk,
    };
    let source_disks = match typed.source_disks {
        Some(SourceDisksWord::Delete) => SourceDisks::Delete,
        Some(SourceDisksWord::Keep) | None => SourceDisks::Keep,
    };
    MigrationRequest {
        allow_postcopy: typed.allow_postcopy,
        plaintext: typed.plaintext,
        skip: typed.skip.clone(),
        transient: typed.transient,
        offline: typed.offline,
        copy_storage: copy(&typed.storage).map(|copy| CopyStorage { verify, source_disks, ..copy }),
        maps: maps(&typed.storage),
        identity: identity(&typed.storage),
        ..request
    }
}

fn copy(typed: &Storage) -> Option<CopyStorage> {
    let copy = CopyStorage { flatten: typed.flatten, media: typed.copy_media, ..CopyStorage::default() };
    typed.copy_storage.then_some(copy)
}

fn maps(typed: &Storage) -> Maps {
    let pairs = |typed: &[(String, String)]| typed.iter().cloned().collect();
    Maps { disks: pairs(&typed.map_disk), pools: pairs(&typed.map_pool), bridges: pairs(&typed.map_bridge) }
}

fn identity(typed: &Storage) -> Identity {
    Identity { new_uuid: typed.new_uuid, name: typed.rename.clone(), keep_source: typed.keep_source }
}

/// What emptying a host is asked to do.
pub(crate) fn drain(typed: &args::Drain) -> DrainRequest {
    let mut migration = within("", typed.max_blackout, &typed.ending, typed.bandwidth);
    migration.plaintext = typed.plaintext;
    migration.copy_storage = typed.copy_storage.then(CopyStorage::default);
    DrainRequest {
        host: typed.name.clone(),
        to: typed.to.clone(),
        dry_run: typed.dry_run,
        at_once: typed.at_once,
        migration,
    }
}

/// What is to be checked. What was not typed is left to the domain's state.
pub(crate) fn check(typed: &Check) -> CheckRequest {
    let mode = match (typed.live, typed.offline) {
        (true, _) => Some(CheckMode::Live),
        (false, true) => Some(CheckMode::Offline),
        (false, false) => None,
    };
    let mut request = CheckRequest::to(&typed.to);
    if let Some(channels) = typed.channels {
        request.channels = channels;
    }
    let (only, skip) = (typed.only.clone(), typed.skip.clone());
    CheckRequest {
        mode,
        only,
        skip,
        plaintext: typed.plaintext,
        allow_postcopy: typed.allow_postcopy,
        copy_storage: copy(&typed.storage),
        maps: maps(&typed.storage),
        identity: identity(&typed.storage),
        ..request
    }
}

/// The migration that is to be planned. What was not typed is left to the interface's defaults.
pub(crate) fn plan(typed: &Plan) -> MigrationRequest {
    MigrationRequest {
        plaintext: typed.plaintext,
        skip: typed.skip.clone(),
        ..within(&typed.to, typed.max_blackout, &typed.ending, typed.bandwidth)
    }
}

/// The word about a migration in doubt.
pub(crate) fn word(typed: Word) -> ResolveAs {
    match typed {
        Word::Moved => ResolveAs::Moved,
        Word::Kept => ResolveAs::Kept,
        Word::Lost => ResolveAs::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::{Agent, ResolveError, agent, migration};
    use crate::args::{Args, Command};
    use clap::Parser;
    use std::ffi::OsString;
    use std::path::PathBuf;

    fn resolve(typed: &str, environment: Option<&str>) -> Result<Agent, ResolveError> {
        let words = ["ferry", "list"].into_iter().chain(typed.split_whitespace());
        let args = Args::try_parse_from(words).expect("parses");
        agent(&args.reach, environment.map(OsString::from))
    }

    #[track_caller]
    fn check_socket(typed: &str, environment: Option<&str>, expect: &str) {
        assert_eq!(resolve(typed, environment), Ok(Agent::Local { socket: PathBuf::from(expect) }));
    }

    #[test]
    fn sockets() {
        check_socket("", None, "/run/ferry/ferry.sock");
        check_socket("", Some(""), "/run/ferry/ferry.sock");
        check_socket("", Some("/tmp/b"), "/tmp/b");
        check_socket("--socket /tmp/a", Some("/tmp/b"), "/tmp/a");
    }

    #[track_caller]
    fn check_ssh(typed: &str, ssh_host: &str, socket: Option<&str>) {
        let expect = Agent::Ssh { ssh_host: ssh_host.to_owned(), socket: socket.map(str::to_owned) };
        assert_eq!(resolve(typed, Some("/tmp/b")), Ok(expect));
    }

    #[test]
    fn hosts() {
        check_ssh("--host ssh://kvm2", "ssh://kvm2", None);
        check_ssh("--host ssh://root@kvm2:2222/", "ssh://root@kvm2:2222", None);
        check_ssh("--host ssh://[fd00::2]:22", "ssh://[fd00::2]:22", None);
        check_ssh("--host ssh://kvm2 --socket /tmp/a", "ssh://kvm2", Some("/tmp/a"));
        for wrong in ["kvm2", "http://kvm2", "ssh://", "ssh://@kvm2", "ssh://-oProxyCommand=x", "ssh://a/b"] {
            assert_eq!(
                resolve(&format!("--host={wrong}"), None),
                Err(ResolveError::Host { url: wrong.to_owned() })
            );
        }
    }

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let now = "2026-01-01T00:10:00Z".parse().expect("a time");
        for (text, expect) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"),
            ("10m", "2026-01-01T00:00:00Z"),
            ("1h 10m", "2025-12-31T23:00:00Z"),
        ] {
            assert_eq!(super::since(text, now).as_deref(), Ok(expect), "{text}");
        }
        for wrong in ["yesterday", "10", ""] {
            assert!(super::since(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn migrations() {
        let typed = "ferry migrate web1 --to kvm2 --max-blackout 0.1s --bandwidth 1MiB/s --channels 4 \
                     --plaintext --keep-definition --transient --blackout-bound 1s --max-throttle 0 --deadline 2min \
                     --on-stuck suspend";
        let Command::Migrate(all) = Args::try_parse_from(typed.split_whitespace()).expect("parses").command
        else {
            panic!("not migrate")
        };
        let request = migration(&all);
        assert_eq!((request.blackout_ms_max, request.bandwidth_bytes_per_s), (100, 1 << 20));
        assert_eq!((request.blackout_bound_ms, request.throttle_percent_max), (1000, 0));
        assert_eq!((request.deadline_s, request.on_stuck), (Some(120), api::OnStuck::Suspend));
        assert_eq!((request.channels, request.plaintext, request.transient), (4, true, true));
        assert_eq!(request.source_definition, api::SourceDefinition::Keep);

        let typed = "ferry migrate web1 --to kvm2 --offline --copy-storage --flatten --copy-media --verify wire \
                     --source-disks delete --map-disk vda=/srv/a=b --map-pool a=b --map-bridge br0=br1 \
                     --map-bridge br2=br3 --new-uuid --rename web2";
        let Command::Migrate(cold) = Args::try_parse_from(typed.split_whitespace()).expect("parses").command
        else {
            panic!("not migrate")
        };
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(here, there)| ((*here).to_owned(), (*there).to_owned())).collect()
        };
        let expect = api::MigrationRequest {
            offline: true,
            copy_storage: Some(api::CopyStorage {
                flatten: true,
                media: true,
                verify: api::Verify::Wire,
                source_disks: api::SourceDisks::Delete,
            }),
            maps: api::Maps {
                disks: pairs(&[("vda", "/srv/a=b")]),
                pools: pairs(&[("a", "b")]),
                bridges: pairs(&[("br0", "br1"), ("br2", "br3")]),
            },
            identity: api::Identity { new_uuid: true, name: Some("web2".into()), keep_source: false },
            ..api::MigrationRequest::to("kvm2")
        };
        assert_eq!(migration(&cold), expect);

        let typed = ["ferry", "migrate", "web1", "--to", "kvm2"];
        let Command::Migrate(none) = Args::try_parse_from(typed).expect("parses").command else {
            panic!("not migrate")
        };
        assert_eq!(migration(&none), api::MigrationRequest::to("kvm2"));
    }
}
