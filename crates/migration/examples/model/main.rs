//! Checks the handover, of a live migration and of a domain that is shut off: every order of messages, losses, repetitions and crashes within a bound,
//! over the decisions of `migration::handover` and `migration::owner` themselves. `docs/handover.md` says what it
//! covers. Never talks to a QEMU.
//!
//! ```text
//! cargo run --release -p migration --example model [-- --bound small|full]
//! ```

mod properties;
mod report;
mod shut_off;
mod source;
mod surroundings;
mod target;
mod world;

use std::process::ExitCode;

use crate::properties::Handover;
use crate::shut_off::ShutOff;
use crate::world::Faults;

/// Two of each: a minute and a half on two cores.
const FULL: Faults = Faults {
    source_agent: 2,
    target_agent: 2,
    source_qemu: 2,
    target_qemu: 2,
    stumble: 2,
    loss: 1,
    repetition: 2,
    boot: 2,
};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program: this is its output")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let faults = match arguments[..] {
        [] | ["--bound", "full"] => FULL,
        ["--bound", "small"] => Faults::SMALL,
        [..] => {
            eprintln!("usage: model [--bound small|full]");
            return ExitCode::from(2);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let live = report::check(|| Handover::new(faults), threads);
    println!("{live}");
    let shut_off = report::check(|| ShutOff { faults }, threads);
    println!("\n{shut_off}");
    if live.holds && shut_off.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
