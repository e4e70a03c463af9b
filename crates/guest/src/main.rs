//! The program that the test guest runs: it works on its memory, its disk and its network all the time, and tells
//! over HTTP what it found. `init` (a busybox script) starts it after the disk is mounted on `/data`, and powers
//! the machine off when it ends.
//!
//! It ends by itself only on the ACPI power button, after the last record is synced. Main type: [`Work`].

mod console;
mod http;
mod power;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use guest::Status;
use guest::beat::{self, Beat};
use guest::echo::{EchoSocket, Heard, Losses};
use guest::limits::{CHECK_PAGES, ECHO_LOST_AFTER, ECHO_RECEIVE, HEARTBEAT, MEMORY_CATCH_UP, MEMORY_TICK};
use guest::memory::{Memory, PAGE_BYTES};
use guest::record::{Audit, Record};
use guest::settings::Settings;

const RECORDS: &str = "/data/records";
const ECHO_ID: u16 = 0x6675;

/// Everything that the threads share.
pub(crate) struct Work {
    settings: Settings,
    boot_id: String,
    booted: Instant,
    memory: Mutex<Memory>,
    /// Beside the memory, since whoever reads it must not wait for that.
    memory_changed: AtomicU64,
    records: Mutex<Records>,
    records_lost: AtomicU64,
    losses: Mutex<Losses>,
    tpm_registers: Mutex<Vec<String>>,
}

/// The open file; `None` after the power button.
struct Records {
    file: Option<File>,
    last: u64,
    written: u64,
}

fn main() {
    let work = match prepare() {
        Ok(work) => Arc::new(work),
        Err(error) => {
            say(&format!("cannot start: {error}"));
            std::process::exit(1);
        }
    };
    let socket = Arc::new(EchoSocket::open(ECHO_ID).expect("init runs as root"));
    let (sending, receiving) = (Arc::clone(&socket), socket);
    start(&work, |work| change_memory(work));
    if work.settings.records_rate > 0 {
        start(&work, |work| write_records(work));
    }
    if !work.settings.beat_every.is_zero() {
        start(&work, |work| send_beats(work));
    }
    start(&work, move |work| send_echoes(work, &sending));
    start(&work, move |work| receive_echoes(work, &receiving));
    start(&work, |work| http::serve(work));
    start(&work, |_| console::serve());
    power::watch(&work);
    loop {
        let status = work.status();
        say(&format!(
            "up {:.0} s, record {}, memory errors {}, pings lost {}",
            status.uptime_s, status.record_last, status.memory_errors, status.ping_lost
        ));
        thread::sleep(HEARTBEAT);
    }
}

/// One line on the console.
pub(crate) fn say(line: &str) {
    // A console that takes nothing must not stop the work.
    let _ = writeln!(io::stdout(), "guest: {line}");
}

fn start(work: &Arc<Work>, job: impl FnOnce(&Arc<Work>) + Send + 'static) {
    let work = Arc::clone(work);
    thread::spawn(move || job(&work));
}

fn prepare() -> io::Result<Work> {
    let settings = Settings::parse(&fs::read_to_string("/proc/cmdline")?)
        .map_err(|word| io::Error::other(format!("the kernel command line has no usable {word}=")))?;
    let fresh = !Path::new(RECORDS).exists();
    let file = OpenOptions::new().create(true).append(true).open(RECORDS)?;
    if fresh {
        File::open("/data")?.sync_all()?;
    }
    let bytes = fs::read(RECORDS)?;
    let audit = Audit::of(&bytes);
    // What follows the last line end was never synced: it must not run together with the next record.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    file.set_len(whole as u64)?;
    let pages = settings.memory_mib as usize * (1 << 20) / PAGE_BYTES;
    Ok(Work {
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
        booted: Instant::now() - uptime()?,
        memory: Mutex::new(Memory::filled(pages, settings.rewrite)),
        memory_changed: AtomicU64::new(0),
        records_lost: AtomicU64::new(audit.lost()),
        records: Mutex::new(Records { file: Some(file), last: audit.last, written: 0 }),
        losses: Mutex::new(Losses::new(ECHO_LOST_AFTER)),
        tpm_registers: Mutex::default(),
        settings,
    })
}

/// `/proc/uptime`: seconds since boot, with two decimals.
fn uptime() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split(' ').next().and_then(|word| word.parse().ok());
    seconds.map(Duration::from_secs_f64).ok_or_else(|| io::Error::other("/proc/uptime holds no number"))
}

