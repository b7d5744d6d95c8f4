//! Payloads that come in packets: a length (3 bytes), a number (1 byte) and at most 16 MiB - 1 bytes; one that is full is continued.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most bytes that one packet carries.
const PACKET_LIMIT: usize = 0xff_ffff;
/// Bytes that are read at once.
const READ_BYTES: usize = 128 << 10;

/// Reads payloads piece by piece: memory is one buffer, however long they are.
#[derive(Debug)]
pub(super) struct PacketReader<R> {
    from: R,
    buffer: Vec<u8>,
    /// What of the buffer is not read yet.
    at: usize,
    end: usize,
    /// Of the packet in hand.
    left: usize,
    /// The packet in hand is followed by another one of the same payload.
    full: bool,
    /// The number of the packet in hand.
    number: u8,
    /// How long a peer may say nothing.
    patience: Duration,
}

impl<R: AsyncRead + AsyncWrite + Unpin> PacketReader<R> {
    pub(super) fn new(from: R, patience: Duration) -> Self {
        Self { from, buffer: vec![0; READ_BYTES], at: 0, end: 0, left: 0, full: false, number: 0, patience }
    }

    /// Begins the next payload.
    pub(super) async fn begin(&mut self) -> io::Result<()> {
        let mut header = [0; 4];
        for byte in &mut header {
            if self.at == self.end {
                self.fill().await?;
            }
            *byte = self.buffer[self.at];
            self.at += 1;
        }
        let [low, middle, high, number] = header;
        self.left = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        self.full = self.left == PACKET_LIMIT;
        self.number = number;
        Ok(())
    }

    /// More bytes of the payload that was begun; empty after the last ones.
    pub(super) async fn piece(&mut self) -> io::Result<&[u8]> {
        self.piece_of(usize::MAX).await
    }

    async fn piece_of(&mut self, limit: usize) -> io::Result<&[u8]> {
        if self.left == 0 && self.full {
            self.begin().await?;
        }
        if self.left == 0 || limit == 0 {
            return Ok(&[]);
        }
        if self.at == self.end {
            self.fill().await?;
        }
        let length = self.left.min(self.end - self.at).min(limit);
        let begin = self.at;
        self.at += length;
        self.left -= length;
        Ok(&self.buffer[begin..begin + length])
    }

    /// Fills `bytes` from the payload that was begun.
    pub(super) async fn exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let piece = self.piece_of(bytes.len() - done).await?;
            if piece.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet ends too early"));
            }
            bytes[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        }
        Ok(())
    }

    /// The rest of the payload that was begun, which must not be longer than `limit`.
    pub(super) async fn rest(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.piece().await?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            if bytes.len() + piece.len() > limit {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet is longer than any of its kind"));
            }
            bytes.extend_from_slice(piece);
        }
    }

    /// The number of the packet that answers the one in hand.
    pub(super) fn answer_number(&self) -> u8 {
        self.number.wrapping_add(1)
    }

    /// Whether nothing is left of what was read.
    pub(super) fn is_drained(&self) -> bool {
        self.at == self.end
    }

    /// Sends a payload of less than 16 MiB.
    pub(super) async fn send(&mut self, number: u8, payload: &[u8]) -> io::Result<()> {
        send(&mut self.from, number, payload).await
    }

    async fn fill(&mut self) -> io::Result<()> {
        let read = tokio::time::timeout(self.patience, self.from.read(&mut self.buffer)).await;
        let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("silent for {} s", self.patience.as_secs()));
        match read.map_err(silent)?? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it")),
            count => {
                (self.at, self.end) = (0, count);
                Ok(())
            }
        }
    }
}

/// Sends a payload of less than 16 MiB as one packet.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), number: u8, payload: &[u8]) -> io::Result<()> {
    let [low, middle, high, ..] = payload.len().to_le_bytes();
    to.write_all(&[&[low, middle, high, number], payload].concat()).await?;
    to.flush().await
}

/// Reads one payload of less than `limit` bytes and nothing behind it: before it is known who reads on.
pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    from.read_exact(&mut header).await?;
    let [low, middle, high, number] = header;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    if length > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no MySQL server"));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok((number, payload))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;

    use super::{PACKET_LIMIT, PacketReader, READ_BYTES};

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chunks: Vec<&[u8]> = payload.chunks(PACKET_LIMIT).collect();
        if payload.len().is_multiple_of(PACKET_LIMIT) {
            chunks.push(&[]);
        }
        for (number, chunk) in chunks.iter().enumerate() {
            let [low, middle, high, ..] = chunk.len().to_le_bytes();
            bytes.extend([low, middle, high, u8::try_from(number).unwrap()]);
            bytes.extend_from_slice(chunk);
        }
        bytes
    }

    #[tokio::test]
    async fn long_payloads_are_put_together_in_one_buffer() {
        for length in [0, 1, PACKET_LIMIT - 1, PACKET_LIMIT, PACKET_LIMIT + 1, 2 * PACKET_LIMIT] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let bytes = [framed(&payload), framed(b"next")].concat();
            let (mut ours, theirs) = tokio::io::duplex(1 << 20);
            let sends = async {
                ours.write_all(&bytes).await.unwrap();
                ours.shutdown().await.unwrap();
            };
            let reads = async {
                let mut reader = PacketReader::new(theirs, Duration::from_secs(30));
                reader.begin().await.unwrap();
                let mut joined = Vec::new();
                loop {
                    let piece = reader.piece().await.unwrap();
                    assert!(piece.len() <= READ_BYTES);
                    if piece.is_empty() {
                        break;
                    }
                    joined.extend_from_slice(piece);
                }
                assert!(joined == payload, "{length}");
                reader.begin().await.unwrap();
                let mut next = [0; 3];
                reader.exact(&mut next).await.unwrap();
                assert_eq!((&next, reader.rest(1).await.unwrap()), (b"nex", b"t".to_vec()));
                assert!(reader.is_drained());
                assert_eq!(reader.begin().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
            };
            tokio::join!(sends, reads);
        }
    }

    #[tokio::test]
    async fn a_silent_peer_is_given_up() {
        let (_ours, theirs) = tokio::io::duplex(64);
        let mut reader = PacketReader::new(theirs, Duration::from_millis(10));
        assert_eq!(reader.begin().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    }
}
