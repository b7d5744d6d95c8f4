use std::fmt;

use super::EventHeader;

/// How the events of a file are protected (`enum_binlog_checksum_alg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// Not at all.
    None,
    /// The last four bytes of each event are the CRC-32 (IEEE) of those before.
    Crc32,
}

impl ChecksumAlgorithm {
    /// Bytes that the checksum takes at the end of each event.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32 => CRC_LENGTH,
        }
    }
}

impl fmt::Display for ChecksumAlgorithm {
    /// As `@@binlog_checksum` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "NONE",
            Self::Crc32 => "CRC32",
        })
    }
}

/// The length of a CRC-32.
pub const CRC_LENGTH: usize = 4;

/// The low byte of the flags within an event: where the in-use bit is.
pub(super) const FLAGS_AT: usize = 17;

/// Whether the last four bytes of a whole event are the CRC-32 of the others. A format description event is checked with
/// its in-use bit cleared, which is how the server computes it.
#[must_use]
pub fn crc32_matches(event: &[u8]) -> bool {
    event.split_last_chunk().is_some_and(|(body, stored)| crc32(body) == u32::from_le_bytes(*stored))
}

/// Writes the CRC-32 of a whole event (one whose file has checksums) into its last four bytes. The in-use bit of a
/// format description counts as cleared, and stays as it is.
pub fn write_crc32(event: &mut [u8]) {
    if let Some((body, stored)) = event.split_last_chunk_mut::<CRC_LENGTH>() {
        *stored = crc32(body).to_le_bytes();
    }
}

/// Clears the in-use bit of a whole format description event. The checksum is right before and after.
pub fn clear_in_use(event: &mut [u8]) {
    if let Some(flags) = event.get_mut(FLAGS_AT) {
        *flags &= !(EventHeader::IN_USE as u8);
    }
}

/// The CRC-32 of an event without its last four bytes.
pub(crate) fn crc32(body: &[u8]) -> u32 {
    let in_use = body.get(4) == Some(&super::EventType::FORMAT_DESCRIPTION.0)
        && body.get(FLAGS_AT).is_some_and(|flags| flags & EventHeader::IN_USE as u8 != 0);
    if !in_use {
        return crc32fast::hash(body);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&body[..FLAGS_AT]);
    hasher.update(&[body[FLAGS_AT] & !(EventHeader::IN_USE as u8)]);
    hasher.update(&body[FLAGS_AT + 1..]);
    hasher.finalize()
}
