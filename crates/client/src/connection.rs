//! One HTTP/1.1 connection to an agent, and the one that is kept open between requests. It repeats nothing but
//! GET requests, and those once. Main type: [`Kept`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{PROTOCOL_HEADER, Protocols, Version};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::limits::{CONNECT_WITHIN, READY_WITHIN, SSH_CONNECT_WITHIN, SSH_EXIT_WITHIN};
use crate::tls::Distrust;
use crate::transport::{Said, Transport};
use crate::{ClientError, ProtocolError};

/// What a request carries.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The first version of the agents' conversation in which a request can be made; an extension of the request.
#[derive(Clone, Copy)]
pub(crate) struct Speaks(pub(crate) u32);

/// Nothing, as a body.
fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A GET request once more; it carries nothing.
fn again(request: &Request<Body>) -> Request<Body> {
    let mut again = Request::new(nothing());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}

/// An open connection; closed when dropped.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    said: Option<Arc<Said>>,
    /// What the agent speaks; not known where it was not asked.
    theirs: Option<Protocols>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(transport: &Transport) -> Result<Self, ClientError> {
        let within = match transport {
            Transport::Unix(_) | Transport::Tls { .. } => CONNECT_WITHIN,
            Transport::Program { .. } => SSH_CONNECT_WITHIN,
        };
        let opening = async {
            let stream = transport.open().await?;
            let said = stream.said();
            let (sender, connection) = handshake(TokioIo::new(stream))
                .await
                .map_err(|source| ClientError::Io { address: transport.address(), sent: false, source })?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "a connection to an agent broke");
                }
            });
            let mut connection = Self { sender, said, theirs: None, driver };
            match transport {
                Transport::Unix(_) => {}
                Transport::Tls { .. } | Transport::Program { .. } => connection.probe(transport).await?,
            }
            connection.ready().await.map_err(|source| ClientError::Io {
                address: transport.address(),
                sent: false,
                source,
            })?;
            Ok(connection)
        };
        match timeout(within, opening).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(ClientError::Connect {
                address: transport.address(),
                source: std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("no connection within {within:?}"),
                ),
            }),
        }
    }

    /// The version in which agents talk on this connection, of those from `oldest` on.
    fn version(&self, transport: &Transport, oldest: u32) -> Result<u32, ClientError> {
        let ours = Protocols::ours_from(oldest);
        let Some(theirs) = self.theirs else { return Ok(ours.newest) };
        let address = transport.address();
        ours.common(theirs).ok_or(ClientError::ProtocolVersion { address, ours, theirs })
    }

    /// Asks for the version, so that trouble on the way is told apart from trouble with a request. A server that
    /// does not trust this side's certificate says so only after TLS 1.3's handshake is done here, and a program
    /// that cannot connect says so only by ending.
    async fn probe(&mut self, transport: &Transport) -> Result<(), ClientError> {
        let request = Request::get(format!("{}/version", api::BASE))
            .header(hyper::header::HOST, transport.host())
            .body(nothing())
            .expect("a constant path makes a request");
        let probing = async {
            let response = self.sender.send_request(request).await?;
            Ok::<_, hyper::Error>(response.into_body().collect().await?.to_bytes())
        };
        let error = match probing.await {
            Ok(body) => {
                // What else answers is found out by the request itself.
                self.theirs =
                    serde_json::from_slice::<Version>(&body).ok().map(|version| version.protocols());
                return Ok(());
            }
            Err(error) => error,
        };
        let address = transport.address();
        if let Some(said) = &self.said {
            // Its last words come after its output has closed; without them the error says less, so wait a little.
            if timeout(SSH_EXIT_WITHIN, said.complete()).await.is_err() {
                tracing::debug!("a program closed its output and did not end");
            }
            return Err(ClientError::Ssh { ssh_host: address, said: said.text() });
        }
        if error.is_parse() {
            return Err(not_http(address, error));
        }
        Err(ClientError::Tls { address, source: Distrust::explain(alert(error)) })
    }

    /// Waits until the connection can take a request. An error means that it is closed and nothing was sent.
    async fn ready(&mut self) -> Result<(), hyper::Error> {
        self.sender.ready().await
    }

    /// Sends a request on a connection that is ready; between agents in a version that both speak.
    async fn send(
        &mut self,
        transport: &Transport,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, ClientError> {
        let oldest = request.extensions().get::<Speaks>().map_or(Protocols::OURS.oldest, |speaks| speaks.0);
        if let Some(spoken) = request.headers_mut().get_mut(PROTOCOL_HEADER) {
            *spoken = HeaderValue::from(self.version(transport, oldest)?);
        }
        self.sender.try_send_request(request).await.map_err(|mut error| {
            // A request that never left comes back with the error.
            let sent = error.take_message().is_none();
            let source = error.into_error();
            let address = transport.address();
            if source.is_parse() {
                not_http(address, source)
            } else {
                ClientError::Io { address, sent, source }
            }
        })
    }
}

