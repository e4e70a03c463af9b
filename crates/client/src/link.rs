//! How fast the connection to another agent is: something is sent that the other side throws away. Main function:
//! [`Client::probe_link`].

use std::time::{Duration, Instant};

use api::LinkProbed;
use bytes::Bytes;
use futures_util::stream;

use crate::client::Call;
use crate::limits::LINK_WITHIN;
use crate::{Client, ClientError};

/// What is sent at once.
static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];

impl Client {
    /// `POST /agent/link`: sends for so long, and at most so many bytes. The agent that receives them counts.
    ///
    /// # Errors
    /// [`ClientError`]; an agent of an older version refuses.
    pub async fn probe_link(&self, bytes_max: usize, within: Duration) -> Result<LinkProbed, ClientError> {
        self.connect().await?;
        let until = Instant::now() + within;
        let pieces = stream::unfold(0, move |sent| {
            let piece = (sent < bytes_max && Instant::now() < until)
                .then(|| (Ok(Bytes::from_static(&PIECE)), sent + PIECE.len()));
            std::future::ready(piece)
        });
        self.send_content(Call::post("/agent/link").within(LINK_WITHIN).between_agents(), pieces).await
    }
}
