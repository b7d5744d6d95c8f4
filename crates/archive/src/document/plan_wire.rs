//! The shapes of a plan document, and their conversion to and from the domain.

use std::collections::BTreeMap;

use pitr_binlog::{BinlogName, Gtid, GtidSet, TransactionFlags};
use pitr_recovery::{
    BaseBackup, BinlogId, BoundaryTransaction, PlannedBinlog, PlannedRange, RecoveryTarget, StoredObject,
    TransactionPoint,
};
use serde::{Deserialize, Serialize};

use super::Instant;
use crate::digest::{ShortHash, parse_digest};
use crate::layout::{is_backup_id, is_source};

/// The field that is not valid.
pub(super) type Invalid = &'static str;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TargetWire {
    Time(Instant),
    Latest(bool),
    BeforeGtid(String),
    ThroughGtid(String),
    Position { binlog: String, position: u64, source: Option<String> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BaseWire {
    id: String,
    method: String,
    flavour: String,
    server_version: String,
    source: String,
    gtid_executed: String,
    position: Option<PositionWire>,
    snapshot_at: Instant,
    started_at: Instant,
    finished_at: Instant,
    raw_bytes: u64,
    stored_bytes: u64,
    settings: BTreeMap<String, String>,
    /// Left out where it is in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PositionWire {
    binlog: String,
    position: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BinlogWire {
    pub(super) source: String,
    pub(super) head: String,
    pub(super) binlog: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileWire {
    #[serde(flatten)]
    id: BinlogWire,
    from: u64,
    to: u64,
    #[serde(rename = "headRange")]
    head_range: RangeWire,
    ranges: Vec<RangeWire>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RangeWire {
    start: u64,
    end: u64,
    raw_sha256: String,
    objects: Vec<ObjectWire>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectWire {
    key: String,
    stored_bytes: u64,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BoundaryWire {
    #[serde(flatten)]
    id: BinlogWire,
    gtid: Option<String>,
    committed_at: Instant,
    /// When the server that wrote this log committed it, where that is another time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logged_at: Option<Instant>,
    start: u64,
    end: u64,
    flags: u16,
}

pub(super) fn gtid(text: &str, field: Invalid) -> Result<Gtid, Invalid> {
    text.parse().map_err(|_| field)
}

pub(super) fn set(text: &str, field: Invalid) -> Result<GtidSet, Invalid> {
    text.parse().map_err(|_| field)
}

fn name(text: &str) -> Result<BinlogName, Invalid> {
    BinlogName::parse(text).map_err(|_| "binlog")
}

impl From<&RecoveryTarget> for TargetWire {
    fn from(target: &RecoveryTarget) -> Self {
        match target {
            RecoveryTarget::Time(us) => Self::Time(Instant(*us)),
            RecoveryTarget::Latest => Self::Latest(true),
            RecoveryTarget::BeforeGtid(gtid) => Self::BeforeGtid(gtid.to_string()),
            RecoveryTarget::ThroughGtid(gtid) => Self::ThroughGtid(gtid.to_string()),
            RecoveryTarget::Position { source, name, pos } => {
                Self::Position { binlog: name.to_string(), position: *pos, source: source.clone() }
            }
        }
    }
}

impl TargetWire {
    pub(super) fn target(self) -> Result<RecoveryTarget, Invalid> {
        Ok(match self {
            Self::Time(Instant(us)) => RecoveryTarget::Time(us),
            Self::Latest(true) => RecoveryTarget::Latest,
            Self::Latest(false) => return Err("target.latest"),
            Self::BeforeGtid(text) => RecoveryTarget::BeforeGtid(gtid(&text, "target.beforeGtid")?),
            Self::ThroughGtid(text) => RecoveryTarget::ThroughGtid(gtid(&text, "target.throughGtid")?),
            Self::Position { binlog, position, source } => {
                RecoveryTarget::Position { source, name: name(&binlog)?, pos: position }
            }
        })
    }
}

impl From<&BaseBackup> for BaseWire {
    fn from(base: &BaseBackup) -> Self {
        let position = base.position.as_ref();
        Self {
            id: base.id.clone(),
            method: base.method.clone(),
            flavour: base.flavour.to_string(),
            server_version: base.server_version.clone(),
            source: base.source.clone(),
            gtid_executed: base.executed.to_string(),
            position: position.map(|(name, pos)| PositionWire { binlog: name.to_string(), position: *pos }),
            snapshot_at: Instant(base.snapshot_us),
            started_at: Instant(base.started_us),
            finished_at: Instant(base.finished_us),
            raw_bytes: base.raw_bytes,
            stored_bytes: base.stored_bytes,
            settings: base.settings.clone(),
            recipients: base.recipients.clone(),
        }
    }
}

impl BaseWire {
    pub(super) fn backup(self) -> Result<BaseBackup, Invalid> {
        if !is_backup_id(&self.id) {
            return Err("base.id");
        }
        let position = match self.position {
            Some(at) => Some((name(&at.binlog)?, at.position)),
            None => None,
        };
        Ok(BaseBackup {
            id: self.id,
            method: self.method,
            flavour: self.flavour.parse().map_err(|_| "base.flavour")?,
            server_version: self.server_version,
            source: self.source,
            executed: set(&self.gtid_executed, "base.gtidExecuted")?,
            position,
            snapshot_us: self.snapshot_at.0,
            started_us: self.started_at.0,
            finished_us: self.finished_at.0,
            raw_bytes: self.raw_bytes,
            stored_bytes: self.stored_bytes,
            settings: self.settings,
            recipients: self.recipients,
        })
    }
}

impl BinlogWire {
    pub(super) fn new(id: &BinlogId, name: &BinlogName) -> Self {
        Self { source: id.source.clone(), head: ShortHash(id.head).to_string(), binlog: name.to_string() }
    }

    pub(super) fn id(self) -> Result<(BinlogId, BinlogName), Invalid> {
        let name = name(&self.binlog)?;
        let head = ShortHash::parse(&self.head).ok_or("head")?.0;
        if !is_source(&self.source) {
            return Err("source");
        }
        Ok((BinlogId { source: self.source, number: name.number(), head }, name))
    }
}

impl From<&PlannedBinlog> for FileWire {
    fn from(file: &PlannedBinlog) -> Self {
        Self {
            id: BinlogWire::new(&file.id, &file.name),
            from: file.from,
            to: file.to,
            head_range: (&file.head).into(),
            ranges: file.ranges.iter().map(RangeWire::from).collect(),
        }
    }
}

impl FileWire {
    pub(super) fn file(self) -> Result<PlannedBinlog, Invalid> {
        let (id, name) = self.id.id()?;
        if self.from > self.to {
            return Err("files.to");
        }
        let ranges = self.ranges.into_iter().map(RangeWire::range).collect::<Result<_, _>>()?;
        Ok(PlannedBinlog { id, name, head: self.head_range.range()?, ranges, from: self.from, to: self.to })
    }
}

impl From<&PlannedRange> for RangeWire {
    fn from(range: &PlannedRange) -> Self {
        let object = |object: &StoredObject| ObjectWire {
            key: object.key.clone(),
            stored_bytes: object.length,
            sha256: hex::encode(object.sha256_begins),
        };
        Self {
            start: range.start,
            end: range.end,
            raw_sha256: hex::encode(range.raw_sha256),
            objects: range.objects.iter().map(object).collect(),
        }
    }
}

impl RangeWire {
    fn range(self) -> Result<PlannedRange, Invalid> {
        if self.start >= self.end {
            return Err("ranges.end");
        }
        let object = |object: ObjectWire| {
            let mut sha256_begins = [0; 8];
            hex::decode_to_slice(&object.sha256, &mut sha256_begins).map_err(|_| "objects.sha256")?;
            Ok(StoredObject { key: object.key, length: object.stored_bytes, sha256_begins })
        };
        Ok(PlannedRange {
            start: self.start,
            end: self.end,
            raw_sha256: parse_digest(&self.raw_sha256).ok_or("ranges.rawSha256")?,
            objects: self.objects.into_iter().map(object).collect::<Result<_, Invalid>>()?,
        })
    }
}

impl From<&BoundaryTransaction> for BoundaryWire {
    fn from(boundary: &BoundaryTransaction) -> Self {
        Self {
            id: BinlogWire::new(&boundary.binlog, &boundary.name),
            gtid: boundary.at.gtid.map(|gtid| gtid.to_string()),
            committed_at: Instant(boundary.at.commit_us),
            logged_at: boundary.logged_us.map(Instant),
            start: boundary.at.start,
            end: boundary.at.end,
            flags: boundary.flags.bits(),
        }
    }
}

impl BoundaryWire {
    pub(super) fn boundary(self) -> Result<BoundaryTransaction, Invalid> {
        let (binlog, name) = self.id.id()?;
        let gtid = self.gtid.map(|text| gtid(&text, "gtid")).transpose()?;
        Ok(BoundaryTransaction {
            binlog,
            name,
            at: TransactionPoint { gtid, commit_us: self.committed_at.0, start: self.start, end: self.end },
            logged_us: self.logged_at.map(|at| at.0),
            flags: TransactionFlags::from_bits(self.flags),
        })
    }
}
