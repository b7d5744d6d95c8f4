//! The header as JSON: written and read here and nowhere else. Names and meanings are those of archive-format.md.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use pitr_binlog::{BinlogName, Gtid, GtidSet, TransactionFlags};
use pitr_recovery::{BinlogId, TransactionPoint};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::codec::Codec;
use super::header::{Closes, HeaderCodec, HeldSet, Parts, SegmentDamage, SegmentHeader, TransactionSummary};
use super::repeat::{Repeat, RepeatOf};
use crate::digest::{Digest, ShortHash, parse_digest, sha256};
use crate::layout::ObjectKey;

/// The version of the format that is written, and the only one that is read.
pub(crate) const FORMAT: u32 = 1;

/// The name of [`HeaderCodec::Repeat`].
const REPEAT: &str = "repeat";

/// A header as it stands in an object. Its texts stay where they are: a catalog has them by the million.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeaderWire<'a> {
    pub(crate) format: u32,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    flavour: Cow<'a, str>,
    #[serde(borrow)]
    server_version: Cow<'a, str>,
    #[serde(borrow)]
    binlog: Cow<'a, str>,
    #[serde(borrow)]
    head: Cow<'a, str>,
    start: u64,
    end: u64,
    #[serde(borrow)]
    raw_sha256: Cow<'a, str>,
    #[serde(borrow)]
    codec: CodecWire<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<EncryptionWire>,
    #[serde(borrow)]
    nonce: Cow<'a, str>,
    #[serde(borrow)]
    index_sha256: Cow<'a, str>,
    pub(super) index_at: u64,
    pub(super) payload_at: u64,
    #[serde(borrow)]
    transactions: TransactionsWire<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    previous_gtids: Option<SetWire<'a>>,
    #[serde(default)]
    opens: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    closes: Option<ClosesWire<'a>>,
    #[serde(borrow)]
    flags: FlagsWire<'a>,
    #[serde(default)]
    starts_in_transaction: bool,
    #[serde(default)]
    ends_in_transaction: bool,
    written_at: Timestamp,
    #[serde(borrow)]
    writer: Cow<'a, str>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CodecWire<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window_log: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repeat: Option<Box<RepeatWire>>,
}

/// What only `repeat` has.
#[derive(Debug, Serialize, Deserialize)]
struct RepeatWire {
    of: Vec<RepeatOfWire>,
    masked: u64,
    instead_of: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct RepeatOfWire {
    key: String,
    raw_sha256: String,
    from: u64,
    to: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct EncryptionWire {
    recipients: Vec<String>,
    /// `raw_sha256` is an HMAC under the key of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash_key: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TransactionsWire<'a> {
    count: u64,
    #[serde(borrow)]
    gtids: SetWire<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    first: Option<PointWire<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    last: Option<PointWire<'a>>,
    min_commit_us: i64,
    max_commit_us: i64,
    #[serde(default)]
    step_back_us: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct PointWire<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    gtid: Option<Text<'a>>,
    commit_us: i64,
    pos: u64,
    end: u64,
}

/// An optional text that stays where it is; serde copies a bare `Option<Cow<str>>`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum SetWire<'a> {
    Text(Cow<'a, str>),
    Digest { count: u64, sha256: String },
}

/// By hand: an untagged enum would copy each set before it is looked at.
impl<'de: 'a, 'a> Deserialize<'de> for SetWire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SetVisitor)
    }
}

struct SetVisitor;

impl<'de> Visitor<'de> for SetVisitor {
    type Value = SetWire<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GTID set, or its count and hash")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(SetWire::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(SetWire::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct DigestWire {
            count: u64,
            sha256: String,
        }
        let DigestWire { count, sha256 } = DigestWire::deserialize(MapAccessDeserializer::new(map))?;
        Ok(SetWire::Digest { count, sha256 })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ClosesWire<'a> {
    #[serde(borrow)]
    by: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    next: Option<Text<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FlagsWire<'a> {
    #[serde(borrow)]
    checksum: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    contains: Vec<String>,
    #[serde(default)]
    without_gtid: u64,
    #[serde(default)]
    whole_seconds: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<UnreadableWire>,
}

