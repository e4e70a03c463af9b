//! Conditions that the rules of the preflight find, by what they are of.

pub(crate) mod copies;
pub(crate) mod hosts;
pub(crate) mod lies;
pub(crate) mod network;
pub(crate) mod qemus;
pub(crate) mod running;
pub(crate) mod storage;
