//! The endpoints of snapshots, one a file.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;
pub(super) mod revert;
