//! The crate as its users see it: reading, problems, edits, freezing. It never looks inside.

mod attach;
mod boot;
mod disks;
mod fixture;
mod freeze;
mod hostile;
mod install;
mod lossless;
mod machine;
mod memory;
mod problems;
mod reading;
mod real;