#[derive(Debug, Serialize, Deserialize)]
struct UnreadableWire {
    offset: u64,
    reason: String,
}

/// How flags of transactions are called in headers.
const FLAG_NAMES: [(TransactionFlags, &str); 9] = [
    (TransactionFlags::DDL, "ddl"),
    (TransactionFlags::XA_PREPARE, "xa_prepare"),
    (TransactionFlags::XA_COMMIT, "xa_commit"),
    (TransactionFlags::XA_ROLLBACK, "xa_rollback"),
    (TransactionFlags::STATEMENT, "statement"),
    (TransactionFlags::PAYLOAD, "payload"),
    (TransactionFlags::NON_TRANSACTIONAL, "non_transactional"),
    (TransactionFlags::INCIDENT, "incident"),
    (TransactionFlags::UNKNOWN_EVENT, "unknown_event"),
];

impl<'a> HeaderWire<'a> {
    /// The wire form. A set whose text is longer than `set_bytes_max` becomes its digest.
    pub(crate) fn of(header: &'a SegmentHeader, set_bytes_max: usize) -> Self {
        let summary = &header.transactions;
        Self {
            format: FORMAT,
            source: header.binlog.source.as_str().into(),
            flavour: header.flavour.to_string().into(),
            server_version: header.server_version.as_str().into(),
            binlog: header.name.as_str().into(),
            head: ShortHash(header.binlog.head).to_string().into(),
            start: header.start,
            end: header.end,
            raw_sha256: hex::encode(header.raw_sha256).into(),
            codec: codec_wire(&header.codec),
            encryption: encryption_wire(header),
            nonce: header.nonce.as_str().into(),
            index_sha256: hex::encode(header.parts.index_sha256).into(),
            index_at: header.parts.index_at,
            payload_at: header.parts.payload_at,
            transactions: TransactionsWire {
                count: summary.count,
                gtids: set_wire(&summary.gtids, set_bytes_max),
                first: summary.first.as_ref().map(point_wire),
                last: summary.last.as_ref().map(point_wire),
                min_commit_us: summary.min_commit_us,
                max_commit_us: summary.max_commit_us,
                step_back_us: summary.step_back_us,
            },
            previous_gtids: header.previous.as_ref().map(|set| set_wire(set, set_bytes_max)),
            opens: header.start == 0,
            closes: header.closes.as_ref().map(closes_wire),
            flags: flags_wire(header),
            starts_in_transaction: header.starts_in_transaction,
            ends_in_transaction: header.ends_in_transaction,
            written_at: header.written_at,
            writer: header.writer.as_str().into(),
        }
    }

