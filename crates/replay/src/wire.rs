//! Events on their way to a replica: each a payload that begins with a 0.

use std::io;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::packet::PacketWriter;

/// Sends events, and keeps account of where the replica believes to be.
#[derive(Debug)]
pub(crate) struct EventWire<'a, W> {
    packets: &'a mut PacketWriter<W>,
    /// When an event was last begun.
    pub(crate) last_begun: Instant,
    /// The position that the replica counts: where the last made-up ROTATE said that it is, and what it got since.
    pub(crate) position: u64,
    /// Bytes of all events.
    pub(crate) bytes: u64,
}

impl<'a, W: AsyncWrite + Unpin> EventWire<'a, W> {
    pub(crate) fn new(packets: &'a mut PacketWriter<W>) -> Self {
        Self { packets, last_begun: Instant::now(), position: 0, bytes: 0 }
    }

    /// Begins an event of the log; its bytes follow by [`Self::put`].
    pub(crate) async fn begin(&mut self, size: u32) -> io::Result<()> {
        self.position += u64::from(size);
        self.begin_uncounted(u64::from(size)).await
    }

    async fn begin_uncounted(&mut self, size: u64) -> io::Result<()> {
        self.last_begun = Instant::now();
        self.packets.begin(size + 1).await?;
        self.packets.put(&[0]).await
    }

    /// More bytes of the event that was begun.
    pub(crate) async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.packets.put(bytes).await
    }

    /// Sends a whole event of the log.
    pub(crate) async fn send(&mut self, event: &[u8]) -> io::Result<()> {
        self.position += event.len() as u64;
        self.send_made_up(event).await
    }

    /// Sends a whole event that moves no position: a made-up ROTATE or a heartbeat.
    pub(crate) async fn send_made_up(&mut self, event: &[u8]) -> io::Result<()> {
        self.begin_uncounted(event.len() as u64).await?;
        self.put(event).await
    }

    /// Whether bytes of a begun event are still to come.
    pub(crate) fn is_within_event(&self) -> bool {
        self.packets.is_within_payload()
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.packets.flush().await
    }
}
