//! Endpoints that carry the files of a domain from one agent to another. What the bytes are is the caller's; nothing here is
//! repeated. The order of the calls is in [`api`]'s handover types.

use api::{FileSent, FileTaken};
use bytes::Bytes;
use futures_util::Stream;
use uuid::Uuid;

use crate::client::Call;
use crate::limits::{CONTENT_WITHIN, HELD_BYTES_MAX};
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`]. None has a time of its own
/// that matters: an older copy is read wholly before the first is answered. The caller watches whether the target lives.
impl Client {
    /// `GET /agent/migrations/{id}/files/{number}`: what the target holds of a file of which the source has the version
    /// `stamp`.
    pub async fn file_held(&self, id: Uuid, number: usize, stamp: &str) -> Result<Bytes, ClientError> {
        let call = Call::get(format!("{}?stamp={stamp}", path(id, number)));
        self.bytes(call.within(CONTENT_WITHIN).body_max(HELD_BYTES_MAX).between_agents()).await
    }

    /// `POST /agent/migrations/{id}/files/{number}/blocks`: some of what the target lacks, as it comes.
    pub async fn send_blocks(
        &self,
        id: Uuid,
        number: usize,
        frames: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        let call = Call::post(format!("{}/blocks", path(id, number))).within(CONTENT_WITHIN);
        self.send_content(call.between_agents(), frames).await
    }

    /// `POST /agent/migrations/{id}/files/{number}/complete`: whether it is there wholly, durable and equal.
    pub async fn complete_file(
        &self,
        id: Uuid,
        number: usize,
        sent: &FileSent,
    ) -> Result<FileTaken, ClientError> {
        let call = Call::post(format!("{}/complete", path(id, number))).body(sent).within(CONTENT_WITHIN);
        self.json(call.between_agents()).await
    }
}

fn path(id: Uuid, number: usize) -> String {
    format!("/agent/migrations/{id}/files/{number}")
}