    /// The header that this says. `Err`: the first field that cannot be.
    pub(crate) fn header(self) -> Result<SegmentHeader, &'static str> {
        let name = BinlogName::parse(&self.binlog).map_err(|_| "binlog")?;
        let head = ShortHash::parse(&self.head).ok_or("head")?;
        let (recipients, hash_key) = match self.encryption {
            None => (Vec::new(), None),
            Some(EncryptionWire { recipients, hash_key }) => {
                let id = hash_key.map(|id| ShortHash::parse(&id).ok_or("encryption.hash_key")).transpose()?;
                (recipients, id)
            }
        };
        Ok(SegmentHeader {
            binlog: BinlogId { source: self.source.into_owned(), number: name.number(), head: head.0 },
            name,
            flavour: self.flavour.parse().map_err(|_| "flavour")?,
            server_version: self.server_version.into_owned(),
            start: self.start,
            end: self.end,
            raw_sha256: parse_digest(&self.raw_sha256).ok_or("raw_sha256")?,
            codec: codec(self.codec)?,
            recipients,
            hash_key,
            parts: Parts {
                index_at: self.index_at,
                payload_at: self.payload_at,
                index_sha256: parse_digest(&self.index_sha256).ok_or("index_sha256")?,
            },
            nonce: self.nonce.into_owned(),
            transactions: TransactionSummary {
                count: self.transactions.count,
                without_gtid: self.flags.without_gtid,
                gtids: held_set(self.transactions.gtids).ok_or("transactions.gtids")?,
                first: self.transactions.first.map(point).transpose()?,
                last: self.transactions.last.map(point).transpose()?,
                min_commit_us: self.transactions.min_commit_us,
                max_commit_us: self.transactions.max_commit_us,
                step_back_us: self.transactions.step_back_us,
                whole_seconds: self.flags.whole_seconds,
                flags: transaction_flags(&self.flags.contains),
            },
            previous: match self.previous_gtids {
                Some(set) => Some(held_set(set).ok_or("previous_gtids")?),
                None => None,
            },
            closes: self.closes.map(closes).transpose()?,
            checksum: self.flags.checksum.into_owned(),
            damage: self.flags.unreadable.map(|at| SegmentDamage { offset: at.offset, reason: at.reason }),
            starts_in_transaction: self.starts_in_transaction,
            ends_in_transaction: self.ends_in_transaction,
            written_at: self.written_at,
            writer: self.writer.into_owned(),
        })
    }
}

fn encryption_wire(header: &SegmentHeader) -> Option<EncryptionWire> {
    (!header.recipients.is_empty()).then(|| EncryptionWire {
        recipients: header.recipients.clone(),
        hash_key: header.hash_key.map(|id| id.to_string()),
    })
}

fn codec_wire(codec: &HeaderCodec) -> CodecWire<'_> {
    let (name, level, window_log) = match codec {
        HeaderCodec::Known(Codec::Zstd { level, window_log }) => ("zstd", Some(*level), Some(*window_log)),
        HeaderCodec::Known(Codec::Gzip { level }) => ("gzip", Some(level.cast_signed()), None),
        HeaderCodec::Known(Codec::Bzip2 { level }) => ("bzip2", Some(level.cast_signed()), None),
        HeaderCodec::Known(Codec::None) => ("none", None, None),
        HeaderCodec::Repeat(_) => (REPEAT, None, None),
        HeaderCodec::Other(name) => (name.as_str(), None, None),
    };
    let repeat = match codec {
        HeaderCodec::Repeat(repeat) => Some(Box::new(repeat_wire(repeat))),
        HeaderCodec::Known(_) | HeaderCodec::Other(_) => None,
    };
    CodecWire { name: name.into(), level, window_log, repeat }
}

fn codec(wire: CodecWire<'_>) -> Result<HeaderCodec, &'static str> {
    // A reader needs neither level nor window: the compressed bytes say them.
    let level = wire.level.unwrap_or_default();
    Ok(match (&*wire.name, wire.repeat) {
        ("zstd", _) => HeaderCodec::Known(Codec::Zstd { level, window_log: wire.window_log.unwrap_or_default() }),
        ("gzip", _) => HeaderCodec::Known(Codec::Gzip { level: level.unsigned_abs() }),
        ("bzip2", _) => HeaderCodec::Known(Codec::Bzip2 { level: level.unsigned_abs() }),
        ("none", _) => HeaderCodec::Known(Codec::None),
        (REPEAT, Some(wire)) => HeaderCodec::Repeat(Box::new(repeat(*wire).ok_or("codec.repeat")?)),
        (other, _) => HeaderCodec::Other(other.to_owned()),
    })
}

fn repeat_wire(repeat: &Repeat) -> RepeatWire {
    let of = repeat.of.iter().map(|of| RepeatOfWire {
        key: of.key.to_string(),
        raw_sha256: hex::encode(of.raw_sha256),
        from: of.from,
        to: of.to,
    });
    RepeatWire { of: of.collect(), masked: repeat.masked, instead_of: repeat.instead_of }
}

fn repeat(wire: RepeatWire) -> Option<Repeat> {
    let of = wire.of.into_iter().map(|wire| {
        let Ok(ObjectKey::Segment(key)) = wire.key.parse() else { return None };
        Some(RepeatOf { key, raw_sha256: parse_digest(&wire.raw_sha256)?, from: wire.from, to: wire.to })
    });
    Some(Repeat { of: of.collect::<Option<_>>()?, masked: wire.masked, instead_of: wire.instead_of })
}

fn set_wire(set: &HeldSet, bytes_max: usize) -> SetWire<'static> {
    let digest = |count: u64, sha256: &Digest| SetWire::Digest { count, sha256: hex::encode(sha256) };
    match set {
        HeldSet::Digest { count, sha256 } => digest(*count, sha256),
        HeldSet::Whole(set) => {
            let text = set.to_string();
            if text.len() > bytes_max {
                digest(set.count(), &sha256(text.as_bytes()))
            } else {
                SetWire::Text(text.into())
            }
        }
    }
}

