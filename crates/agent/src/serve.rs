//! The agent as a process: opens everything, takes up what an earlier agent left, serves until it is told to stop. QEMU
//! processes outlive it. Main function: [`run`].

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::{Extension, Router};
use client::tls;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use network::Network;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::autostart;
use crate::bridges::Bridges;
use crate::config::Config;
use crate::failure::chain;
use crate::http;
use crate::http::asker::Asker;
use crate::http::router;
use crate::join::keep::keep_up;
use crate::limits::{HANDSHAKE_TIMEOUT, STRANGER_TIMEOUT, STRANGERS_MAX};
use crate::neighbour::Neighbours;
use crate::node::Node;
use crate::pools::Pools;
use crate::preflight;
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
    let _lock = lock(&config)?;
    // Before everything that could fail: without it this host may have no address that anything could be served on.
    let bridges = Bridges::new(store.clone(), network.clone());
    bridges.recover().await;
    let served = take_up_and_serve(config, store, network, bridges.clone(), shutdown).await;
    if served.is_err() {
        bridges.give_up().await;
    }
    Ok(served?)
}

async fn take_up_and_serve(
    config: Config,
    store: Store,
    network: Network,
    bridges: Bridges,
    shutdown: CancellationToken,
) -> Result<(), Fault> {
    let neighbours = Neighbours::open(&config)?;
    if let Err(error) = neighbours.take_up() {
        // A new one can be got only by an agent that runs.
        tracing::error!("no other host reaches this one: {}; `ferry doctor` says more", chain(&error));
    }
    let others = match neighbours.listen().filter(|_| neighbours.server().is_some()) {
        Some(address) => match bind(address).await {
            Ok(listener) => {
                neighbours.opened(address);
                Some(listener)
            }
            Err(fault) if neighbours.listen_is_configured() => return Err(fault),
            Err(fault) => {
                // The host was given another one, most likely; nobody wrote this one into its configuration.
                tracing::error!(
                    "no other host reaches this one: {}; set `listen` in its configuration",
                    chain(&fault)
                );
                None
            }
        },
        None => {
            tracing::info!("no other host reaches this one: it has no certificate or no address for them");
            None
        }
    };
    let metrics = match config.metrics_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    // The last to be bound: who finds it may use all the others.
    let local = listen_local(&config)?;
    let socket = config.socket.clone();
    let pools = Pools::load(&store)?;
    tokio::spawn(preflight::sweep(store.clone(), store.checks()?));
    let node = Node::new(config, store, network, bridges, neighbours, pools);
    recovery::recover(&node).await?;
    // The first migration is not to wait for what can be asked now; an answer that fails is asked for again then.
    let warm = Arc::clone(&node);
    tokio::spawn(async move {
        if let Err(failure) = warm.capabilities(warm.default_emulator()).await {
            tracing::warn!("QEMU was not asked what it can do: {}", failure.chain());
        }
    });
    tokio::spawn(autostart::start_domains(Arc::clone(&node)));
    tokio::spawn(keep_up(Arc::clone(&node)));
    tracing::info!(host = node.config.host, socket = %socket.display(), "the agent is ready");

    let router = router(Arc::clone(&node));
    let serving = async {
        tokio::join!(
            serve_local(local, router.clone()),
            async {
                if let Some(listener) = others {
                    serve_agents(listener, Arc::clone(&node)).await;
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

/// Who holds the lock beside the socket is the one agent of these directories.
fn lock(config: &Config) -> Result<File, Fault> {
    let socket = &config.socket;
    let fault = |source| Fault::Listen { address: socket.display().to_string(), source };
    let lock =
        File::options().create(true).append(true).open(socket.with_extension("lock")).map_err(fault)?;
    // A POSIX lock (fcntl(2), F_SETLK) is of the process and not of the file descriptor: a child of an agent that was
    // killed has its sockets until it executes QEMU, and never has this.
    match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => Err(Fault::AlreadyRuns { socket: socket.clone() }),
        Err(error) => Err(fault(error.into())),
        Ok(()) => Ok(lock),
    }
}

/// Takes the agent's socket, which is free for whoever holds the lock.
fn listen_local(config: &Config) -> Result<UnixListener, Fault> {
    let socket = &config.socket;
    let fault = |source| Fault::Listen { address: socket.display().to_string(), source };
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket).map_err(fault)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok(listener)
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

/// Serves other hosts as long as the agent runs. Each handshake has a task of its own, so that a slow one holds nobody up.
pub(crate) async fn serve_agents(listener: TcpListener, node: Arc<Node>) {
    let router = router(Arc::clone(&node));
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // The certificates may have changed since the last one.
                let Some(tls) = node.neighbours.server() else { continue };
                let revoked = node.neighbours.revoked();
                let (router, strangers) = (router.clone(), Arc::clone(&strangers));
                tokio::spawn(async move {
                    _ = stream.set_nodelay(true);
                    match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(stream)).await {
                        Ok(Ok(stream)) => serve_agent(stream, from, router, revoked, &strangers).await,
                        Ok(Err(error)) => tracing::warn!(%from, "no TLS: {error}"),
                        Err(_elapsed) => tracing::warn!(%from, "no TLS within {HANDSHAKE_TIMEOUT:?}"),
                    }
                });
            }
            Err(error) => refused(&error).await,
        }
    }
}

/// Serves a host until it goes, or is removed; one without a certificate for a short time only, and few of those.
async fn serve_agent(
    stream: TlsStream<TcpStream>,
    from: SocketAddr,
    router: Router,
    mut revoked: watch::Receiver<BTreeSet<String>>,
    strangers: &Semaphore,
) {
    let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else {
        match strangers.try_acquire() {
            Ok(_place) => {
                if timeout(STRANGER_TIMEOUT, serve(stream, router, Asker::Stranger)).await.is_err() {
                    tracing::info!(%from, "a host without a certificate stayed too long");
                }
            }
            Err(_full) => tracing::warn!(%from, "too many hosts without a certificate at once"),
        }
        return;
    };
    let (names, serial) = (tls::names(certificate), tls::serial(certificate));
    tokio::select! {
        () = serve(stream, router, Asker::Agent(names.clone().into())) => {}
        _ = revoked.wait_for(|revoked| revoked.contains(&serial)) => {
            tracing::info!(%from, ?names, "a connection was ended: the host's certificate is revoked");
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
