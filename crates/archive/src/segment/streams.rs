//! gzip and bzip2: for those who want to read payloads with what every system has.

use std::io::{Read, Write as _};

use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::codec::CodecError;

pub(super) fn gzip_onto(level: u32, raw: &[u8], out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let failed = |error: std::io::Error| CodecError::Encode(error.to_string());
    let mut encoder = GzEncoder::new(out, flate2::Compression::new(level));
    encoder.write_all(raw).map_err(failed)?;
    encoder.finish().map_err(failed)
}

pub(super) fn bzip2_onto(level: u32, raw: &[u8], out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let failed = |error: std::io::Error| CodecError::Encode(error.to_string());
    let mut encoder = BzEncoder::new(out, bzip2::Compression::new(level));
    encoder.write_all(raw).map_err(failed)?;
    encoder.finish().map_err(failed)
}

pub(super) fn gunzip(payload: &[u8], length: usize) -> Result<Vec<u8>, CodecError> {
    read_at_most(MultiGzDecoder::new(payload), length)
}

pub(super) fn bunzip2(payload: &[u8], length: usize) -> Result<Vec<u8>, CodecError> {
    read_at_most(MultiBzDecoder::new(payload), length)
}

/// Reads to the end, which must come after at most `length` bytes.
fn read_at_most(stream: impl Read, length: usize) -> Result<Vec<u8>, CodecError> {
    let failed = |error: std::io::Error| CodecError::Decode(error.to_string());
    let mut raw = Vec::with_capacity(length);
    stream.take(length as u64 + 1).read_to_end(&mut raw).map_err(failed)?;
    if raw.len() > length {
        return Err(CodecError::Decode(format!("it holds more than {length} bytes")));
    }
    Ok(raw)
}
