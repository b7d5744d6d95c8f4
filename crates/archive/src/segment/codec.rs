//! How content is compressed, and the way back, which never gives more than was announced.

use std::fmt;
use std::str::FromStr;

use super::streams;
use super::zstd_frames::{raw_blocks_onto, zstd_onto};
use crate::layout::Compression;

pub(crate) use super::zstd_frames::decompress;

/// The largest zstd window that readers accept, and the largest that the `zstd` program takes unasked.
pub(crate) const WINDOW_LOG_MAX: u32 = 27;
/// Below this a window saves no memory worth having.
pub(super) const WINDOW_LOG_MIN: u32 = 10;
/// From this window on zstd looks for matches far away: below it its ordinary search reaches as far.
pub(super) const LONG_DISTANCE_ABOVE: u32 = 20;

/// The window where none is named: 16 MiB.
const WINDOW_LOG: u32 = 24;
/// The highest level of zstd that needs no permission from its users: above it memory is counted in hundreds of MiB.
const ZSTD_LEVEL_MAX: i32 = 19;
/// As `gzip` and `bzip2` have it.
const GZIP_LEVEL: u32 = 6;
const BZIP2_LEVEL: u32 = 9;

/// How content is compressed. May change at any time: each object says what it needs.
///
/// ```
/// use pitr_archive::Codec;
/// assert_eq!("zstd:3".parse(), Ok(Codec::Zstd { level: 3, window_log: 24 }));
/// assert_eq!("zstd:19:27".parse::<Codec>().unwrap().to_string(), "zstd:19:27");
/// assert!("lz4".parse::<Codec>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// zstd.
    Zstd {
        /// The level, 1 to 19.
        level: i32,
        /// Logarithm of the window in bytes, at most 27. Above 20, matches are looked for across all of it.
        window_log: u32,
    },
    /// gzip (RFC 1952).
    Gzip {
        /// The level, 1 to 9.
        level: u32,
    },
    /// bzip2.
    Bzip2 {
        /// The block size in units of 100 kB, 1 to 9.
        level: u32,
    },
    /// A zstd frame of raw blocks: any zstd reads it, and nothing is spent on writing it. What another codec does not make
    /// smaller is stored like this, too.
    None,
}

impl Default for Codec {
    /// Level 1 with a 16 MiB window: the figures are in faults.md §3.
    fn default() -> Self {
        Self::Zstd { level: 1, window_log: WINDOW_LOG }
    }
}

/// A text that names no codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no codec: expected zstd:LEVEL (1 to 19), zstd:LEVEL:WINDOW_LOG (10 to 27), gzip:LEVEL, bzip2:LEVEL (1 to 9) or none"
)]
pub struct UnknownCodec(String);

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        parse(text).ok_or_else(|| UnknownCodec(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Codec> {
    let mut parts = text.split(':');
    let name = parts.next()?;
    let mut number = |range: std::ops::RangeInclusive<u32>, default: u32| match parts.next() {
        None => Some(default),
        Some(part) => part.parse().ok().filter(|number| range.contains(number)),
    };
    let codec = match name {
        "zstd" => {
            let level = number(1..=ZSTD_LEVEL_MAX.unsigned_abs(), 1)?;
            Codec::Zstd { level: level.cast_signed(), window_log: number(WINDOW_LOG_MIN..=WINDOW_LOG_MAX, WINDOW_LOG)? }
        }
        "gzip" => Codec::Gzip { level: number(1..=9, GZIP_LEVEL)? },
        "bzip2" => Codec::Bzip2 { level: number(1..=9, BZIP2_LEVEL)? },
        "none" => Codec::None,
        _ => return None,
    };
    parts.next().is_none().then_some(codec)
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd { level, window_log: WINDOW_LOG } => write!(f, "zstd:{level}"),
            Self::Zstd { level, window_log } => write!(f, "zstd:{level}:{window_log}"),
            Self::Gzip { level } => write!(f, "gzip:{level}"),
            Self::Bzip2 { level } => write!(f, "bzip2:{level}"),
            Self::None => f.write_str("none"),
        }
    }
}

