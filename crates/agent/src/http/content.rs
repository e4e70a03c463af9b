//! Bytes that come with a request and are not wanted. Main function: [`run_out`].

use axum::body::BodyDataStream;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::limits::RUN_OUT_TIMEOUT;

/// Goes on reading what a refused request still sends, until its sender has seen the refusal. A connection that is closed on
/// somebody who writes loses the answer, and a broken pipe is all that is seen of it.
pub(super) fn run_out(mut content: BodyDataStream) {
    let reading = async move { while let Some(Ok(_unwanted)) = content.next().await {} };
    tokio::spawn(timeout(RUN_OUT_TIMEOUT, reading));
}
