//! Driver of one outside thing: the QEMU process of a domain.
//!
//! It writes QEMU's command line from a domain's definition, starts QEMU so that it outlives the agent, finds it
//! again after the agent was restarted, talks QMP with it, and asks it what it can do. It never decides: when a
//! domain runs, where it runs and what a migration does next is settled elsewhere.
//!
//! The main types are [`command_line::CommandLine`], [`process::Process`], [`qmp::Qmp`] and
//! [`capabilities::Capabilities`].

pub mod accelerator;
pub mod capabilities;
pub mod command;
pub mod command_line;
pub mod console;
pub mod dirty_rate;
pub mod event;
pub mod firmware;
pub mod guest_agent;
pub mod guest_memory;
pub mod limits;
pub mod migrate;
pub mod mirror;
mod open_enum;
pub mod process;
pub mod qmp;
