//! zstd (RFC 8878): frames that it compresses, frames of raw blocks, and the way back.

use std::io::Cursor;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, compress_bound, get_error_name};

use super::codec::{CodecError, LONG_DISTANCE_ABOVE, WINDOW_LOG_MAX, WINDOW_LOG_MIN};

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd's largest block.
const BLOCK_BYTES_MAX: usize = 128 << 10;

/// One frame in one call: zstd then works on the content itself and needs no copy of the window.
pub(super) fn zstd_onto(level: i32, window_log: u32, raw: &[u8], mut out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let failed = |error: std::io::Error| CodecError::Encode(error.to_string());
    let mut compressor = Compressor::new(level).map_err(failed)?;
    compressor.set_parameter(CParameter::WindowLog(window_log)).map_err(failed)?;
    let long_distance = window_log > LONG_DISTANCE_ABOVE;
    compressor.set_parameter(CParameter::EnableLongDistanceMatching(long_distance)).map_err(failed)?;
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
pub(super) fn raw_blocks_onto(raw: &[u8], mut out: Vec<u8>) -> Vec<u8> {
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

/// Level of what refers to a prefix: what differs is little, and a higher level takes several times the memory for a fifth less.
const PREFIXED_LEVEL: i32 = 1;

/// One frame of content that is nearly the same as `prefix` (`zstd --patch-from`).
pub(super) fn zstd_after(prefix: &[u8], raw: &[u8]) -> Result<Vec<u8>, CodecError> {
    let failed = |code: usize| CodecError::Encode(get_error_name(code).to_owned());
    let window_log = (usize::BITS - (prefix.len() + raw.len()).leading_zeros()).clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX);
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(PREFIXED_LEVEL),
        CParameter::WindowLog(window_log),
        CParameter::EnableLongDistanceMatching(true),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(true),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(prefix).map_err(failed)?;
    let mut out = Vec::with_capacity(compress_bound(raw.len()));
    context.compress2(&mut out, raw).map_err(failed)?;
    out.shrink_to_fit();
    Ok(out)
}

/// The way back: at most `limit` bytes.
pub(super) fn decompress_after(prefix: &[u8], compressed: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let failed = |code: usize| CodecError::Decode(get_error_name(code).to_owned());
    let mut context = DCtx::create();
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(failed)?;
    context.ref_prefix(prefix).map_err(failed)?;
    let mut out = Vec::with_capacity(limit);
    context.decompress(&mut out, compressed).map_err(failed)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::codec::Codec;
    use super::*;

    #[test]
    fn what_does_not_shrink_hardly_grows() {
        let noise: Vec<u8> = (0..1_000_000).map(|_| rand::random::<u8>()).collect();
        for stored in [zstd_onto(1, 20, &noise, Vec::new()).unwrap(), raw_blocks_onto(&noise, Vec::new())] {
            assert!(stored.len() < noise.len() + 100);
        }
    }

    #[test]
    fn compressors_take_no_more_than_they_say() {
        let raw: Vec<u8> = (0..8_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut out = Vec::with_capacity(compress_bound(raw.len()));
        for level in [1, 3, 4, 6, 8, 9, 12, 15, 17, 18, 19] {
            let mut context = CCtx::create();
            for parameter in [
                CParameter::CompressionLevel(level),
                CParameter::WindowLog(23),
                CParameter::EnableLongDistanceMatching(true),
            ] {
                context.set_parameter(parameter).unwrap();
            }
            out.clear();
            // The tables are made for the whole content, whatever part of it is looked at.
            context.set_pledged_src_size(Some(raw.len() as u64)).unwrap();
            context.compress2(&mut out, &raw).unwrap();
            let said = Codec::Zstd { level, window_log: 24 }.working_bytes(raw.len() as u64);
            assert!((context.sizeof() as u64) < said, "level {level}: {} of {said}", context.sizeof());
        }
    }
}
