//! A door that a target opens for one connection, where its QEMU would listen for memory; the source knocks. What comes
//! through is a token, so that both know who they talked to. Main functions: [`open`], [`knock`].

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;

use super::no_answer;
use crate::limits::{DOOR_OPEN, DOOR_TIMEOUT};

/// Opens a door on a port that the kernel chooses, as QEMU's is. It closes after the first who knocks, or by itself.
pub(super) async fn open(address: IpAddr) -> std::io::Result<(SocketAddr, Uuid)> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).await?;
    let (at, token) = (listener.local_addr()?, Uuid::new_v4());
    tokio::spawn(async move {
        let answered = timeout(DOOR_OPEN, async {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(token.as_bytes()).await
        });
        if let Ok(Err(error)) = answered.await {
            tracing::debug!("the door closed: {error}");
        }
    });
    Ok((at, token))
}

/// Knocks at a target's door; else why it did not open.
pub(super) async fn knock(at: &str, token: Uuid) -> Result<(), String> {
    let knocked = timeout(DOOR_TIMEOUT, async {
        let mut heard = [0; 16];
        TcpStream::connect(at).await?.read_exact(&mut heard).await?;
        Ok::<_, std::io::Error>(Uuid::from_bytes(heard))
    });
    match knocked.await {
        Ok(Ok(heard)) if heard == token => Ok(()),
        Ok(Ok(_)) => Err("somebody else answers there".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(no_answer(DOOR_TIMEOUT)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{knock, open};
    use uuid::Uuid;

    #[tokio::test]
    async fn a_door_opens_once_and_for_who_is_meant() {
        let (at, token) = open(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
        knock(&at.to_string(), token).await.unwrap();
        let (at, _) = open(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
        let other = knock(&at.to_string(), Uuid::nil()).await;
        assert_eq!(other.unwrap_err(), "somebody else answers there");
        let closed = knock(&at.to_string(), Uuid::nil()).await.unwrap_err();
        assert!(closed.contains("refused"), "{closed}");
    }
}
