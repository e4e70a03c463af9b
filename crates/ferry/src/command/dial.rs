//! `dial-stdio`: joins standard input and output to the agent's socket, for `ssh`. It ends as soon as either side
//! closes, so that nothing stays behind when a connection is gone.

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::failure::{Exit, Failure};
use crate::limits::DIAL_BUFFER_BYTES;
use crate::resolve::Agent;

pub(super) async fn dial(place: &Agent) -> Result<Exit, Failure> {
    let Agent::Local { socket } = place else {
        return Err(Failure::Usage {
            message: "dial-stdio joins the socket of this host".to_owned(),
            mend: "leave out --host".to_owned(),
        });
    };
    let stream = UnixStream::connect(socket).await.map_err(|source| {
        Failure::from(client::ClientError::Connect { address: socket.display().to_string(), source })
    })?;
    let (from_agent, to_agent) = stream.into_split();
    let copied = tokio::select! {
        copied = copy(tokio::io::stdin(), to_agent) => copied,
        copied = copy(from_agent, tokio::io::stdout()) => copied,
    };
    copied.context("the connection broke")?;
    Ok(Exit::Done)
}

/// Hands on each piece at once: a request waits behind it.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; DIAL_BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}
