//! The decisions of a migration: what may be promised, who may run, what a crash means. Pure: no sockets, no
//! files, no clock, no tasks; `agent` runs these decisions on the drivers.
//!
//! - [`phase`]: the closed list of phases that the journal stores and the API shows, and what may follow what;
//! - [`source`] and [`target`]: the same as typestate, which own the live resources and the [`RunRight`];
//! - [`compression`]: how much of a copy is compressed on its way;
//! - [`convergence`]: how a live migration comes to its end, round by round;
//! - [`drain`]: where the domains of a host go that is to be emptied;
//! - [`handover`]: what a side does with a pledge, an abandonment, a crash; the model checker runs these very
//!   functions;
//! - [`owner`]: the owner record beside a disk;
//! - [`journal`]: records to bytes and back;
//! - [`placement`]: where a domain's files are on the target, and which of them are copied;
//! - [`plan`]: what is expected of a live migration, and how good such expectations were;
//! - [`pool`]: whether a storage pool is the same on two hosts;
//! - [`preflight`]: every finding at once.
#![forbid(unsafe_code)]

pub mod compression;
pub mod convergence;
pub mod drain;
pub mod handover;
pub mod journal;
pub mod limits;
pub mod owner;
pub mod phase;
pub mod placement;
pub mod plan;
pub mod pool;
pub mod postcopy;
pub mod preflight;
mod right;
pub mod source;
pub mod target;

pub use right::RunRight;
