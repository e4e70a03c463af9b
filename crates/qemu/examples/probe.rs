//! Asks the emulator given what it can do, over and over: the agent that `tests/outlives.rs` kills meanwhile.

use std::path::Path;

use qemu::accelerator::Accelerator;
use qemu::capabilities::probe;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = std::env::args_os().nth(1).ok_or("name an emulator")?;
    loop {
        // In a task, and so on a worker of the runtime, as in the agent.
        let emulator = emulator.clone();
        tokio::spawn(async move { probe(Path::new(&emulator), Accelerator::Tcg).await }).await??;
    }
}
