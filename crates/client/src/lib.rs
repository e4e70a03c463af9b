//! Typed HTTP client for an agent's `/api/v1`: over its Unix socket, over mutual TLS, or through the system's
//! `ssh`. It keeps one connection open, puts a time on every request, and never repeats a request that could
//! change something. It never decides what an answer means for a domain. Main type: [`Client`].
#![forbid(unsafe_code)]

mod bridges;
mod client;
mod connection;
mod console;
mod copies;
mod devices;
mod disks;
mod domains;
mod drain;
mod error;
mod events;
mod files;
mod handover;
mod hosts;
pub mod limits;
mod link;
mod migrations;
mod pools;
mod screen;
mod stream;
pub mod tls;
mod transport;
mod trust;

pub use client::Client;
pub use console::{Console, Heard};
pub use disks::DiskWay;
pub use error::{ClientError, ProtocolError};
pub use pools::Content;
