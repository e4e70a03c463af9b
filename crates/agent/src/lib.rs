//! The agent: the daemon on a host. It composes the decisions of `domain` and `migration` with the drivers `qemu`,
//! `network`, `storage` and `host`, and serves them as `/api/v1` on a Unix socket and over mutual TLS. It holds no
//! policy of its own. Entry points: [`Config`] and [`run`].

mod allocate;
mod autostart;
mod bridges;
pub mod ca;
mod clone;
mod config;
mod console;
mod define;
mod departure;
mod disks;
pub mod doctor;
mod drain;
mod drive;
mod failure;
mod fixes;
mod guest;
mod http;
pub mod identity;
mod import;
mod install;
mod join;
mod journal;
mod keeper;
mod landing;
mod limits;
mod metrics;
mod neighbour;
mod networks;
mod news;
mod node;
mod nonvolatile;
mod placement;
mod plan;
mod pools;
mod preflight;
mod recovery;
mod screen;
mod serve;
mod snapshot;
mod statistics;
mod store;
mod tracker;
mod turns;
mod verify;
mod volumes;

pub use config::{Config, ConfigError, HostConfig};
pub use http::openapi;
pub use serve::{RunError, run};
