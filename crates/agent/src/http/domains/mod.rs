//! The endpoints of domains, one a file.

pub(super) mod autostart;
pub(super) mod check;
pub(super) mod clone;
pub(super) mod console;
pub(super) mod define;
pub(super) mod destroy;
pub(super) mod devices;
pub(super) mod list;
pub(super) mod media;
pub(super) mod migrate;
pub(super) mod plan;
pub(super) mod reboot;
pub(super) mod rename;
pub(super) mod reset;
pub(super) mod resume;
pub(super) mod screenshot;
pub(super) mod show;
pub(super) mod shutdown;
pub(super) mod size;
pub(super) mod start;
pub(super) mod statistics;
pub(super) mod suspend;
pub(super) mod undefine;
pub(super) mod vnc;
pub(super) mod xml;