/// A thread that panicked must not silence the others: what it held is still worth reporting.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work {
    /// The counters as they are now.
    pub(crate) fn status(&self) -> Status {
        let (memory_pages, memory_checked, memory_errors) = {
            let memory = lock(&self.memory);
            (memory.pages() as u64, memory.checked(), memory.errors())
        };
        let (records_written, record_last) = {
            let records = lock(&self.records);
            (records.written, records.last)
        };
        let (ping_sent, ping_answered, ping_lost, ping_lost_in_a_row) = lock(&self.losses).counts();
        Status {
            boot_id: self.boot_id.clone(),
            uptime_s: self.booted.elapsed().as_secs_f64(),
            uefi: Path::new("/sys/firmware/efi").exists(),
            tpm_registers: lock(&self.tpm_registers).clone(),
            memory_pages,
            memory_changed: self.memory_changed.load(Ordering::Relaxed),
            memory_checked,
            memory_errors,
            records_written,
            record_last,
            records_lost: self.records_lost.load(Ordering::Relaxed),
            ping_sent,
            ping_answered,
            ping_lost,
            ping_lost_in_a_row,
        }
    }

    /// Compares every page, reads every record from the disk, not from the page cache, and asks the TPM.
    pub(crate) fn check(&self) -> io::Result<Status> {
        let pages = lock(&self.memory).pages();
        for first in (0..pages).step_by(CHECK_PAGES) {
            lock(&self.memory).check_range(first, CHECK_PAGES);
        }
        *lock(&self.tpm_registers) = tpm_registers();
        fs::write("/proc/sys/vm/drop_caches", "1")?;
        let synced = lock(&self.records).last;
        let audit = Audit::of(&fs::read(RECORDS)?);
        let lost = audit.lost() + synced.saturating_sub(audit.last);
        self.records_lost.store(lost, Ordering::Relaxed);
        Ok(self.status())
    }

    /// Writes nothing any more: when this returns, all that was promised is on the disk.
    pub(crate) fn close(&self) -> io::Result<()> {
        match lock(&self.records).file.take() {
            Some(file) => file.sync_all(),
            None => Ok(()),
        }
    }
}

/// Asks the TPM, where there is one.
fn tpm_registers() -> Vec<String> {
    let read = |register| fs::read_to_string(format!("/sys/class/tpm/tpm0/pcr-sha256/{register}")).ok();
    (0..8).map_while(read).map(|value| value.trim().to_owned()).collect()
}

fn change_memory(work: &Work) {
    let rate = f64::from(work.settings.rate_pages);
    let mut since = Instant::now();
    let mut owed = 0.0;
    loop {
        thread::sleep(MEMORY_TICK);
        let now = Instant::now();
        owed += rate * now.duration_since(since).min(MEMORY_CATCH_UP).as_secs_f64();
        since = now;
        lock(&work.memory).change(owed as usize);
        work.memory_changed.fetch_add(owed as u64, Ordering::Relaxed);
        owed = owed.fract();
    }
}

fn write_records(work: &Work) {
    let pause = Duration::from_secs(1) / work.settings.records_rate;
    loop {
        thread::sleep(pause);
        let mut records = lock(&work.records);
        let record = Record {
            number: records.last + 1,
            boot_id: work.boot_id.clone(),
            uptime_ms: work.booted.elapsed().as_millis() as u64,
        };
        let Some(file) = &mut records.file else { return };
        match file.write_all(format!("{record}\n").as_bytes()).and_then(|()| file.sync_all()) {
            Ok(()) => {
                records.last += 1;
                records.written += 1;
            }
            Err(error) => {
                say(&format!("record {} cannot be written: {error}", record.number));
                return;
            }
        }
    }
}

fn send_beats(work: &Work) {
    let settings = &work.settings;
    let port = beat::port(settings.address);
    let socket = match UdpSocket::bind((settings.address, port)) {
        Ok(socket) => socket,
        Err(error) => return say(&format!("no beats: {error}")),
    };
    let mut next = Instant::now();
    for number in 0.. {
        let beat = Beat { number, pages_changed: work.memory_changed.load(Ordering::Relaxed) };
        // One that cannot be sent is not heard.
        let _ = socket.send_to(&beat.to_bytes(), (settings.ping, port));
        // What was missed is not sent in a burst.
        next = (next + settings.beat_every).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn send_echoes(work: &Work, socket: &EchoSocket) {
    loop {
        thread::sleep(work.settings.ping_every);
        let number = lock(&work.losses).sending(Instant::now());
        // A request that cannot be sent is never answered, so it is counted as lost.
        let _ = socket.send(work.settings.ping, number);
    }
}

fn receive_echoes(work: &Work, socket: &EchoSocket) {
    loop {
        let answer = socket.receive(ECHO_RECEIVE);
        let mut losses = lock(&work.losses);
        match answer {
            Ok(Some(Heard::Answer(number))) => losses.answered_by(number),
            Ok(Some(Heard::Request(_)) | None) => {}
            Err(error) => say(&format!("answers to pings cannot be read: {error}")),
        }
        losses.settle(Instant::now());
    }
}
