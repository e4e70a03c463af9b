//! The endpoints of domains, one a file.

pub(super) mod define;
pub(super) mod destroy;
pub(super) mod list;
pub(super) mod migrate;
pub(super) mod resume;
pub(super) mod show;
pub(super) mod shutdown;
pub(super) mod start;
pub(super) mod suspend;
pub(super) mod undefine;
pub(super) mod xml;