/// Compressing or decompressing failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The compressed bytes are not valid, or hold more than they should.
    #[error("the compressed bytes cannot be decoded: {0}")]
    Decode(String),
    /// The compressor refuses the parameters, or there is no memory.
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
            other => other,
        }
    }

    /// What it needs while it compresses content of `length` bytes, beside the content and its compressed form, in bytes. An
    /// upper bound: the tables of zstd at these levels as its `ZSTD_CCtx` counts them.
    #[must_use]
    pub fn working_bytes(self, length: u64) -> u64 {
        match self.for_length(usize::try_from(length).unwrap_or(usize::MAX)) {
            Self::Zstd { level, window_log } => zstd_tables(level).min(24 << window_log) + (3 << 20),
            Self::Gzip { .. } => 1 << 20,
            Self::Bzip2 { level } => u64::from(level) * 1_000_000 + (1 << 20),
            Self::None => 0,
        }
    }

    /// Which suffix a segment's key has.
    #[must_use]
    pub(crate) fn compression(self) -> Compression {
        match self {
            Self::Zstd { .. } | Self::None => Compression::Zstd,
            Self::Gzip { .. } => Compression::Gzip,
            Self::Bzip2 { .. } => Compression::Bzip2,
        }
    }

    /// Appends the compressed `raw` to `out`.
    pub(crate) fn compress_onto(self, raw: &[u8], out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Zstd { level, window_log } => zstd_onto(level, window_log, raw, out),
            Self::Gzip { level } => streams::gzip_onto(level, raw, out),
            Self::Bzip2 { level } => streams::bzip2_onto(level, raw, out),
            Self::None => Ok(raw_blocks_onto(raw, out)),
        }
    }

    /// The raw bytes of a payload that holds `length` of them. More is an error that is found before it is in memory.
    pub(crate) fn decompress(self, payload: &[u8], length: usize) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Zstd { .. } | Self::None => decompress(payload, length),
            Self::Gzip { .. } => streams::gunzip(payload, length),
            Self::Bzip2 { .. } => streams::bunzip2(payload, length),
        }
    }
}

/// Hash table, chain or tree and, from level 16 on, the optimal parser's space, for content of any length.
fn zstd_tables(level: i32) -> u64 {
    match level {
        ..=4 => 8 << 20,
        5..=8 => 16 << 20,
        9..=12 => 48 << 20,
        13..=17 => 64 << 20,
        18 => 80 << 20,
        _ => 128 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 6] = [
        Codec::Zstd { level: 1, window_log: WINDOW_LOG },
        Codec::Zstd { level: 19, window_log: WINDOW_LOG_MAX },
        Codec::Gzip { level: 1 },
        Codec::Gzip { level: 9 },
        Codec::Bzip2 { level: 9 },
        Codec::None,
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_compressed_comes_back(raw in prop::collection::vec(any::<u8>(), 0..2000), times in 1..200_usize) {
            let raw = raw.repeat(times);
            for codec in ALL {
                let stored = codec.for_length(raw.len()).compress_onto(&raw, b"before".to_vec()).unwrap();
                prop_assert_eq!(&stored[..6], b"before");
                prop_assert_eq!(&codec.decompress(&stored[6..], raw.len()).unwrap(), &raw, "{}", codec);
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), length in 0..1000_usize) {
            for codec in ALL {
                if let Ok(raw) = codec.decompress(&bytes, length) {
                    prop_assert!(raw.len() <= length);
                }
            }
        }
    }

    #[test]
    fn more_than_was_announced_is_refused_by_every_codec() {
        const ZEROS: usize = 10 << 20;
        for codec in ALL {
            let bomb = codec.compress_onto(&vec![0; ZEROS], Vec::new()).unwrap();
            assert!(codec == Codec::None || bomb.len() < 100_000, "{codec}: {}", bomb.len());
            for length in [0, 1000, ZEROS - 1] {
                assert!(codec.decompress(&bomb, length).is_err(), "{codec} {length}");
            }
            assert_eq!(codec.decompress(&bomb, ZEROS).unwrap().len(), ZEROS);
            // A second stream behind the first is more than was announced, too.
            let twice = [bomb.clone(), bomb].concat();
            assert!(codec.decompress(&twice, ZEROS).is_err(), "{codec}");
            assert_eq!(codec.decompress(&twice, 2 * ZEROS).unwrap().len(), 2 * ZEROS);
        }
    }

    #[test]
    fn damage_and_cut_ends_are_refused_by_every_codec() {
        let raw: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for codec in ALL {
            let stored = codec.compress_onto(&raw, Vec::new()).unwrap();
            assert!(codec.decompress(&stored[..stored.len() - 5], raw.len()).is_err(), "{codec}");
            if codec != Codec::None {
                // Raw blocks have no checksum of their own: there the hash in the header speaks.
                let mut damaged = stored.clone();
                damaged[stored.len() / 2] ^= 4;
                assert_ne!(codec.decompress(&damaged, raw.len()).ok().as_ref(), Some(&raw), "{codec}");
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for codec in ALL {
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        assert_eq!("gzip".parse(), Ok(Codec::Gzip { level: 6 }));
        assert_eq!("bzip2".parse(), Ok(Codec::Bzip2 { level: 9 }));
        assert_eq!("zstd".parse(), Ok(Codec::default()));
        for text in [
            "",
            "zstd:0",
            "zstd:20",
            "zstd:1:28",
            "zstd:1:24:1",
            "gzip:10",
            "bzip2:0",
            "none:1",
            "zstd:",
            "lz4",
            "zstd:-1",
        ] {
            assert!(text.parse::<Codec>().unwrap_err().to_string().contains("is no codec"), "{text}");
        }
    }

    #[test]
    fn the_window_is_no_larger_than_the_content() {
        assert_eq!(Codec::default().for_length(100_000), Codec::Zstd { level: 1, window_log: 17 });
        assert_eq!(Codec::default().for_length(32 << 20), Codec::Zstd { level: 1, window_log: 24 });
        assert_eq!(Codec::default().for_length(0), Codec::Zstd { level: 1, window_log: 10 });
    }
}
