//! Decisions meet drivers: a migration's task on its source and on its target. What is decided is
//! `migration`'s; here it is done. Main functions: [`source::run`], [`target::run`], and of domains that are shut off
//! [`cold::run`].

mod carry;
pub(crate) mod cold;
pub(crate) mod converge;
pub(crate) mod mirror;
pub(crate) mod postcopy;
mod settle;
pub(crate) mod source;
mod stay;
pub(crate) mod target;
mod turn;
mod watch;
