//! QMP commands as types: what is sent and what comes back, named as QAPI names it.
//!
//! Only commands that Ferry uses are here. Fields of replies are `Option` unless a reply without them would be
//! useless; enums are open. A test holds every name against the schema of the installed QEMU. Nothing here talks to
//! a socket: see [`crate::qmp::Qmp::execute`]. The main trait is [`Command`].

mod dirty;
mod look;
mod machine;
mod migration;
mod mirror;
mod plug;
mod run;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

pub use self::dirty::*;
pub use self::look::*;
pub use self::machine::*;
pub use self::migration::*;
pub use self::mirror::*;
pub use self::plug::*;
pub use self::run::*;

/// A QMP command: serialized it is its argument object, `null` where it has none.
pub trait Command: Serialize {
    /// QAPI name.
    const NAME: &'static str;
    /// What QEMU returns.
    type Reply: DeserializeOwned;
}

/// The reply of a command that returns nothing of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done;

impl<'de> serde::Deserialize<'de> for Done {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Ties a type to its QAPI name and reply.
macro_rules! command {
    ($type:ty, $name:literal, $reply:ty) => {
        impl $crate::command::Command for $type {
            const NAME: &'static str = $name;
            type Reply = $reply;
        }
    };
}
use command;

/// QAPI `query-qmp-schema`: everything that this QEMU's QMP understands, as a list of entries.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryQmpSchema;
command!(QueryQmpSchema, "query-qmp-schema", Value);

#[cfg(test)]
pub(crate) mod tests;
