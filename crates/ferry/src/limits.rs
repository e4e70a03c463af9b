//! Every time-out and bound of the command line, in one place.

use std::time::Duration;

/// How often the live progress line moves on a terminal.
pub(crate) const LIVE_LINE_EVERY: Duration = Duration::from_millis(100);

/// How often a progress line is printed where there is no terminal.
pub(crate) const PROGRESS_LINE_EVERY: Duration = Duration::from_secs(1);

/// How often a watcher asks again after the agent could not be reached.
pub(crate) const WATCH_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// How long a watcher goes on asking an agent that cannot be reached; an agent restarts within this.
pub(crate) const WATCH_AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// Width of output that does not go to a terminal, in columns.
pub(crate) const WIDTH: u16 = 80;

/// Width below which output is no longer made narrower, in columns.
pub(crate) const WIDTH_MIN: u16 = 40;

/// Largest definition that is read, in bytes.
pub(crate) const XML_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How many bytes `dial-stdio` moves at a time.
pub(crate) const DIAL_BUFFER_BYTES: usize = 64 * 1024;

/// How many bytes of a volume are read at a time.
pub(crate) const TRANSFER_BUFFER_BYTES: usize = 256 * 1024;

/// How many typed bytes go to a console at a time.
pub(crate) const CONSOLE_BUFFER_BYTES: usize = 4096;
