//! Framing: a packet is a length (3 bytes), a sequence number (1 byte) and at most 16 MiB - 1 bytes; a longer payload goes
//! on in further packets, and one whose last packet is full is followed by an empty one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};

/// The most bytes that one packet carries.
const PACKET_LIMIT: usize = 0xff_ffff;
/// Bytes collected before they go to the socket.
const WRITE_BUFFER: usize = 256 * 1024;

/// Reads one packet of at most `limit` bytes; `None` if the peer closed the connection between packets.
///
/// Not cancel safe: a packet may be half read.
pub(crate) async fn read_packet(
    from: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; 4];
    if from.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..]).await?;
    let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
    // A full packet has a continuation, which nothing that a replica sends to us needs.
    if length > limit.min(PACKET_LIMIT - 1) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a packet of {length} bytes")));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some((header[3], payload)))
}

/// Writes payloads as packets, whole or piece by piece, counting sequence numbers.
#[derive(Debug)]
pub(crate) struct PacketWriter<W> {
    out: BufWriter<W>,
    sequence: u8,
    /// Of the payload that was begun.
    left: u64,
    /// Of the packet that was begun.
    left_in_packet: usize,
    /// The packet that was begun is followed by another one in any case.
    full: bool,
}

impl<W: AsyncWrite + Unpin> PacketWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out: BufWriter::with_capacity(WRITE_BUFFER, out), sequence: 0, left: 0, left_in_packet: 0, full: false }
    }

    /// The next packet answers the one with this number.
    pub(crate) fn answer_to(&mut self, sequence: u8) {
        self.sequence = sequence.wrapping_add(1);
    }

    /// Begins a payload of this length; the bytes follow by [`Self::put`].
    pub(crate) async fn begin(&mut self, length: u64) -> io::Result<()> {
        if self.left != 0 {
            return Err(io::Error::other("a payload begins within another"));
        }
        self.left = length;
        self.begin_packet().await
    }

    /// Whether bytes of a begun payload are still to come.
    pub(crate) fn is_within_payload(&self) -> bool {
        self.left != 0
    }

    /// More bytes of the payload that was begun.
    pub(crate) async fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("more bytes than the payload was to have"));
        }
        self.left -= bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.left_in_packet));
            self.out.write_all(now).await?;
            self.left_in_packet -= now.len();
            bytes = later;
            if self.left_in_packet == 0 && self.full {
                // The rest of the payload counts as not yet put for the length of its next packet.
                self.left += bytes.len() as u64;
                self.begin_packet().await?;
                self.left -= bytes.len() as u64;
            }
        }
        Ok(())
    }

    async fn begin_packet(&mut self) -> io::Result<()> {
        let length = PACKET_LIMIT.min(usize::try_from(self.left).unwrap_or(PACKET_LIMIT));
        let [low, middle, high, ..] = length.to_le_bytes();
        self.out.write_all(&[low, middle, high, self.sequence]).await?;
        self.sequence = self.sequence.wrapping_add(1);
        self.left_in_packet = length;
        self.full = length == PACKET_LIMIT;
        Ok(())
    }

    /// A whole payload.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        self.begin(payload.len() as u64).await?;
        self.put(payload).await
    }

    /// Hands everything to the socket.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.out.flush().await
    }

    /// Hands everything to the socket and tells the peer that nothing follows.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.out.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packets' lengths and numbers, and the payload without headers.
    fn unframe(mut bytes: &[u8]) -> (Vec<(usize, u8)>, Vec<u8>) {
        let (mut packets, mut payload) = (Vec::new(), Vec::new());
        while let [low, middle, high, sequence, rest @ ..] = bytes {
            let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
            packets.push((length, *sequence));
            payload.extend_from_slice(&rest[..length]);
            bytes = &rest[length..];
        }
        (packets, payload)
    }

    async fn written(payload: &[u8], pieces: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = PacketWriter::new(&mut out);
        writer.answer_to(254);
        writer.begin(payload.len() as u64).await.unwrap();
        for piece in payload.chunks(pieces) {
            assert!(writer.is_within_payload());
            writer.put(piece).await.unwrap();
        }
        assert!(!writer.is_within_payload());
        writer.flush().await.unwrap();
        out
    }

    #[tokio::test]
    async fn payloads_are_split_at_16_mib() {
        let cases: [(usize, &[usize]); 6] = [
            (0, &[0]),
            (1, &[1]),
            (PACKET_LIMIT - 1, &[PACKET_LIMIT - 1]),
            (PACKET_LIMIT, &[PACKET_LIMIT, 0]),
            (PACKET_LIMIT + 1, &[PACKET_LIMIT, 1]),
            (2 * PACKET_LIMIT, &[PACKET_LIMIT, PACKET_LIMIT, 0]),
        ];
        for (length, lengths) in cases {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            for pieces in [usize::MAX, 5_000_000] {
                let (packets, joined) = unframe(&written(&payload, pieces).await);
                let numbers = [255, 0, 1];
                let expected: Vec<_> = lengths.iter().copied().zip(numbers).collect();
                assert_eq!(packets, expected);
                assert!(joined == payload);
            }
        }
    }

    #[tokio::test]
    async fn a_payload_never_gets_more_than_it_was_to_have() {
        let mut writer = PacketWriter::new(Vec::new());
        writer.begin(3).await.unwrap();
        assert!(writer.put(b"four").await.is_err());
        assert!(writer.begin(1).await.is_err());
        writer.put(b"two").await.unwrap();
    }

    #[tokio::test]
    async fn reads_what_it_writes_and_refuses_what_is_too_long() {
        let bytes = written(b"hello", 2).await;
        assert_eq!(read_packet(&mut &bytes[..], 5).await.unwrap(), Some((255, b"hello".to_vec())));
        assert!(read_packet(&mut &bytes[..], 4).await.is_err());
        assert!(read_packet(&mut &bytes[..7], 5).await.is_err());
        assert_eq!(read_packet(&mut &b""[..], 5).await.unwrap(), None);
    }
}
