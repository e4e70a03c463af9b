//! How bytes get to an agent: a Unix socket, TLS over TCP, or the standard streams of `ssh`. It opens streams
//! and knows nothing of HTTP. Main type: [`Transport`].

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_rustls::TlsConnector;

use crate::ClientError;
use crate::limits::SSH_STDERR_BYTES_MAX;
use crate::tls::Distrust;

/// Where an agent is and how to get there.
#[derive(Clone)]
pub(crate) enum Transport {
    /// The local socket.
    Unix(PathBuf),
    /// Another host, both sides with certificates.
    Tls { address: String, server_name: ServerName<'static>, config: Arc<rustls::ClientConfig> },
    /// A program whose standard input and output lead to an agent.
    Program { ssh_host: String, program: OsString, arguments: Vec<OsString> },
}

impl Transport {
    /// The address as a person would write it.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tls { address, .. } => address.clone(),
            Self::Program { ssh_host, .. } => ssh_host.clone(),
        }
    }

    /// What goes into the `Host` header.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Unix(_) | Self::Program { .. } => "localhost".to_owned(),
            Self::Tls { server_name, .. } => server_name.to_str().into_owned(),
        }
    }

    /// Opens a new stream. Not bounded in time: the caller does that.
    pub(crate) async fn open(&self) -> Result<Stream, ClientError> {
        let failed = |source| ClientError::Connect { address: self.address(), source };
        match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix).map_err(failed),
            Self::Tls { address, server_name, config } => {
                let tcp = TcpStream::connect(address).await.map_err(failed)?;
                tcp.set_nodelay(true).map_err(failed)?;
                let connector = TlsConnector::from(Arc::clone(config));
                connector
                    .connect(server_name.clone(), tcp)
                    .await
                    .map(|stream| Stream::Tls(Box::new(stream)))
                    .map_err(|source| ClientError::Tls {
                        address: address.clone(),
                        source: Distrust::explain(source),
                    })
            }
            Self::Program { program, arguments, .. } => ProgramStream::spawn(program, arguments)
                .map(|stream| Stream::Program(Box::new(stream)))
                .map_err(failed),
        }
    }
}

/// An open stream to an agent.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Program(Box<ProgramStream>),
}

/// A program's standard input and output as one stream. The program is killed when this is dropped.
pub(crate) struct ProgramStream {
    // Held for `kill_on_drop`.
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    said: Arc<Said>,
}

/// The end of what a program wrote to its standard error.
#[derive(Default)]
pub(crate) struct Said {
    text: Mutex<Vec<u8>>,
    complete: tokio::sync::Notify,
}

impl Said {
    fn add(&self, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend_from_slice(bytes);
        let excess = text.len().saturating_sub(SSH_STDERR_BYTES_MAX);
        text.drain(..excess);
    }

    /// Waits until the program has closed its standard error.
    pub(crate) async fn complete(&self) {
        self.complete.notified().await;
    }

    /// What was kept, without line ends around it.
    pub(crate) fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

impl ProgramStream {
    fn spawn(program: &OsString, arguments: &[OsString]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let closed = || io::Error::other("a standard stream of the program is missing");
        let input = child.stdin.take().ok_or_else(closed)?;
        let output = child.stdout.take().ok_or_else(closed)?;
        let mut errors = child.stderr.take().ok_or_else(closed)?;
        let said = Arc::new(Said::default());
        let kept = Arc::clone(&said);
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = errors.read(&mut buffer).await {
                kept.add(&buffer[..length]);
            }
            kept.complete.notify_one();
        });
        Ok(Self { child, input, output, said })
    }
}

impl Stream {
    /// What the program at the other end writes to its standard error, where there is one.
    pub(crate) fn said(&self) -> Option<Arc<Said>> {
        match self {
            Self::Program(stream) => Some(Arc::clone(&stream.said)),
            Self::Unix(_) | Self::Tls(_) => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Program(stream) => Pin::new(&mut stream.output).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Program(stream) => Pin::new(&mut stream.input).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Program(stream) => Pin::new(&mut stream.input).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Program(stream) => Pin::new(&mut stream.input).poll_shutdown(context),
        }
    }
}

impl Drop for ProgramStream {
    fn drop(&mut self) {
        // tokio reaps a killed child in the background.
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "the program of a connection had ended by itself");
        }
    }
}
