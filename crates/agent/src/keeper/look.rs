//! A guest for those who only look at it: what they ask QEMU does not hold up the domain's task.

use std::path::PathBuf;

use qemu::process::Process;
use uuid::Uuid;

use super::Keeper;
use crate::failure::Failure;

/// What somebody who looks at a guest needs. It must change nothing about the guest.
pub(crate) struct Looked {
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    pub(crate) emulator: PathBuf,
    pub(crate) process: Process,
}

impl Keeper {
    pub(super) fn look(&mut self) -> Result<Looked, Failure> {
        let (name, uuid) = (self.name.clone(), self.uuid);
        let guest = self.active()?;
        Ok(Looked { name, uuid, emulator: guest.record.emulator.clone(), process: guest.process.clone() })
    }
}
