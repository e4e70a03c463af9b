//! The agent as a process: opens everything, takes up what an earlier agent left, serves until it is told to stop. QEMU
//! processes outlive it. Main function: [`run`].

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use network::Network;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::autostart;
use crate::config::Config;
use crate::http;
use crate::http::asker::Asker;
use crate::http::router;
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::neighbour::{Identity, IdentityError, Neighbours};
use crate::node::Node;
use crate::recovery;
use crate::store::{Store, StoreError};

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RunError(#[from] Fault);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the agent's directories cannot be used")]
    Store(#[from] StoreError),
    #[error("the domains of this host cannot be taken up")]
    Recovery(#[from] recovery::RecoveryError),
    #[error("the network cannot be talked to")]
    Network(#[from] network::NetworkError),
    #[error("this host's identity cannot be used")]
    Identity(#[from] IdentityError),
    #[error("cannot listen on {address}")]
    Listen {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("another agent answers on {socket}")]
    AlreadyRuns { socket: PathBuf },
}

/// Runs the agent until `shutdown` is cancelled.
///
/// # Errors
/// [`RunError`] where a directory, a certificate or an address cannot be used.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    end_on_panic();
    let store = Store::open(&config).map_err(Fault::from)?;
    let network = Network::connect().map_err(Fault::from)?;
    let identity = match config.listen {
        Some(_) => Some(Identity::load(&config).map_err(Fault::from)?),
        None => None,
    };
    let to_others = identity.as_ref().map(Identity::client).transpose().map_err(Fault::from)?;
    let neighbours = Neighbours::new(&config, to_others);
    let (local, _lock) = listen_local(&config)?;
    let others = match (config.listen, &identity) {
        (Some(address), Some(identity)) => {
            let listener = bind(address).await?;
            Some((listener, TlsAcceptor::from(identity.server().map_err(Fault::from)?)))
        }
        (Some(_) | None, _) => None,
    };
    let metrics = match config.metrics_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let socket = config.socket.clone();
    let node = Node::new(config, store, network, neighbours);
    recovery::recover(&node).await.map_err(Fault::from)?;
    // The first migration is not to wait for what can be asked now; an answer that fails is asked for again then.
    let warm = Arc::clone(&node);
    tokio::spawn(async move {
        if let Err(failure) = warm.capabilities(warm.default_emulator()).await {
            tracing::warn!("QEMU was not asked what it can do: {}", failure.chain());
        }
    });
    tokio::spawn(autostart::start_domains(Arc::clone(&node)));
    tracing::info!(host = node.config.host, socket = %socket.display(), "the agent is ready");

    let router = router(Arc::clone(&node));
    let serving = async {
        tokio::join!(
            serve_local(local, router.clone()),
            async {
                if let Some((listener, tls)) = others {
                    serve_agents(listener, tls, router).await;
                }
            },
            async {
                if let Some(listener) = metrics {
                    serve_metrics(listener, http::metrics::alone(Arc::clone(&node))).await;
                }
            },
        )
    };
    tokio::select! {
        _ = serving => {}
        () = shutdown.cancelled() => tracing::info!("the agent stops; domains go on"),
    }
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::debug!("the socket was gone already: {error}");
    }
    Ok(())
}

/// A broken invariant ends the whole agent, not one task of it: the next agent takes everything up from the journals,
/// and no guest is touched.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Takes the agent's socket. Who holds the lock beside it is the one agent of these directories.
fn listen_local(config: &Config) -> Result<(UnixListener, File), Fault> {
    let socket = &config.socket;
    let fault = |source| Fault::Listen { address: socket.display().to_string(), source };
    let lock =
        File::options().create(true).append(true).open(socket.with_extension("lock")).map_err(fault)?;
    // A POSIX lock (fcntl(2), F_SETLK) is of the process and not of the file descriptor: a child of an agent that was
    // killed has its sockets until it executes QEMU, and never has this.
    match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => return Err(Fault::AlreadyRuns { socket: socket.clone() }),
        Err(error) => return Err(fault(error.into())),
        Ok(()) => {}
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket).map_err(fault)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok((listener, lock))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Fault> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Fault::Listen { address: address.to_string(), source })
}

async fn serve_metrics(listener: TcpListener, router: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                tracing::trace!(%from, "metrics");
                tokio::spawn(serve(stream, router.clone(), Asker::Agent(Arc::default())));
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn serve_local(listener: UnixListener, router: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, router.clone(), Asker::Local));
            }
            Err(error) => refused(&error).await,
        }
    }
}

/// Each handshake has a task of its own, so that a slow one holds nobody up.
async fn serve_agents(listener: TcpListener, tls: TlsAcceptor, router: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let (tls, router) = (tls.clone(), router.clone());
                tokio::spawn(async move {
                    _ = stream.set_nodelay(true);
                    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                            let names = certificates.first().map(client::tls::names).unwrap_or_default();
                            serve(stream, router, Asker::Agent(names.into())).await;
                        }
                        Ok(Err(error)) => tracing::warn!(%from, "no TLS: {error}"),
                        Err(_elapsed) => tracing::warn!(%from, "no TLS within {HANDSHAKE_TIMEOUT:?}"),
                    }
                });
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn refused(error: &std::io::Error) {
    tracing::error!("a connection was not accepted: {error}");
    // Out of file descriptors, most likely: others must end first.
    tokio::time::sleep(HANDSHAKE_TIMEOUT / 10).await;
}

async fn serve<S>(stream: S, router: Router, asker: Asker)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.layer(Extension(asker)));
    let serving = auto::Builder::new(TokioExecutor::new()).http1_only();
    if let Err(error) = serving.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!("a connection ended: {error}");
    }
}
