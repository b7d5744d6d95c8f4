//! A restore plan as a document: the contract between whoever plans and whoever restores, identified by the hash of its
//! exact bytes.

use pitr_recovery::{Clock, LaterBeforeTarget, PlanParts, PlanWarning, RestorePlan, Stop};
use serde::{Deserialize, Serialize};

use super::plan_wire::{BaseWire, BinlogWire, BoundaryWire, FileWire, Invalid, TargetWire, gtid, set};
use super::{API_VERSION, Instant, SCHEMA_VERSION};
use crate::digest::sha256;

const KIND: &str = "RestorePlan";

/// A document that is not a plan that this version can carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or a field is missing.
    #[error("the document cannot be read: {0}")]
    Unreadable(String),
    /// Another kind of document.
    #[error("the document is of kind \"{found}\", not \"{KIND}\"")]
    Kind {
        /// Its kind.
        found: String,
    },
    /// A later version.
    #[error("the document has schema {found}, this version reads up to {SCHEMA_VERSION}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// A field says what cannot be.
    #[error("the document's \"{field}\" is not valid")]
    Invalid {
        /// The field.
        field: &'static str,
    },
}

/// A plan and the exact bytes that are hashed, mounted and stored.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanDocument {
    plan: RestorePlan,
    bytes: Vec<u8>,
}

/// The hash that identifies a plan: of the exact bytes of its document.
#[must_use]
pub fn plan_hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha256(bytes)))
}

