//! The endpoints of bridges, one a file.

pub(super) mod confirm;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;