fn not_http(address: String, source: hyper::Error) -> ClientError {
    ClientError::Protocol { address, source: ProtocolError::NotHttp { source } }
}

/// The TLS alert inside an I/O error inside hyper's error; without one, hyper's error.
fn alert(error: hyper::Error) -> std::io::Error {
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        let io = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(tls) = io.and_then(|io| io.downcast_ref::<rustls::Error>()) {
            return std::io::Error::new(std::io::ErrorKind::InvalidData, tls.clone());
        }
        source = inner.source();
    }
    std::io::Error::other(error)
}

/// The connection that is kept open while nobody uses it. A request takes it out and puts it back once the whole
/// answer is read, so requests never wait for each other: a second one at the same time opens its own.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Connection>>>);

impl Kept {
    /// The kept connection, if it is there and still open.
    async fn take(&self) -> Option<Connection> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        match timeout(READY_WITHIN, connection.ready()).await {
            Ok(Ok(())) => Some(connection),
            Ok(Err(_)) | Err(_) => {
                tracing::debug!("the kept connection was closed");
                None
            }
        }
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(crate) fn put_back(&self, connection: Connection) {
        if !connection.sender.is_closed() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        }
    }

    /// Makes sure that a connection is open.
    pub(crate) async fn connect(&self, transport: &Transport) -> Result<(), ClientError> {
        let connection = match self.take().await {
            Some(connection) => connection,
            None => Connection::open(transport).await?,
        };
        self.put_back(connection);
        Ok(())
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        transport: &Transport,
        request: Request<Body>,
        within: Duration,
    ) -> Result<(Connection, Response<Incoming>), ClientError> {
        let repeatable = request.method() == hyper::Method::GET;
        let label = format!("{} {}", request.method(), request.uri());
        let timed_out =
            || ClientError::TimedOut { address: transport.address(), request: label.clone(), after: within };
        if let Some(mut connection) = self.take().await {
            let again = repeatable.then(|| again(&request));
            let answer = timeout(within, connection.send(transport, request)).await;
            match (answer.map_err(|_elapsed| timed_out())?, again) {
                (Ok(response), _) => return Ok((connection, response)),
                (Err(error), None) => return Err(error),
                (Err(error), Some(request)) => {
                    tracing::debug!(%error, "the kept connection was dead; asking again on a new one");
                    return self.send_anew(transport, request, within, timed_out).await;
                }
            }
        }
        self.send_anew(transport, request, within, timed_out).await
    }

    async fn send_anew(
        &self,
        transport: &Transport,
        request: Request<Body>,
        within: Duration,
        timed_out: impl Fn() -> ClientError,
    ) -> Result<(Connection, Response<Incoming>), ClientError> {
        let mut connection = Connection::open(transport).await?;
        let answer = timeout(within, connection.send(transport, request)).await;
        let response = answer.map_err(|_elapsed| timed_out())??;
        Ok((connection, response))
    }
}
