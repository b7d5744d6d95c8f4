//! One page: lines to bytes and back.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

use crate::digest::{ShortHash, parse_digest};
use crate::layout::ObjectKey;
use crate::segment::{FORMAT, HeaderWire, SegmentRecord};

/// The largest page that is read, decompressed.
const READ_BYTES_MAX: u64 = 256 << 20;

/// The longest line: a header without long sets, or a few sets just below the limit.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A set with a longer text is only identified in a line.
const LINE_SET_BYTES_MAX: usize = 4 << 10;

const LEVEL: i32 = 3;

/// A page that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It is not what was stored, or breaks a limit.
    #[error("the page is damaged: {0}")]
    Damaged(String),
    /// A later version of the format.
    #[error("the page is written in format {found}, this version reads format {FORMAT}")]
    NewerFormat {
        /// The format.
        found: u32,
    },
}

/// A line: where a segment is, and all that its header says.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    place: PlaceWire<'a>,
    #[serde(flatten)]
    header: HeaderWire<'a>,
}

/// Where a segment is. It is read from a line by itself: to read flattened parts serde would copy all of the line first.
#[derive(Debug, Serialize, Deserialize)]
struct PlaceWire<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    stored_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_sha256: Option<String>,
}

/// What tells a line's identity and version without understanding the rest.
#[derive(Deserialize)]
struct LineKey {
    key: String,
    format: u32,
}

/// A page being written. Lines are compressed as they come, so only stored bytes are in memory.
pub(crate) struct PageWriter {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    raw_bytes: usize,
    lines: usize,
}

impl PageWriter {
    pub(crate) fn new() -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self { encoder, raw_bytes: 0, lines: 0 })
    }

    pub(crate) fn push(&mut self, record: &SegmentRecord) -> io::Result<()> {
        let line = Line {
            place: PlaceWire {
                key: record.key.to_string().into(),
                stored_bytes: record.length,
                stored_sha256: record.sha256.map(hex::encode),
            },
            header: HeaderWire::of(&record.header, LINE_SET_BYTES_MAX),
        };
        self.push_raw(&serde_json::to_vec(&line)?)
    }

    /// Adds a line as another page has it: fields that this version does not know are kept.
    pub(crate) fn push_raw(&mut self, line: &[u8]) -> io::Result<()> {
        self.encoder.write_all(line)?;
        self.encoder.write_all(b"\n")?;
        self.raw_bytes += line.len() + 1;
        self.lines += 1;
        Ok(())
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        self.encoder.finish()
    }
}

/// Hands each line of a page, with the key that it names, to `sink`.
pub(crate) fn raw_lines(page: &[u8], mut sink: impl FnMut(&str, &[u8]) -> io::Result<()>) -> Result<(), PageError> {
    each_line(page, |line| {
        let LineKey { key, format } = serde_json::from_slice(line).map_err(|e| PageError::Damaged(e.to_string()))?;
        if format != FORMAT {
            return Err(PageError::NewerFormat { found: format });
        }
        sink(&key, line).map_err(|error| PageError::Damaged(error.to_string()))
    })
}

/// The records of a page up to its end, or to what is wrong with it.
pub(crate) fn records(page: &[u8]) -> (Vec<SegmentRecord>, Result<(), PageError>) {
    let mut records = Vec::new();
    let read = each_line(page, |line| {
        records.push(record(line)?);
        Ok(())
    });
    (records, read)
}

fn record(line: &[u8]) -> Result<SegmentRecord, PageError> {
    let damaged = |what: &str| PageError::Damaged(format!("a line's {what} is not valid"));
    let parts =
        serde_json::from_slice::<PlaceWire<'_>>(line).and_then(|place| Ok((place, serde_json::from_slice(line)?)));
    let (place, header): (_, HeaderWire<'_>) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            // A later format may have other fields altogether.
            return Err(match serde_json::from_slice::<LineKey>(line) {
                Ok(LineKey { format, .. }) if format != FORMAT => PageError::NewerFormat { found: format },
                _ => PageError::Damaged(error.to_string()),
            });
        }
    };
    if header.format != FORMAT {
        return Err(PageError::NewerFormat { found: header.format });
    }
    let Ok(ObjectKey::Segment(key)) = place.key.parse() else {
        return Err(damaged("key"));
    };
    let sha256 = match &place.stored_sha256 {
        Some(text) => Some(parse_digest(text).ok_or_else(|| damaged("hash"))?),
        None => None,
    };
    let header = header.header().map_err(damaged)?;
    let agree = sha256.is_none_or(|sha256| key.hash == ShortHash::of_digest(&sha256))
        && key.binlog == header.binlog
        && (key.start, key.end) == (header.start, header.end);
    if !agree {
        return Err(damaged("key"));
    }
    Ok(SegmentRecord { key, length: place.stored_bytes, sha256, header: header.into() })
}

fn each_line(page: &[u8], mut sink: impl FnMut(&[u8]) -> Result<(), PageError>) -> Result<(), PageError> {
    let damaged = |error: io::Error| PageError::Damaged(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(page).map_err(damaged)?;
    decoder.window_log_max(crate::segment::WINDOW_LOG_MAX).map_err(damaged)?;
    let mut lines = BufReader::new(decoder.take(READ_BYTES_MAX + 1));
    let (mut line, mut total) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let length = (&mut lines).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line).map_err(damaged)? as u64;
        total += length;
        if length > LINE_BYTES_MAX || total > READ_BYTES_MAX {
            return Err(PageError::Damaged("it is larger than any page".to_owned()));
        }
        match line.strip_suffix(b"\n") {
            Some(whole) => sink(whole)?,
            None if line.is_empty() => return Ok(()),
            None => return Err(PageError::Damaged("its last line is cut".to_owned())),
        }
    }
}
