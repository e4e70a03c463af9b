//! Volumes on their way to or from somebody who has stopped: given up, though only after a while.

mod running;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use running::{configuration, ferry, start, text};

/// Longer than the agent waits for the bytes of a volume.
const WITHIN: Duration = Duration::from_secs(180);

/// A request that the agent has the beginning of.
fn begun(socket: &Path, request: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("connects");
    stream.set_read_timeout(Some(WITHIN)).expect("a limit");
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).expect("writes");
    stream
}

#[test]
fn who_sends_nothing_or_takes_nothing_holds_no_pool_for_ever() {
    let directory = tempfile::tempdir().expect("a directory");
    let _agent = start(&configuration(directory.path()));
    let socket = directory.path().join("ferry.sock");
    let volumes = directory.path().join("volumes");
    std::fs::create_dir(&volumes).expect("makes");
    let said = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        text(&ferry(&arguments).env("FERRY_SOCKET", &socket).output().expect("runs"))
    };
    assert_eq!(said(&format!("pool define --name images --type dir --path {}", volumes.display())), "");
    assert_eq!(said("pool start images"), "");
    // More than sockets and queues hold.
    let large = std::fs::File::create(volumes.join("large.raw")).expect("makes");
    large.set_len(256 << 20).expect("grows");

    let content = "/api/v1/pools/images/volumes";
    let taker = begun(&socket, &format!("GET {content}/large.raw/content HTTP/1.1\nHost: ferry\n\n"));
    let head = format!("PUT {content}/new.raw/content HTTP/1.1\nHost: ferry\nContent-Length: 1000\n\nsome");
    let mut sender = begun(&socket, &head);
    let busy = said("pool stop images");
    assert!(busy.contains("somebody works with pool images"), "{busy}");

    let mut answer = [0; 4096];
    let length = sender.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("volume-cut"), "{answer}");
    let end = Instant::now() + WITHIN;
    while !said("pool stop images").is_empty() {
        assert!(Instant::now() < end, "the pool is still held");
        std::thread::sleep(Duration::from_secs(1));
    }
    drop(taker);
    let left = std::fs::read_dir(&volumes).expect("is there").count();
    assert_eq!(left, 1, "nothing half is left");
}
