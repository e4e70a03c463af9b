//! Every time-out of this crate, named.

use std::time::Duration;

/// How long a program that configures links may take: one that asks a DHCP server waits for its answer.
pub(crate) const COMMAND_WITHIN: Duration = Duration::from_secs(30);
