//! The endpoints of storage pools, one a file.

pub(super) mod autostart;
pub(super) mod define;
pub(super) mod list;
pub(super) mod orders;
pub(super) mod show;
pub(super) mod start;
pub(super) mod stop;
pub(super) mod undefine;
pub(super) mod xml;
