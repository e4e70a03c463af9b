//! `POST /agent/link`.

use std::time::Instant;

use api::LinkProbed;
use axum::Json;
use axum::body::Body;
use futures_util::StreamExt;
use tokio::time::timeout_at;

use crate::http::content::run_out;
use crate::limits::{LINK_PROBE_BYTES_MAX, LINK_PROBE_TIMEOUT};

/// Throws away what another agent sends, and says how fast it came. More than a bounded amount, or time, is not listened to.
#[utoipa::path(post, path = "/agent/link", tag = "agents",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = LinkProbed), (status = "4XX", body = api::Problem)))]
pub(crate) async fn link(body: Body) -> Json<LinkProbed> {
    let mut pieces = body.into_data_stream();
    let until = tokio::time::Instant::now() + LINK_PROBE_TIMEOUT;
    // The time begins with the first piece, which therefore does not count.
    let (mut began, mut received) = (None, 0);
    let mut last = Instant::now();
    while received < LINK_PROBE_BYTES_MAX {
        let Ok(Some(Ok(piece))) = timeout_at(until, pieces.next()).await else { break };
        last = Instant::now();
        match began {
            None => began = Some(last),
            Some(_) => received += piece.len(),
        }
    }
    run_out(pieces);
    let within = began.map_or_else(Default::default, |began| last - began);
    let within_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
    Json(LinkProbed { received_bytes: received as u64, within_us })
}

#[cfg(test)]
mod tests {
    use super::link;
    use crate::limits::LINK_PROBE_BYTES_MAX;
    use axum::body::{Body, Bytes};
    use futures_util::stream;

    const PIECE: &[u8] = &[0; 1 << 20];

    async fn received(pieces: usize) -> usize {
        let pieces = stream::iter((0..pieces).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(PIECE))));
        usize::try_from(link(Body::from_stream(pieces)).await.0.received_bytes).expect("fits")
    }

    #[tokio::test]
    async fn all_but_the_first_piece_counts_and_no_more_than_a_bound() {
        assert_eq!(received(0).await, 0);
        assert_eq!(received(1).await, 0);
        assert_eq!(received(5).await, 4 * PIECE.len());
        assert_eq!(received(1000).await, LINK_PROBE_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_listened_to_for_ever() {
        let silent = stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(link(Body::from_stream(silent)).await.0.received_bytes, 0);
    }
}
