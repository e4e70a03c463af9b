//! Every time-out, pace and bound of the guest program, by name.

use std::time::Duration;

/// An echo request without an answer for so long (on the guest's clock) is lost.
pub const ECHO_LOST_AFTER: Duration = Duration::from_secs(1);
/// How long the receiving thread waits for an answer before it looks for lost ones.
pub const ECHO_RECEIVE: Duration = Duration::from_millis(200);
/// How often the memory is changed: the rate is met in portions of this length.
pub const MEMORY_TICK: Duration = Duration::from_millis(10);
/// A guest that did not get the CPU makes up for at most this much lost time.
pub const MEMORY_CATCH_UP: Duration = Duration::from_millis(100);
/// Pages checked under one hold of the lock by a full check, so that changing goes on between.
pub const CHECK_PAGES: usize = 256;
/// A line on the serial console so often.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// A client that sends no request, or takes no answer, is dropped after this time.
pub const HTTP_CLIENT: Duration = Duration::from_secs(5);
/// The longest request line that is read.
pub const HTTP_REQUEST_BYTES: usize = 4096;
