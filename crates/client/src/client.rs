//! The client itself: makes requests, reads answers, turns problems into errors. It decides nothing and repeats
//! nothing that could change something. Main type: [`Client`]; its endpoints are in `domains`, `migrations` and
//! `handover`.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::Protocols;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::connection::{Body, Kept, Speaks};
use crate::limits::{BODY_BYTES_MAX, REQUEST_WITHIN, SSH_ALIVE};
use crate::transport::Transport;
use crate::{ClientError, ProtocolError};

/// An agent to talk to. Clones share one kept connection; requests at the same time open their own. Needs a
/// tokio runtime.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    kept: Kept,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.transport.address()).finish_non_exhaustive()
    }
}

/// What a request needs besides method and path.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<&'a dyn ErasedBody>,
    pub(crate) within: Duration,
    /// Whether this is one agent speaking to another.
    pub(crate) agents: bool,
    /// The first version of the agents' conversation in which it is understood.
    pub(crate) oldest: u32,
    /// Longest body of the reply, in bytes.
    pub(crate) body_bytes_max: usize,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            within: REQUEST_WITHIN,
            agents: false,
            oldest: Protocols::OURS.oldest,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self { method: Method::PUT, ..Self::get(path) }
    }

    pub(crate) fn body(self, body: &'a dyn ErasedBody) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    pub(crate) fn body_max(self, body_bytes_max: usize) -> Self {
        Self { body_bytes_max, ..self }
    }

    pub(crate) fn between_agents(self) -> Self {
        Self { agents: true, ..self }
    }

    /// It is understood from this version of the agents' conversation on.
    pub(crate) fn since(self, oldest: u32) -> Self {
        Self { oldest, ..self }
    }
}

/// A value that can be a JSON body.
pub(crate) trait ErasedBody: Send + Sync {
    fn json(&self) -> Vec<u8>;
}

impl<T: Serialize + Send + Sync> ErasedBody for T {
    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("API types have string keys and no fallible serializer")
    }
}

