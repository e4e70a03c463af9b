//! [`Definition`]: a domain's XML as it was written, and what it says. It never changes a byte that no edit names.

use std::path::Path;

use uuid::Uuid;

use crate::cpu::CpuModel;
use crate::domain::Domain;
use crate::interface::MacAddress;
use crate::problem::{DefinitionError, Problem};

/// A domain's XML, byte for byte, with its typed reading. Two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Definition {
    xml: String,
    domain: Domain,
    notes: Vec<Problem>,
}

/// Where [`Definition::freeze`] takes what a definition leaves open.
pub trait Freezer {
    /// The versioned name of a machine: `q35` gives `pc-q35-10.0`, a versioned name gives itself. None: this QEMU has
    /// no such machine.
    fn machine(&mut self, name: &str) -> Option<String>;

    /// A fresh UUID.
    fn uuid(&mut self) -> Uuid;

    /// A fresh unicast MAC address, by custom with the prefix 52:54:00.
    fn mac(&mut self) -> MacAddress;
}

impl PartialEq for Definition {
    fn eq(&self, other: &Definition) -> bool {
        self.xml == other.xml
    }
}

impl Eq for Definition {}

impl Definition {
    /// The text, exactly as it was read and edited.
    pub fn xml(&self) -> &str {
        &self.xml
    }

    /// What the text says.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// What is kept in the text and not applied, since the guest does not see it: `<cputune>` for one.
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }
}
