//! A domain for those who judge whether it can move: what it is, and its guest where it has one.

use std::path::PathBuf;

use domain::Definition;
use qemu::process::Process;
use uuid::Uuid;

use super::{Keeper, State};
use crate::failure::Failure;

/// A domain that is here and that nobody moves or works on.
pub(crate) struct Surveyed {
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    /// As the guest runs, or as it would start.
    pub(crate) definition: Definition,
    pub(crate) guest: Option<SurveyedGuest>,
}

/// Its guest.
pub(crate) struct SurveyedGuest {
    pub(crate) emulator: PathBuf,
    pub(crate) process: Process,
}

impl Keeper {
    pub(super) fn survey(&mut self) -> Result<Surveyed, Failure> {
        self.free()?;
        let (name, uuid) = (self.name.clone(), self.uuid);
        let (definition, guest) = match &self.state {
            State::Active { guest, .. } => {
                let (emulator, process) = (guest.record.emulator.clone(), guest.process.clone());
                (guest.definition.clone(), Some(SurveyedGuest { emulator, process }))
            }
            State::ShutOff { .. } | State::Lent { .. } | State::Leaving { .. } | State::Arriving { .. } => {
                (self.kept()?.clone(), None)
            }
        };
        Ok(Surveyed { name, uuid, definition, guest })
    }
}
