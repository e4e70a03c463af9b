//! How fast the parts of a copy are on this machine: `cargo run --release -p storage --example copy [MIB [DIRECTORY]]`.
//! Source and target are threads of one process with nothing between them.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::{Held, Line, Opening, Original, Proof, Replica, There, forget_replica};
use tokio_stream::StreamExt;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mib = arguments.next().map_or(Ok(1024), |mib| mib.parse::<u64>())?;
    let directory = tempfile::tempdir_in(arguments.next().unwrap_or("/dev/shm".into()))?;
    let source = directory.path().join("source");
    make(&source, mib)?;
    println!("{mib} MiB, half of it noise and half of it text, in {}", directory.path().display());
    for streams in [1, 2, 4] {
        for level in [0, 1] {
            let took = send(&source, streams, level).await?;
            println!("source alone    streams {streams} level {level}            {}", rate(mib, took));
        }
    }
    for streams in [1, 2, 4] {
        for (level, proof) in [(0, Proof::Wire), (0, Proof::Disk), (1, Proof::Disk)] {
            let took = carry(&source, directory.path(), streams, level, proof).await?;
            println!("source, target  streams {streams} level {level} proof {proof:?}  {}", rate(mib, took));
        }
    }
    let older = fs::copy(&source, directory.path().join("target"))?;
    let took = look(&source, directory.path()).await?;
    println!("an older copy of {older} bytes is read        {}", rate(mib, took));
    Ok(())
}

/// How fast that was, and how long all processors worked for it: what counts where others work beside it.
fn rate(mib: u64, (took, processors): (Duration, Duration)) -> String {
    let bytes = (mib << 20) as f64 / 1e6;
    let (took, processors) = (took.as_secs_f64(), processors.as_secs_f64());
    format!("{:6.0} MB/s  {took:.2} s  processors {processors:.2} s", bytes / took)
}

/// Time that processors worked for this process (proc_pid_stat(5), fields 14 and 15 in hundredths of a second).
fn worked() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

/// Runs of 16 MiB in turn: noise, and words in an order that is noise.
fn make(path: &Path, mib: u64) -> Result<(), Failure> {
    let words: Vec<&[u8]> = include_bytes!("copy.rs").split(|byte| *byte == b' ').collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut file = File::create_new(path)?;
    let mut piece = Vec::new();
    for n in 0..mib {
        piece.clear();
        while piece.len() < 1 << 20 {
            if n / 16 % 2 == 0 {
                piece.extend(next().to_le_bytes());
            } else {
                piece.extend(words[usize::try_from(next() % words.len() as u64)?]);
            }
        }
        file.write_all(&piece[..1 << 20])?;
    }
    Ok(())
}

async fn send(source: &Path, streams: usize, level: i32) -> Result<(Duration, Duration), Failure> {
    let line = Arc::new(Line::new(0));
    line.set_level(level);
    let original = Original::open(source).await?;
    let (begun, before) = (Instant::now(), worked()?);
    let sender = original.send(Held::nothing(original.length())?, &line)?;
    let mut threads = Vec::new();
    for mut stream in (0..streams).map(|_| sender.stream()).collect::<Vec<_>>() {
        threads.push(tokio::spawn(async move { while stream.next().await.is_some() {} }));
    }
    for thread in threads {
        thread.await?;
    }
    sender.root().await?;
    Ok((begun.elapsed(), worked()? - before))
}

async fn carry(
    source: &Path,
    directory: &Path,
    streams: usize,
    level: i32,
    proof: Proof,
) -> Result<(Duration, Duration), Failure> {
    let line = Arc::new(Line::new(0));
    line.set_level(level);
    let (path, log) = (directory.join("target"), directory.join("log"));
    let (begun, before) = (Instant::now(), worked()?);
    let original = Original::open(source).await?;
    let (length, stamp) = (original.length(), original.stamp());
    let (there, tag) = (There::Nothing, "0".to_owned());
    let opening = Opening { path: path.clone(), there, tag, log: log.clone(), length, stamp, proof };
    let replica = Arc::new(Replica::open(opening).await?);
    let sender = original.send(replica.held().await?, &line)?;
    let mut threads = Vec::new();
    for stream in (0..streams).map(|_| sender.stream()).collect::<Vec<_>>() {
        let replica = Arc::clone(&replica);
        threads.push(tokio::spawn(async move { replica.take(stream).await }));
    }
    for thread in threads {
        thread.await??;
    }
    replica.complete(sender.root().await?).await?;
    replica.publish().await?;
    let took = (begun.elapsed(), worked()? - before);
    let figures = line.figures();
    println!("  {figures:?}");
    forget_replica(&log).await?;
    fs::remove_file(path)?;
    Ok(took)
}

async fn look(source: &Path, directory: &Path) -> Result<(Duration, Duration), Failure> {
    let original = Original::open(source).await?;
    let (length, stamp) = (original.length(), original.stamp());
    let (path, log) = (directory.join("target"), directory.join("log"));
    let (there, tag) = (There::Older, "0".to_owned());
    let opening = Opening { path, there, tag, log, length, stamp, proof: Proof::Disk };
    let (begun, before) = (Instant::now(), worked()?);
    Replica::open(opening).await?.held().await?;
    Ok((begun.elapsed(), worked()? - before))
}
