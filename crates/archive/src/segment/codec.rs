//! Compression of segments and chunks.

use std::io::Cursor;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, DParameter, compress_bound};

/// The largest zstd window that readers accept, and the largest that the `zstd` program takes unasked.
pub(crate) const WINDOW_LOG_MAX: u32 = 27;
/// Below this a window saves no memory worth having.
const WINDOW_LOG_MIN: u32 = 10;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd's largest block.
const BLOCK_BYTES_MAX: usize = 128 << 10;

/// How content is compressed. May change at any time: each object says what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// zstd; what does not shrink is stored by zstd as it is.
    Zstd {
        /// The level, 1 to 22.
        level: i32,
        /// The window, at most [`WINDOW_LOG_MAX`].
        window_log: u32,
    },
    /// A zstd frame of raw blocks: any zstd reads it, and nothing is spent on writing it.
    None,
}

impl Default for Codec {
    /// Level 1 with a 16 MiB window: the figures are in faults.md §3.
    fn default() -> Self {
        Self::Zstd { level: 1, window_log: 24 }
    }
}

/// zstd could not compress or decompress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The compressed bytes are not valid, or hold more than they should.
    #[error("the compressed bytes cannot be decoded: {0}")]
    Decode(String),
    /// zstd refuses the parameters, or there is no memory.
    #[error("compressing failed: {0}")]
    Encode(String),
}

impl Codec {
    /// The same codec with a window no larger than content of `length` bytes can use.
    #[must_use]
    pub(crate) fn for_length(self, length: usize) -> Self {
        match self {
            Self::Zstd { level, window_log } => {
                let needed = usize::BITS - length.saturating_sub(1).leading_zeros();
                let window_log = window_log.min(WINDOW_LOG_MAX).min(needed.max(WINDOW_LOG_MIN));
                Self::Zstd { level, window_log }
            }
            Self::None => Self::None,
        }
    }

    /// Appends the compressed `raw` to `out`.
    pub(crate) fn compress_onto(self, raw: &[u8], out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Zstd { level, window_log } => zstd_onto(level, window_log, raw, out),
            Self::None => Ok(raw_blocks_onto(raw, out)),
        }
    }
}

/// One frame in one call: zstd then works on the content itself and needs no copy of the window.
fn zstd_onto(level: i32, window_log: u32, raw: &[u8], mut out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let failed = |error: std::io::Error| CodecError::Encode(error.to_string());
    let mut compressor = Compressor::new(level).map_err(failed)?;
    compressor.set_parameter(CParameter::WindowLog(window_log)).map_err(failed)?;
    compressor.set_parameter(CParameter::EnableLongDistanceMatching(window_log > 20)).map_err(failed)?;
    compressor.include_contentsize(true).map_err(failed)?;
    compressor.include_checksum(true).map_err(failed)?;
    let at = out.len();
    // Not touched until written: costs addresses, not memory.
    out.reserve_exact(compress_bound(raw.len()));
    let mut cursor = Cursor::new(out);
    cursor.set_position(at as u64);
    compressor.compress_to_buffer(raw, &mut cursor).map_err(failed)?;
    let mut out = cursor.into_inner();
    out.shrink_to_fit();
    Ok(out)
}

/// A frame of raw blocks (RFC 8878 §3.1.1): no window, the content's size, blocks of at most 128 KiB.
fn raw_blocks_onto(raw: &[u8], mut out: Vec<u8>) -> Vec<u8> {
    const SIZE_IN_8_BYTES: u8 = 0b1100_0000;
    const WINDOW_OF_128_KIB: u8 = 7 << 3;
    out.reserve_exact(raw.len() + raw.len() / BLOCK_BYTES_MAX * 3 + 32);
    out.extend_from_slice(&ZSTD_MAGIC);
    out.extend_from_slice(&[SIZE_IN_8_BYTES, WINDOW_OF_128_KIB]);
    out.extend_from_slice(&(raw.len() as u64).to_le_bytes());
    let mut block = |bytes: &[u8], last: bool| {
        let header = ((bytes.len() as u32) << 3) | u32::from(last);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(bytes);
    };
    let mut blocks = raw.chunks(BLOCK_BYTES_MAX).peekable();
    if blocks.peek().is_none() {
        block(&[], true);
    }
    while let Some(bytes) = blocks.next() {
        block(bytes, blocks.peek().is_none());
    }
    out
}

/// Decompresses zstd frames that hold at most `limit` bytes; more is an error, found before it is in memory.
pub(crate) fn decompress(compressed: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let failed = |error: std::io::Error| CodecError::Decode(error.to_string());
    let mut decompressor = Decompressor::new().map_err(failed)?;
    decompressor.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(failed)?;
    // A frame that says how large it is saves us from reserving the limit; one that lies fails like any other.
    let announced = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten();
    let capacity = announced.and_then(|size| usize::try_from(size).ok()).map_or(limit, |size| size.min(limit));
    match decompressor.decompress(compressed, capacity) {
        Ok(raw) => Ok(raw),
        // Several frames: the first one's size is not that of all.
        Err(_) if capacity < limit => decompressor.decompress(compressed, limit).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(codec: Codec, raw: &[u8]) -> Vec<u8> {
        let stored = codec.for_length(raw.len()).compress_onto(raw, b"before".to_vec()).unwrap();
        assert_eq!(&stored[..6], b"before");
        decompress(&stored[6..], raw.len()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(raw in prop::collection::vec(any::<u8>(), 0..2000), times in 1..400_usize) {
            let raw = raw.repeat(times);
            prop_assert_eq!(&round(Codec::default(), &raw), &raw);
            prop_assert_eq!(&round(Codec::None, &raw), &raw);
        }
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let bomb = Codec::default().compress_onto(&vec![0; 10 << 20], Vec::new()).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(decompress(&bomb, 1 << 20).is_err());
        let mut twice = bomb.clone();
        twice.extend_from_slice(&bomb);
        assert_eq!(decompress(&twice, 20 << 20).unwrap().len(), 20 << 20);
    }

    #[test]
    fn what_does_not_shrink_hardly_grows() {
        let noise: Vec<u8> = (0..1_000_000).map(|_| rand::random::<u8>()).collect();
        let stored = Codec::default().compress_onto(&noise, Vec::new()).unwrap();
        assert!(stored.len() < noise.len() + 100);
    }

    #[test]
    fn the_window_is_no_larger_than_the_content() {
        assert_eq!(Codec::default().for_length(100_000), Codec::Zstd { level: 1, window_log: 17 });
        assert_eq!(Codec::default().for_length(32 << 20), Codec::Zstd { level: 1, window_log: 24 });
        assert_eq!(Codec::default().for_length(0), Codec::Zstd { level: 1, window_log: 10 });
    }
}