fn held_set(wire: SetWire<'_>) -> Option<HeldSet> {
    match wire {
        SetWire::Text(text) => text.parse::<GtidSet>().ok().map(HeldSet::Whole),
        SetWire::Digest { count, sha256 } => parse_digest(&sha256).map(|sha256| HeldSet::Digest { count, sha256 }),
    }
}

fn point_wire(point: &TransactionPoint) -> PointWire<'static> {
    PointWire {
        gtid: point.gtid.as_ref().map(|gtid| Text(gtid.to_string().into())),
        commit_us: point.commit_us,
        pos: point.start,
        end: point.end,
    }
}

fn point(wire: PointWire<'_>) -> Result<TransactionPoint, &'static str> {
    let gtid = wire.gtid.map(|Text(text)| text.parse::<Gtid>().map_err(|_| "gtid")).transpose()?;
    Ok(TransactionPoint { gtid, commit_us: wire.commit_us, start: wire.pos, end: wire.end })
}

fn closes_wire(closes: &Closes) -> ClosesWire<'_> {
    let (by, next) = match closes {
        Closes::Rotate { next } => ("rotate", Some(Text(next.as_str().into()))),
        Closes::Stop => ("stop", None),
        Closes::Crash => ("crash", None),
    };
    ClosesWire { by: by.into(), next }
}

fn closes(wire: ClosesWire<'_>) -> Result<Closes, &'static str> {
    match (&*wire.by, wire.next) {
        ("rotate", Some(Text(next))) => {
            BinlogName::parse(&next).map(|next| Closes::Rotate { next }).map_err(|_| "closes.next")
        }
        ("stop", _) => Ok(Closes::Stop),
        ("crash", _) => Ok(Closes::Crash),
        _ => Err("closes"),
    }
}

fn flags_wire(header: &SegmentHeader) -> FlagsWire<'_> {
    let flags = header.transactions.flags;
    FlagsWire {
        checksum: header.checksum.as_str().into(),
        contains: FLAG_NAMES
            .iter()
            .filter(|(flag, _)| flags.contains(*flag))
            .map(|(_, name)| (*name).to_owned())
            .collect(),
        without_gtid: header.transactions.without_gtid,
        whole_seconds: header.transactions.whole_seconds,
        unreadable: header
            .damage
            .as_ref()
            .map(|damage| UnreadableWire { offset: damage.offset, reason: damage.reason.clone() }),
    }
}

/// Names of a later version are passed over, as unknown fields are.
fn transaction_flags(names: &[String]) -> TransactionFlags {
    FLAG_NAMES
        .iter()
        .filter(|(_, name)| names.iter().any(|found| found == name))
        .fold(TransactionFlags::NONE, |flags, (flag, _)| flags | *flag)
}
