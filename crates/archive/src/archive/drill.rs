//! What restore drills leave in the archive: the last one that was verified, and the last one that was not.

use jiff::Timestamp;
use pitr_recovery::RestorePace;
use serde::{Deserialize, Serialize};

use super::{Archive, ArchiveError, unreadable};
use crate::digest::ShortHash;
use crate::layout::{DRILLS_PREFIX, ObjectKey};
use crate::segment::FORMAT;
use crate::store::{ObjectClass, StoreError};

/// How a restore drill ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drill {
    /// When it ended.
    pub at: Timestamp,
    /// What was to be restored, as flags of `restore`.
    pub target: String,
    /// Whether the restored server held exactly what the plan said.
    pub verified: bool,
    /// The code of what went wrong.
    pub code: Option<String>,
    /// What went wrong.
    pub message: Option<String>,
    /// How long all of it took.
    pub seconds: u64,
    /// What the restored server had executed.
    pub gtid_set: Option<String>,
    /// How fast its parts were.
    pub pace: Pace,
}

/// How much was done in how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Size of the base backup's data, unpacked, in bytes.
    pub base_bytes: u64,
    /// From the first byte to a base that a server can start on, in milliseconds.
    pub base_ms: u64,
    /// Transactions replayed.
    pub transactions: u64,
    /// From the server's start to the last of them, in milliseconds.
    pub replay_ms: u64,
    /// Everything else, in milliseconds.
    pub rest_ms: u64,
}

/// A drill that replayed fewer transactions says more about the start of a server than about the replay.
pub(crate) const TRANSACTIONS_MIN: u64 = 1000;

impl Pace {
    /// What base backups are chosen by: parts that were too small to tell are left out.
    #[must_use]
    pub fn of_restores(&self) -> RestorePace {
        let measured = |amount: u64, ms: u64| (amount > 0 && ms > 0).then_some((amount, ms));
        RestorePace {
            base: measured(self.base_bytes, self.base_ms),
            replay: measured(self.transactions, self.replay_ms).filter(|(count, _)| *count >= TRANSACTIONS_MIN),
        }
    }
}

/// What is known of the drills of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drills {
    /// The last one that was verified.
    pub verified: Option<Drill>,
    /// The last one that was not, if no later one was verified.
    pub failed: Option<Drill>,
}

#[derive(Serialize, Deserialize)]
struct DrillWire {
    format: u32,
    #[serde(flatten)]
    drill: Drill,
}

/// A result in the archive.
struct Kept {
    generation: u64,
    key: String,
    /// What it says; none: it cannot be read now.
    drill: Option<Drill>,
}

impl Archive {
    /// How the last drills ended.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn last_drills(&self) -> Result<Drills, ArchiveError> {
        let mut drills = Drills::default();
        for drill in self.drills().await?.into_iter().filter_map(|kept| kept.drill) {
            if drill.verified {
                drills = Drills { verified: Some(drill), failed: None };
            } else {
                drills.failed = Some(drill);
            }
        }
        Ok(drills)
    }

    /// How fast the last verified drill was; none if there is none, or nobody can say.
    pub async fn last_pace(&self) -> Option<Pace> {
        Some(self.last_drills().await.ok()?.verified?.pace)
    }

    /// Leaves a result in place of the one before it of the same kind. `false`: this is a right that a reader does not have.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn record_drill(&self, drill: &Drill) -> Result<bool, ArchiveError> {
        let before = self.drills().await?;
        let generation = before.last().map_or(0, |kept| kept.generation) + 1;
        let wire = DrillWire { format: FORMAT, drill: drill.clone() };
        let json = serde_json::to_vec(&wire).map_err(|error| unreadable(DRILLS_PREFIX, &error))?;
        let key = ObjectKey::Drill { generation, hash: ShortHash::of(&json) }.to_string();
        match self.store.put(&key, json.into(), ObjectClass::Control).await {
            Ok(()) => {}
            Err(StoreError::Denied { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let is_of_the_kind = |kept: &Kept| kept.drill.as_ref().is_some_and(|old| old.verified == drill.verified);
        let of_the_kind = before.into_iter().filter(is_of_the_kind);
        let old: Vec<String> = of_the_kind.map(|kept| kept.key).collect();
        if !old.is_empty() {
            match self.store.delete(&old).await {
                // An old result more does no harm.
                Ok(()) | Err(StoreError::Denied { .. } | StoreError::Fatal { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Results that are there, in order. One that cannot be read is worth nothing, and counts as one all the same.
    async fn drills(&self) -> Result<Vec<Kept>, ArchiveError> {
        let mut found = Vec::new();
        for object in self.store.list(DRILLS_PREFIX).await? {
            let Ok(ObjectKey::Drill { generation, hash }) = object.key.parse() else { continue };
            let drill = match self.fetch_matching(&object.key, |bytes| ShortHash::of(bytes) == hash).await {
                Ok(bytes) => serde_json::from_slice::<DrillWire>(&bytes).ok().map(|wire| wire.drill),
                Err(ArchiveError::Store(
                    StoreError::NotFound { .. } | StoreError::Corrupt { .. } | StoreError::Withheld { .. },
                )) => None,
                Err(error) => return Err(error),
            };
            found.push(Kept { generation, key: object.key, drill });
        }
        found.sort_by_key(|kept| kept.generation);
        Ok(found)
    }
}