impl Client {
    /// The agent at a local socket.
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::over(Transport::Unix(path.as_ref().to_owned()))
    }

    /// The agent at `address`, as in `10.0.0.2:7180`, whose certificate carries `server_name`. The configuration
    /// comes from [`crate::tls::client_config`].
    ///
    /// # Errors
    ///
    /// [`ClientError::ServerName`] when the name cannot stand in a certificate.
    pub fn tls(
        address: impl Into<String>,
        server_name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<Self, ClientError> {
        let server_name = ServerName::try_from(server_name.to_owned())
            .map_err(|source| ClientError::ServerName { name: server_name.to_owned(), source })?;
        Ok(Self::over(Transport::Tls { address: address.into(), server_name, config }))
    }

    /// The agent of the host that `ssh` reaches as `ssh_host`: a name of `ssh_config`, `user@host` or
    /// `ssh://user@host:port`. `ferry` must be in the path of a login there. The user's keys, agents, jump hosts
    /// and password prompts all work, since it is the system's `ssh` that runs.
    #[must_use]
    pub fn ssh(ssh_host: impl Into<String>) -> Self {
        Self::ssh_to_socket(ssh_host, None)
    }

    /// As [`Client::ssh`], with the path of the agent's socket there.
    #[must_use]
    pub fn ssh_to_socket(ssh_host: impl Into<String>, socket: Option<&str>) -> Self {
        let ssh_host = ssh_host.into();
        // A shared master would outlive this process and keep its standard error open.
        let mut arguments: Vec<OsString> =
            ["-T", "-o", "ControlMaster=no", "-o", SSH_ALIVE, "--", &ssh_host, "ferry"]
                .map(OsString::from)
                .to_vec();
        if let Some(socket) = socket {
            // ssh joins its arguments and a shell at the other end takes them apart again.
            let quoted = format!("'{}'", socket.replace('\'', r"'\''"));
            arguments.extend([OsString::from("--socket"), OsString::from(quoted)]);
        }
        arguments.push(OsString::from("dial-stdio"));
        Self::program(ssh_host, "ssh", arguments)
    }

    /// The agent that answers on the standard streams of a program; `ssh_host` is for messages. The program is
    /// killed when the connection is dropped.
    #[must_use]
    pub fn program(
        ssh_host: impl Into<String>,
        program: impl Into<OsString>,
        arguments: Vec<OsString>,
    ) -> Self {
        Self::over(Transport::Program { ssh_host: ssh_host.into(), program: program.into(), arguments })
    }

    fn over(transport: Transport) -> Self {
        Self { transport: Arc::new(transport), kept: Kept::default() }
    }

    /// Where the agent is, as a person would write it.
    #[must_use]
    pub fn address(&self) -> String {
        self.transport.address()
    }

    /// Opens the connection that the next request uses, unless it is open. Over TLS and ssh this asks for the
    /// version once, so that it succeeds only when an agent has answered.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`], [`ClientError::Tls`] or [`ClientError::Ssh`].
    pub async fn connect(&self) -> Result<(), ClientError> {
        self.kept.connect(&self.transport).await
    }

    /// A request whose answer is JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let request = self.request(&call);
        self.json_of(call, request).await
    }

    async fn json_of<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        request: Request<Body>,
    ) -> Result<T, ClientError> {
        let label = label(&call);
        let body = self.answer(call, request).await?;
        serde_json::from_slice(&body)
            .map_err(|source| self.protocol(ProtocolError::Body { request: label, source }))
    }

    /// A request whose answer is text.
    pub(crate) async fn text(&self, call: Call<'_>) -> Result<String, ClientError> {
        let label = label(&call);
        let body = self.bytes(call).await?;
        String::from_utf8(body.into())
            .map_err(|source| self.protocol(ProtocolError::Utf8 { request: label, source }))
    }

    /// A request whose answer says nothing more.
    pub(crate) async fn done(&self, call: Call<'_>) -> Result<(), ClientError> {
        self.bytes(call).await.map(drop)
    }

    /// A request that carries bytes as they come, and whose answer is JSON.
    pub(crate) async fn send_content<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        content: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<T, ClientError> {
        let mut request = self.request(&call);
        let kind = header::HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        *request.body_mut() = StreamBody::new(content.map_ok(Frame::data)).boxed_unsync();
        self.json_of(call, request).await
    }

    /// A request whose answer is bytes.
    pub(crate) async fn bytes(&self, call: Call<'_>) -> Result<Bytes, ClientError> {
        let request = self.request(&call);
        self.answer(call, request).await
    }

    async fn answer(&self, call: Call<'_>, request: Request<Body>) -> Result<Bytes, ClientError> {
        let label = label(&call);
        let within = call.within;
        let (connection, response) = self.kept.send(&self.transport, request, within).await?;
        if call.agents {
            self.check_version(&response)?;
        }
        let status = response.status();
        let reading = self.read(&label, response, call.body_bytes_max);
        let body = timeout(within, reading).await.map_err(|_elapsed| ClientError::TimedOut {
            address: self.address(),
            request: label.clone(),
            after: within,
        })??;
        self.kept.put_back(connection);
        if status.is_success() { Ok(body) } else { Err(self.refusal(status.as_u16(), &body)) }
    }

    /// A request whose answer does not end; it gets a connection of its own, closed with the answer.
    pub(crate) async fn stream(
        &self,
        call: Call<'_>,
    ) -> Result<(crate::connection::Connection, Incoming), ClientError> {
        let label = label(&call);
        let (connection, response) =
            self.kept.send(&self.transport, self.request(&call), call.within).await?;
        let status = response.status();
        if status.is_success() {
            return Ok((connection, response.into_body()));
        }
        let body = self.read(&label, response, BODY_BYTES_MAX).await?;
        Err(self.refusal(status.as_u16(), &body))
    }

    /// A request that turns its connection into a WebSocket (RFC 6455, section 4.1).
    pub(crate) async fn upgrade(
        &self,
        call: Call<'_>,
    ) -> Result<(crate::connection::Connection, hyper::upgrade::Upgraded), ClientError> {
        let key = generate_key();
        let accept = derive_accept_key(key.as_bytes());
        let headers = [(header::SEC_WEBSOCKET_VERSION, "13"), (header::SEC_WEBSOCKET_KEY, key.as_str())];
        let (connection, response) = self.switch(call, "websocket", &headers).await?;
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted.as_bytes() != accept.as_bytes()) {
            return Err(self.protocol(ProtocolError::Status { status: response.status().as_u16() }));
        }
        Ok((connection, self.upgraded(response).await?))
    }

    /// A request that turns its connection into one of another protocol, with nothing of HTTP left (RFC 9110, section 7.8).
    pub(crate) async fn turn(
        &self,
        call: Call<'_>,
        protocol: &str,
    ) -> Result<(crate::connection::Connection, hyper::upgrade::Upgraded), ClientError> {
        let (connection, response) = self.switch(call, protocol, &[]).await?;
        Ok((connection, self.upgraded(response).await?))
    }

    async fn switch(
        &self,
        call: Call<'_>,
        protocol: &str,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<(crate::connection::Connection, Response<Incoming>), ClientError> {
        let label = label(&call);
        let mut request = self.request(&call);
        let ours = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, protocol)];
        for (name, value) in ours.iter().chain(headers) {
            let value = (*value).try_into().expect("a key is base64, the rest is constant");
            request.headers_mut().insert(name, value);
        }
        let (connection, response) = self.kept.send(&self.transport, request, call.within).await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = self.read(&label, response, BODY_BYTES_MAX).await?;
            return Err(self.refusal(status.as_u16(), &body));
        }
        Ok((connection, response))
    }

    async fn upgraded(&self, response: Response<Incoming>) -> Result<hyper::upgrade::Upgraded, ClientError> {
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map_err(|source| ClientError::Io { address: self.address(), sent: true, source })
    }

    fn request(&self, call: &Call<'_>) -> Request<Body> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", api::BASE, call.path))
            .header(header::HOST, self.transport.host())
            .header(header::USER_AGENT, concat!("ferry/", env!("CARGO_PKG_VERSION")));
        if call.agents {
            // The connection knows what the other side speaks, and writes it here.
            request = request.header(api::PROTOCOL_HEADER, Protocols::OURS.newest);
            request = request.extension(Speaks(call.oldest));
        }
        let body = match call.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(body.json())
            }
            None => Bytes::new(),
        };
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        request.body(body).expect("paths are percent-encoded and header values are visible ASCII")
    }

    async fn read(
        &self,
        label: &str,
        response: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        let body = body.map_err(|source| {
            self.protocol(ProtocolError::Unreadable { request: label.to_owned(), source })
        })?;
        Ok(body.to_bytes())
    }

    fn check_version(&self, response: &Response<Incoming>) -> Result<(), ClientError> {
        let theirs = response.headers().get(api::PROTOCOL_HEADER);
        let theirs = theirs.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u32>().ok());
        let Some(theirs) = theirs else { return Err(self.protocol(ProtocolError::NoVersion)) };
        let ours = Protocols::OURS;
        if ours.include(theirs) {
            return Ok(());
        }
        let theirs = Protocols { oldest: theirs, newest: theirs };
        Err(ClientError::ProtocolVersion { address: self.address(), ours, theirs })
    }

    fn refusal(&self, status: u16, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(problem) => ClientError::Problem(problem),
            Err(error) => {
                tracing::debug!(%error, status, "a refusal without a problem");
                self.protocol(ProtocolError::Status { status })
            }
        }
    }

    pub(crate) fn protocol(&self, source: ProtocolError) -> ClientError {
        ClientError::Protocol { address: self.address(), source }
    }
}

fn label(call: &Call<'_>) -> String {
    format!("{} {}{}", call.method, api::BASE, call.path)
}

/// One segment of a path, percent-encoded (RFC 3986, section 2.3: everything but unreserved characters).
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn segments() {
        assert_eq!(segment("web-1.a_b~"), "web-1.a_b~");
        assert_eq!(segment("a/b c?%#"), "a%2Fb%20c%3F%25%23");
        assert_eq!(segment("é"), "%C3%A9");
    }
}
