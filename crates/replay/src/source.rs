use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pitr_binlog::GtidSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::batch::Holes;
use crate::connection::Connection;
use crate::cutter::Batch;
use crate::identity::SourceIdentity;
use crate::log::LogOpener;
use crate::progress::{Ledger, SourceProgress};

/// Connections at the same time; more wait. One replica uses one, and a second while the first is being given up.
const CONNECTIONS: usize = 8;

/// How the log is sent.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Transactions to commit empty: their GTIDs, without their changes.
    pub skip: GtidSet,
    /// The longest time without a sign of life while the log is read; a replica may ask for a shorter one.
    pub heartbeat: Duration,
    /// How transactions are put together.
    pub batch: Batch,
    /// The time now, in microseconds since 1970: a replica asks for it to compute its lag.
    pub now_us: i64,
}

impl SourceOptions {
    /// Nothing skipped, a sign of life every ten seconds, each transaction alone.
    #[must_use]
    pub fn new(now_us: i64) -> Self {
        Self { skip: GtidSet::new(), heartbeat: Duration::from_secs(10), batch: Batch::One, now_us }
    }
}

/// Why a source can't be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The log must not be offered to other machines.
    #[error("\"{0}\" is not a loopback address")]
    NotLoopback(SocketAddr),
    /// A source without a password would let anyone in.
    #[error("the password is empty")]
    NoPassword,
    /// No port.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) identity: SourceIdentity,
    pub(crate) opener: Arc<dyn LogOpener>,
    pub(crate) options: SourceOptions,
    pub(crate) ledger: Ledger,
    pub(crate) holes: Holes,
    bound: Instant,
    /// Ends the stream that runs.
    streaming: Mutex<CancellationToken>,
}

impl Shared {
    /// The time as a replica may know it: what it was when the source was made, and what passed since.
    pub(crate) fn now_s(&self) -> i64 {
        let passed = i64::try_from(self.bound.elapsed().as_secs()).unwrap_or(i64::MAX);
        (self.options.now_us / 1_000_000).saturating_add(passed)
    }

    /// Ends the stream that runs, if one does: there is one replica, and it has given that connection up. The new
    /// stream runs until the token that is returned is cancelled, by the next one or by `cancel`.
    pub(crate) fn take_over(&self, cancel: &CancellationToken) -> CancellationToken {
        let mine = cancel.child_token();
        let mut running = self.streaming.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *running, mine.clone()).cancel();
        mine
    }
}

/// A MySQL server as far as a replica can see: it sends a log that was archived, ends exactly where the plan does, and
/// knows no other statement than those with which a replica begins.
pub struct ReplicationSource {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ReplicationSource {
    /// Listens on a loopback address; port 0 takes any free one.
    ///
    /// # Errors
    /// The address is not loopback or not free, or the identity has no password.
    pub async fn bind(
        address: SocketAddr,
        identity: SourceIdentity,
        opener: Arc<dyn LogOpener>,
        options: SourceOptions,
    ) -> Result<Self, BindError> {
        if !address.ip().is_loopback() {
            return Err(BindError::NotLoopback(address));
        }
        if identity.password.expose().is_empty() {
            return Err(BindError::NoPassword);
        }
        let listen = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Shared {
            identity,
            opener,
            options,
            ledger: Ledger::new(),
            holes: Holes::default(),
            bound: Instant::now(),
            streaming: Mutex::new(CancellationToken::new()),
        };
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How far it is, at any time.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<SourceProgress> {
        self.shared.ledger.watch()
    }

    /// What batches hide: while the replica applies them, the caller asks what is due and records it as executed there.
    #[must_use]
    pub fn holes(&self) -> Holes {
        self.shared.holes.clone()
    }

    /// Serves replicas until `cancel`. A replica that lost its connection may come again at any time, also after
    /// the end of the plan was sent: only who runs the source can tell that the replica has applied it all.
    ///
    /// # Errors
    /// No further connection can be accepted.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<SourceProgress> {
        let mut connections = JoinSet::new();
        let mut number = 0;
        let outcome = loop {
            tokio::select! {
                () = cancel.cancelled() => break Ok(()),
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((socket, _)) => {
                        number += 1;
                        self.shared.ledger.change(|progress| progress.connections += 1);
                        connections.spawn(serve(number, Arc::clone(&self.shared), socket, cancel.child_token()));
                    }
                    Err(error) => break Err(error),
                },
            }
        };
        // Streams end by the token; if there was an error, by being dropped.
        if outcome.is_ok() {
            while connections.join_next().await.is_some() {}
        }
        connections.shutdown().await;
        outcome.map(|()| self.shared.ledger.now())
    }
}

impl std::fmt::Debug for ReplicationSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicationSource").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn serve(number: u32, shared: Arc<Shared>, socket: TcpStream, cancel: CancellationToken) {
    // Small answers go at once; the log goes in large pieces anyhow.
    let outcome = match socket.set_nodelay(true) {
        Ok(()) => {
            let (from, to) = socket.into_split();
            tokio::select! {
                outcome = Connection::new(number, shared, from, to).serve(&cancel) => outcome,
                () = cancel.cancelled() => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => debug!(connection = number, "closed"),
        Err(error) => debug!(connection = number, %error, "lost"),
    }
}
