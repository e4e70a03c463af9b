//! The way of a guest's disk to another host while the guest works: bytes both ways between two QEMUs, over the connection of
//! two agents. What the bytes are (NBD) is the QEMUs' matter. Main type: [`DiskWay`].

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use uuid::Uuid;

use crate::client::Call;
use crate::connection::Connection;
use crate::limits::DISK_WAY_BYTES;
use crate::{Client, ClientError};

/// An open way; it closes when this is dropped.
pub struct DiskWay {
    way: TokioIo<Upgraded>,
    // Whatever carries the bytes lives as long as this.
    _connection: Connection,
}

impl Client {
    /// `GET /agent/migrations/{id}/disks`: one connection to where the target's QEMU takes disks in.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal of the agent is [`ClientError::Problem`].
    pub async fn disk_way(&self, id: Uuid) -> Result<DiskWay, ClientError> {
        let call = Call::get(format!("/agent/migrations/{id}/disks")).between_agents();
        let (connection, upgraded) = self.turn(call, api::DISK_PROTOCOL).await?;
        Ok(DiskWay { way: TokioIo::new(upgraded), _connection: connection })
    }
}

impl DiskWay {
    /// Carries bytes to and from `end` until both sides have ended. Both are closed when this ends, or is dropped.
    ///
    /// # Errors
    /// What broke.
    pub async fn carry(mut self, mut end: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        copy_bidirectional_with_sizes(&mut end, &mut self.way, DISK_WAY_BYTES, DISK_WAY_BYTES).await.map(drop)
    }
}
