//! The endpoints of emptying this host, one a file.

pub(super) mod begin;
pub(super) mod events;
pub(super) mod show;
pub(super) mod stop;
