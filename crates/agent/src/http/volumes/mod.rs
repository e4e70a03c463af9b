//! The endpoints of volumes, one a file.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod download;
pub(super) mod list;
pub(super) mod resize;
pub(super) mod show;
pub(super) mod upload;
