//! What it takes in memory to make segments: what an archiver plans with, and what a configuration is checked against.

use super::Codec;

/// What the program itself, its connections, the compressors' tables and the catalog of a usual archive take, and what an allocator
/// gives back only later: a buffer between two pieces among it. In bytes.
pub const PROGRAM_BYTES: u64 = 32 << 20;

/// What one segment takes while it is made, in bytes: its own bytes and, at worst as many, what they are encoded to.
#[must_use]
pub const fn piece_bytes(segment_bytes: u64) -> u64 {
    2 * segment_bytes
}

/// What a codec's tables take for each worker beyond those of the default, which are counted with the program. In bytes.
#[must_use]
pub fn table_bytes(codec: Codec, segment_bytes: u64) -> u64 {
    codec.working_bytes(segment_bytes).saturating_sub(Codec::default().working_bytes(segment_bytes))
}

/// What an archiver needs at least, in bytes, with so many workers; one where it may choose. One segment in work is the tail's.
#[must_use]
pub fn least_bytes(workers: Option<u64>, segment_bytes: u64, codec: Codec) -> u64 {
    let workers = workers.unwrap_or(1);
    PROGRAM_BYTES + workers.max(2) * piece_bytes(segment_bytes) + workers * table_bytes(codec, segment_bytes)
}

#[cfg(test)]
mod tests {
    use super::{PROGRAM_BYTES, least_bytes};
    use crate::Codec;

    #[test]
    fn each_worker_takes_a_segment_and_what_its_codec_needs() {
        let segment = 8 << 20;
        let of = |workers, codec: &str| least_bytes(workers, segment, codec.parse::<Codec>().unwrap());
        assert_eq!(of(None, "zstd:1"), PROGRAM_BYTES + 4 * segment);
        assert_eq!(of(Some(1), "zstd:1"), of(Some(2), "zstd:1"));
        assert_eq!(of(Some(4), "zstd:1"), PROGRAM_BYTES + 8 * segment);
        assert!(of(Some(1), "zstd:19") > of(Some(1), "zstd:1") + (32 << 20));
    }
}
