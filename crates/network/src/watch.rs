//! The kernel's notifications that some link or address changed, counted. It never says which link or how: a waiter
//! asks the kernel again, so a notification that was lost in a full socket costs nothing. The main type is
//! [`LinkWatch`].

use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use tokio::sync::watch;

use crate::error::NetworkError;

/// A subscription to `RTNLGRP_LINK` and the groups of addresses that any number of waiters share.
#[derive(Clone, Debug)]
pub(crate) struct LinkWatch {
    changes: watch::Receiver<u64>,
}

/// What one waiter has seen. It starts at the moment it is made: look at the link after that, not before.
pub(crate) struct Changes(watch::Receiver<u64>);

impl LinkWatch {
    /// Subscribes on a socket of its own, so that a flood of notifications cannot push out an answer to
    /// somebody's request. The tasks end with the last clone.
    pub(crate) fn start() -> Result<LinkWatch, NetworkError> {
        let (connection, _handle, mut notifications) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])
        .map_err(|source| NetworkError::Connect { source })?;
        tokio::spawn(connection);
        let (count, changes) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    notification = notifications.next() => match notification {
                        Some(_) => count.send_modify(|n: &mut u64| *n = n.wrapping_add(1)),
                        None => break,
                    },
                    () = count.closed() => break,
                }
            }
        });
        Ok(LinkWatch { changes })
    }

    pub(crate) fn changes(&self) -> Changes {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        Changes(changes)
    }
}

impl Changes {
    /// Resolves when something has changed since the last call. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<(), NetworkError> {
        self.0.changed().await.map_err(|_closed| NetworkError::WatchEnded)
    }
}
