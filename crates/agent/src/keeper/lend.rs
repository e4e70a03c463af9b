//! The disks of a domain that is shut off are lent: while somebody copies them or works on their snapshots, the domain does
//! not start, move or change.

use domain::{Definition, Domain};
use migration::owner::OwnerRecord;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Keeper, State};
use crate::failure::Failure;
use crate::guest;

/// The disks of a domain, until it is dropped.
pub(crate) struct Loan {
    pub(crate) definition: Definition,
    /// Closed by the drop.
    _returned: oneshot::Sender<()>,
}

impl Loan {
    pub(crate) fn uuid(&self) -> Uuid {
        guest::frozen_uuid(self.definition.domain())
    }
}

impl Keeper {
    pub(super) async fn lend(&mut self) -> Result<Loan, Failure> {
        let definition = self.kept()?.clone();
        if let State::Active { .. } = self.state {
            let mend = "shut it down first: its QEMU has the disks open";
            return Err(self.wrong_state("running", mend));
        }
        self.own(definition.domain()).await?;
        let (returned, back) = oneshot::channel();
        self.state = State::Lent { back };
        Ok(Loan { definition, _returned: returned })
    }

    /// Whether the domain's disks are this host's to work on.
    pub(super) async fn own(&self, domain: &Domain) -> Result<(), Failure> {
        let found = match guest::owner_path(domain) {
            Some(path) => guest::read_owner(&path).await?,
            None => None,
        };
        // A claim that nobody writes down is only this question.
        let (right, _unwritten) = OwnerRecord::claim(found.as_ref(), self.uuid, &self.node.config.host)
            .map_err(|source| Failure::Fenced { domain: self.name.clone(), source })?;
        drop(right);
        Ok(())
    }
}
