//! A dump on its way into the archive: its header is read in passing, and so is its last line.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;

/// The header is looked for in so many bytes; a GTID set can be long.
const HEADER_MAX: usize = 64 << 20;
/// The position stands behind the GTID set, so it ends the header.
const HEADER_END: &[u8] = b"SOURCE_LOG_POS=";
/// A position's digits and what follows them.
const AFTER_HEADER_END: usize = 24;
/// What the last line must say.
const COMPLETE: &[u8] = b"-- Dump completed";
/// Bytes of the end that are kept: the last line and more.
const END_KEPT: usize = 128;

/// What a dump says about itself at its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DumpHeader {
    /// The executed set; absent when the server has no GTIDs.
    pub(super) executed: Option<String>,
    /// Binlog and offset.
    pub(super) position: Option<(String, u64)>,
}

impl DumpHeader {
    /// Reads a dump's first lines. `None` while they are not all there.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = find(text, HEADER_END)?;
        let rest = &text[end + HEADER_END.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == rest.len() {
            return None;
        }
        let head = String::from_utf8_lossy(&text[..end]);
        let position = String::from_utf8_lossy(&rest[..digits]).parse().ok();
        let name = between(&head, "SOURCE_LOG_FILE='", "'");
        let executed = between(&head, "GTID_PURGED='+", "'").or_else(|| between(&head, "GTID_PURGED='", "'"));
        Some(Self {
            executed: executed.map(|set| set.chars().filter(|c| !c.is_whitespace()).collect()),
            position: name.map(str::to_owned).zip(position),
        })
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let begin = text.find(before)? + before.len();
    let length = text[begin..].find(after)?;
    Some(&text[begin..begin + length])
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    text.windows(words.len()).position(|window| window == words)
}

/// The last bytes of a dump.
#[derive(Debug, Default)]
pub(super) struct DumpEnd(Vec<u8>);

impl DumpEnd {
    /// Whether the dump says that it is all there.
    pub(super) fn is_complete(&self) -> bool {
        let last_line = self.0.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        last_line.starts_with(COMPLETE)
    }

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(END_KEPT)..]);
        let surplus = self.0.len().saturating_sub(END_KEPT);
        self.0.drain(..surplus);
    }
}

/// Passes a dump on, and sends its header as soon as it has come by.
pub(super) struct DumpStream<R> {
    inner: R,
    header: Option<(oneshot::Sender<DumpHeader>, Vec<u8>)>,
    end: Arc<Mutex<DumpEnd>>,
    read: Arc<AtomicU64>,
}

impl<R> DumpStream<R> {
    /// A stream, and its end for later.
    pub(super) fn new(
        inner: R,
        header: oneshot::Sender<DumpHeader>,
        read: Arc<AtomicU64>,
    ) -> (Self, Arc<Mutex<DumpEnd>>) {
        let end = Arc::default();
        (Self { inner, header: Some((header, Vec::new())), end: Arc::clone(&end), read }, end)
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Ok(mut end) = self.end.lock() {
            end.push(bytes);
        }
        let Some((sender, mut seen)) = self.header.take() else { return };
        // Words cut by the last read are found by looking at its end again.
        let from = seen.len().saturating_sub(HEADER_END.len() + AFTER_HEADER_END);
        seen.extend_from_slice(bytes);
        let found = find(&seen[from..], HEADER_END).and_then(|_| DumpHeader::parse(&seen));
        match found {
            // Nobody listens any more: the wait was given up, and the dump with it.
            Some(header) => drop(sender.send(header)),
            None if seen.len() > HEADER_MAX => drop(sender),
            None => self.header = Some((sender, seen)),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for DumpStream<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        if matches!(result, Poll::Ready(Ok(()))) {
            let fresh = buffer.filled()[before..].to_vec();
            self.pass(&fresh);
            if fresh.is_empty() {
                // The end: whoever waits for the header waits no longer.
                self.header = None;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt as _;
    use tokio::sync::oneshot;

    use super::{DumpHeader, DumpStream};

    const DUMP: &str = "-- MySQL dump\n/* SET @@GLOBAL.GTID_PURGED='+3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7,\n\
                        77d0c2e1-71ca-11e1-9e33-c80aa9429562:1-3';*/\n\
                        -- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000042', SOURCE_LOG_POS=5282;\n\
                        INSERT INTO t VALUES ('SOURCE_LOG_POS=9');\n-- Dump completed\n";

    async fn pass(text: &str) -> (Option<DumpHeader>, bool) {
        let (sender, header) = oneshot::channel();
        let (mut stream, end) = DumpStream::new(tokio_test_pieces(text), sender, Arc::default());
        let mut passed = String::new();
        stream.read_to_string(&mut passed).await.unwrap();
        assert_eq!(passed, text);
        let complete = end.lock().unwrap().is_complete();
        (header.await.ok(), complete)
    }

    /// One byte at a time: words are cut everywhere.
    fn tokio_test_pieces(text: &str) -> impl tokio::io::AsyncRead + Unpin + use<> {
        let bytes: Vec<Result<bytes::Bytes, std::io::Error>> =
            text.bytes().map(|byte| Ok(bytes::Bytes::copy_from_slice(&[byte]))).collect();
        tokio_util::io::StreamReader::new(futures::stream::iter(bytes))
    }

    #[tokio::test]
    async fn set_and_position_are_read_in_passing() {
        let (header, complete) = pass(DUMP).await;
        let expected = DumpHeader {
            executed: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7,77d0c2e1-71ca-11e1-9e33-c80aa9429562:1-3".into()),
            position: Some(("binlog.000042".into(), 5282)),
        };
        assert_eq!((header, complete), (Some(expected), true));
    }

    #[tokio::test]
    async fn a_dump_that_was_cut_is_not_complete() {
        assert!(!pass(&DUMP[..DUMP.len() - 6]).await.1);
        assert_eq!(pass("-- MySQL dump\n").await, (None, false));
    }
}
