//! `ferry`: the agent of a host and the command line that speaks to agents. It knows nothing of QEMU: everything
//! goes through `/api/v1`. Main type: [`args::Args`], run by [`command::run`].
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; a migration: moved |
//! | 1 | the operation failed |
//! | 2 | the command line is wrong |
//! | 3 | no agent could be reached |
//! | 4 | refused before anything was changed |
//! | 5 | a migration: kept, the domain stays on its source as if nothing had happened |
//! | 6 | a migration: in doubt |
//! | 7 | a migration: lost |
//! | 130 | interrupted while a migration goes on, or at a console |

mod args;
mod command;
mod device;
mod drained;
mod failure;
mod forecast;
mod limits;
mod measure;
mod printer;
mod progress;
mod resolve;
mod story;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::Args;
use failure::{Exit, Failure};
use printer::Printer;

fn main() -> ExitCode {
    let args = Args::parse();
    let printer = Printer::new(args.reach.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::from(anyhow::Error::new(error).context("the kernel gives no threads"));
            printer.failure(&failure);
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let exit = match runtime.block_on(command::run(args, &printer)) {
        Ok(exit) => exit,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit()
        }
    };
    // A read of standard input cannot be cancelled; it must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}
