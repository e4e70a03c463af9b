//! Files and block devices that are copied to another host, as bytes, whatever their format: what the source sends, what
//! the target holds. It knows no sockets and no HTTP, writes no image format, and decides nothing: who copies what, and
//! when, is its caller's. Main types: [`Original`] and [`Sender`] on the source, [`Replica`] on the target.
//!
//! ```text
//!  source                                                   target
//!  Original  ◀── Held: which blocks are there, and equal? ──  Replica   (what is durable and proven)
//!  Sender    ── frames: blocks that are not, several ──▶     take       (written, then fsynced, read back, logged)
//!            ── Root: hash over the whole ──▶                complete   (compared), publish (gets its name)
//! ```
//!
//! After a cut the same begins again, and `Held` says more each time. `docs/storage.md` has the bytes.

mod block;
mod buffer;
mod checkpoint;
mod error;
mod frame;
mod held;
mod line;
mod log;
mod original;
mod place;
mod replica;
mod run;
mod sender;
mod store;

pub use block::{NotAHash, Root, Stamp, block_bytes};
pub use error::TransferError;
pub use held::Held;
pub use line::{Figures, Line};
pub use original::Original;
pub use replica::{Opening, Proof, Replica, There, discard_replica, forget_replica, publish, sweep_replica};
pub use sender::Sender;
