//! Starts a QEMU without a machine in the directory given and stays: the agent that `tests/outlives.rs` kills. It never
//! ends by itself.

use std::path::Path;

use qemu::accelerator::Accelerator;
use qemu::command_line::CommandLine;
use qemu::process::Process;

const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("name a directory")?;
    let directory = Path::new(&directory);
    let line = CommandLine::probe("none", Accelerator::Tcg, None);
    let _process =
        Process::spawn(Path::new(EMULATOR), &line, &directory.join("run"), &directory.join("log")).await?;
    std::fs::write(directory.join("started"), "")?;
    std::future::pending().await
}
