//! The endpoints of hosts that join each other, one a file.

pub(super) mod fix;
pub(super) mod join;
pub(super) mod list;
pub(super) mod remove;
pub(super) mod token;