impl PlanDocument {
    /// Writes a plan down.
    ///
    /// # Errors
    /// [`DocumentError::Unreadable`]: never seen; JSON has a place for all of its values.
    pub fn new(plan: RestorePlan) -> Result<Self, DocumentError> {
        let bytes = Self::encode(&plan)?;
        Ok(Self { plan, bytes })
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`DocumentError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Ok(Self { plan: Self::decode(bytes)?, bytes: bytes.to_vec() })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &RestorePlan {
        &self.plan
    }

    /// The exact bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash of the bytes.
    #[must_use]
    pub fn hash(&self) -> String {
        plan_hash(&self.bytes)
    }

    /// The bytes of a plan: the same for the same plan.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn encode(plan: &RestorePlan) -> Result<Vec<u8>, DocumentError> {
        let unreadable = |error: serde_json::Error| DocumentError::Unreadable(error.to_string());
        let mut bytes = serde_json::to_vec_pretty(&PlanWire::from(plan.parts())).map_err(unreadable)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The plan of these bytes. Whoever must be sure of it compares [`plan_hash`] first.
    ///
    /// # Errors
    /// [`DocumentError`]
    pub fn decode(bytes: &[u8]) -> Result<RestorePlan, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            kind: String,
            schema_version: u32,
        }
        let unreadable = |error: serde_json::Error| DocumentError::Unreadable(error.to_string());
        let Kind { kind, schema_version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if kind != KIND {
            return Err(DocumentError::Kind { found: kind });
        }
        if schema_version > SCHEMA_VERSION {
            return Err(DocumentError::Newer { found: schema_version });
        }
        let wire: PlanWire = serde_json::from_slice(bytes).map_err(unreadable)?;
        let parts = wire.parts().map_err(|field| DocumentError::Invalid { field })?;
        Ok(RestorePlan::from_parts(parts))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlanWire {
    api_version: String,
    kind: String,
    schema_version: u32,
    workload: String,
    target: TargetWire,
    /// Left out where it is the original one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock: Option<String>,
    base: BaseWire,
    branch: String,
    stream: Option<String>,
    files: Vec<FileWire>,
    stop: Option<StopWire>,
    last_applied: Option<BoundaryWire>,
    first_excluded: Option<BoundaryWire>,
    later_before_target: LaterWire,
    same_second: u64,
    expected_gtid_set: String,
    skip_gtid_set: String,
    transactions: u64,
    replay_bytes: u64,
    warnings: Vec<WarningWire>,
    resolution_micros: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StopWire {
    #[serde(flatten)]
    id: BinlogWire,
    position: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct LaterWire {
    count: u64,
    first: Option<BoundaryWire>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum WarningWire {
    WholeSeconds,
    TimesStepBack { micros: i64 },
    XaTransactions,
    Statements,
    NonTransactional,
    Skipped { gtid_set: String },
    ProvenByServer { to: Instant },
    BaseAlone,
    Nearest { asked: TargetWire },
    AcrossGap { gap: String, missing_gtid_set: String },
    OtherClock { clock: String, more: Option<i64>, before: Option<String> },
}

impl From<&PlanParts> for PlanWire {
    fn from(parts: &PlanParts) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            schema_version: SCHEMA_VERSION,
            workload: parts.workload.clone(),
            target: (&parts.target).into(),
            clock: (parts.clock != Clock::default()).then(|| parts.clock.to_string()),
            base: (&parts.base).into(),
            branch: parts.branch.clone(),
            stream: parts.stream.clone(),
            files: parts.files.iter().map(FileWire::from).collect(),
            stop: parts
                .stop
                .as_ref()
                .map(|stop| StopWire { id: BinlogWire::new(&stop.binlog, &stop.name), position: stop.offset }),
            last_applied: parts.last_applied.as_ref().map(BoundaryWire::from),
            first_excluded: parts.first_excluded.as_ref().map(BoundaryWire::from),
            later_before_target: LaterWire {
                count: parts.later_before_target.count,
                first: parts.later_before_target.first.as_deref().map(BoundaryWire::from),
            },
            same_second: parts.same_second,
            expected_gtid_set: parts.expected.to_string(),
            skip_gtid_set: parts.skip.to_string(),
            transactions: parts.transactions,
            replay_bytes: parts.bytes,
            warnings: parts.warnings.iter().map(WarningWire::from).collect(),
            resolution_micros: parts.resolution_us,
        }
    }
}

impl PlanWire {
    fn parts(self) -> Result<PlanParts, Invalid> {
        let boundary = |wire: Option<BoundaryWire>| wire.map(BoundaryWire::boundary).transpose();
        let stop = match self.stop {
            Some(stop) => {
                let (binlog, name) = stop.id.id()?;
                Some(Stop { binlog, name, offset: stop.position })
            }
            None => None,
        };
        Ok(PlanParts {
            workload: self.workload,
            target: self.target.target()?,
            clock: self.clock.map_or(Ok(Clock::default()), |text| text.parse().map_err(|_| "clock"))?,
            base: self.base.backup()?,
            branch: self.branch,
            stream: self.stream,
            files: self.files.into_iter().map(FileWire::file).collect::<Result<_, _>>()?,
            stop,
            last_applied: boundary(self.last_applied)?,
            first_excluded: boundary(self.first_excluded)?,
            later_before_target: LaterBeforeTarget {
                count: self.later_before_target.count,
                first: boundary(self.later_before_target.first)?.map(Box::new),
            },
            same_second: self.same_second,
            expected: set(&self.expected_gtid_set, "expectedGtidSet")?,
            skip: set(&self.skip_gtid_set, "skipGtidSet")?,
            transactions: self.transactions,
            bytes: self.replay_bytes,
            warnings: self.warnings.into_iter().map(WarningWire::warning).collect::<Result<_, _>>()?,
            resolution_us: self.resolution_micros,
        })
    }
}

impl From<&PlanWarning> for WarningWire {
    fn from(warning: &PlanWarning) -> Self {
        match warning {
            PlanWarning::WholeSeconds => Self::WholeSeconds,
            PlanWarning::TimesStepBack { by_us } => Self::TimesStepBack { micros: *by_us },
            PlanWarning::XaTransactions => Self::XaTransactions,
            PlanWarning::Statements => Self::Statements,
            PlanWarning::NonTransactional => Self::NonTransactional,
            PlanWarning::Skipped(set) => Self::Skipped { gtid_set: set.to_string() },
            PlanWarning::ProvenByServer { to_us } => Self::ProvenByServer { to: Instant(*to_us) },
            PlanWarning::BaseAlone => Self::BaseAlone,
            PlanWarning::Nearest { asked } => Self::Nearest { asked: asked.into() },
            PlanWarning::OtherClock { clock, more, before } => {
                Self::OtherClock { clock: clock.to_string(), more: *more, before: before.map(|gtid| gtid.to_string()) }
            }
            PlanWarning::AcrossGap { gap, missing } => {
                Self::AcrossGap { gap: gap.clone(), missing_gtid_set: missing.to_string() }
            }
        }
    }
}

impl WarningWire {
    fn warning(self) -> Result<PlanWarning, Invalid> {
        Ok(match self {
            Self::WholeSeconds => PlanWarning::WholeSeconds,
            Self::TimesStepBack { micros } => PlanWarning::TimesStepBack { by_us: micros },
            Self::XaTransactions => PlanWarning::XaTransactions,
            Self::Statements => PlanWarning::Statements,
            Self::NonTransactional => PlanWarning::NonTransactional,
            Self::Skipped { gtid_set } => PlanWarning::Skipped(set(&gtid_set, "warnings.gtidSet")?),
            Self::ProvenByServer { to } => PlanWarning::ProvenByServer { to_us: to.0 },
            Self::BaseAlone => PlanWarning::BaseAlone,
            Self::Nearest { asked } => PlanWarning::Nearest { asked: asked.target()? },
            Self::OtherClock { clock, more, before } => PlanWarning::OtherClock {
                clock: clock.parse().map_err(|_| "warnings.clock")?,
                more,
                before: before.map(|text| gtid(&text, "warnings.before")).transpose()?,
            },
            Self::AcrossGap { gap, missing_gtid_set } => {
                PlanWarning::AcrossGap { gap, missing: set(&missing_gtid_set, "warnings.missingGtidSet")? }
            }
        })
    }
}

#[cfg(test)]
mod tests;
