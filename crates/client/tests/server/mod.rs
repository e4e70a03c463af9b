//! A server that answers as each test wants and remembers what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// What was asked: method, path with query, and body.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// Serves one stream until it closes.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    asked: Asked,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Clone + Send + 'static,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (asked, answer) = (Arc::clone(&asked), answer.clone());
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect().await.expect("a whole body").to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            asked.lock().expect("lock").push(format!("{line} {body}").trim_end().to_owned());
            Ok::<_, Infallible>(answer(&line))
        }
    });
    // A client may go away at any time.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

/// A JSON answer.
pub(crate) fn reply(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(api::PROTOCOL_HEADER, api::Protocols::OURS.newest)
        .body(Full::new(body.into()))
        .expect("a response")
}

/// `GET /version`'s answer.
pub(crate) fn version() -> Response<Full<Bytes>> {
    reply(200, r#"{"ferry":"0.1.0","protocol":1,"host":"kvm1"}"#)
}
