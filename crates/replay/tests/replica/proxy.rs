//! A connection that breaks: bytes pass from a replica to our source and back until a limit, then both ends are closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Breaks each of the first connections after so many bytes.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    broken: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(to: u16, limits: Vec<usize>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let broken = Arc::new(AtomicUsize::new(0));
        let mut task = JoinSet::new();
        let counter = Arc::clone(&broken);
        task.spawn(async move {
            let mut limits = limits.into_iter();
            while let Ok((replica, _)) = listener.accept().await {
                let limit = limits.next();
                // An error is what a broken connection is.
                let _ = pass(replica, to, limit.unwrap_or(usize::MAX)).await;
                counter.fetch_add(usize::from(limit.is_some()), Ordering::Relaxed);
            }
        });
        Ok(Self { port, broken, _task: task })
    }

    /// How many connections were broken.
    pub(crate) fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }
}

async fn pass(mut replica: TcpStream, to: u16, limit: usize) -> io::Result<()> {
    let mut source = TcpStream::connect(("127.0.0.1", to)).await?;
    let (mut up, mut down, mut passed) = (vec![0; 64 * 1024], vec![0; 64 * 1024], 0);
    while passed < limit {
        tokio::select! {
            count = replica.read(&mut up) => match count? {
                0 => break,
                count => source.write_all(&up[..count]).await?,
            },
            count = source.read(&mut down) => match count? {
                0 => break,
                count => {
                    replica.write_all(&down[..count.min(limit - passed)]).await?;
                    passed += count;
                }
            },
        }
    }
    Ok(())
}
