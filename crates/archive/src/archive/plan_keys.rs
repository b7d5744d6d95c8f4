//! The keys that a plan asks for: whom its log is encrypted to, and which base backups lead to the same stop with other keys.

use std::collections::BTreeSet;
use std::time::Duration;

use pitr_recovery::{PlanRequest, RestorePlan, Timeline};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Archive;
use crate::layout::{ObjectKey, SegmentKey};

/// A help to whoever reads the plan must not cost the plan: its answer has 30 s.
const WITHIN: Duration = Duration::from_secs(5);
/// Other base backups that are named at most.
const OTHERS_MAX: usize = 4;

/// What a restore by a plan must be able to open, or could open instead. Whom its base backup is encrypted to is in the plan itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanKeys {
    /// Public keys that the log is encrypted to: a set for its first encrypted part, and one for its last where that is another. Empty:
    /// it is in clear, or nobody can tell.
    pub log: Vec<Vec<String>>,
    /// The cheapest base backups that lead to the same stop with other keys than the plan's, or with none.
    pub others: Vec<OtherBase>,
}

/// A base backup that would do as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherBase {
    /// `bb-...`
    pub id: String,
    /// Public keys that it is encrypted to; empty: it is in clear.
    pub recipients: Vec<String>,
}

/// Whether a part of a plan's log is encrypted.
pub fn is_log_sealed(plan: &RestorePlan) -> bool {
    sealed_segments(plan).next().is_some()
}

fn sealed_segments(plan: &RestorePlan) -> impl Iterator<Item = SegmentKey> {
    let ranges = plan.files().iter().flat_map(|file| [&file.head].into_iter().chain(&file.ranges));
    ranges.flat_map(|range| &range.objects).filter_map(|object| match object.key.parse() {
        Ok(ObjectKey::Segment(key)) if key.encrypted => Some(key),
        _ => None,
    })
}

impl Archive {
    /// The keys of a plan that this timeline gave for this request. Not being able to tell, or not in time, is no error.
    pub async fn plan_keys(&self, timeline: Timeline, request: &PlanRequest, plan: &RestorePlan) -> PlanKeys {
        let log = timeout(WITHIN, self.log_recipients(plan));
        let others = timeout(WITHIN, self.other_bases(timeline, request, plan));
        let (log, others) = tokio::join!(log, others);
        PlanKeys { log: log.unwrap_or_default(), others: others.unwrap_or_default() }
    }

    async fn log_recipients(&self, plan: &RestorePlan) -> Vec<Vec<String>> {
        let sealed: Vec<SegmentKey> = sealed_segments(plan).collect();
        let mut found = Vec::new();
        for key in [sealed.first(), sealed.last()].into_iter().flatten() {
            if let Ok(Ok((header, _))) = self.read_header(key).await
                && !found.contains(&header.recipients)
            {
                found.push(header.recipients);
            }
        }
        found
    }

    async fn other_bases(&self, mut timeline: Timeline, request: &PlanRequest, plan: &RestorePlan) -> Vec<OtherBase> {
        let set = |recipients: &[String]| recipients.iter().cloned().collect::<BTreeSet<_>>();
        let chosen = set(&plan.base().recipients);
        if chosen.is_empty() {
            return Vec::new();
        }
        let bases: Vec<(String, BTreeSet<String>)> =
            timeline.inventory().backups.iter().map(|base| (base.id.clone(), set(&base.recipients))).collect();
        // What is in clear comes first.
        let kinds: BTreeSet<&BTreeSet<String>> =
            bases.iter().map(|(_, kind)| kind).filter(|kind| **kind != chosen).collect();
        let mut others = Vec::new();
        for kind in kinds.into_iter().take(OTHERS_MAX) {
            let sealed = bases.iter().filter(|(_, of)| of != kind).map(|(id, _)| id.clone()).collect();
            let asked = PlanRequest { from_backup: None, sealed, ..request.clone() };
            let Ok((again, answer)) = self.plan_from_any(timeline, &asked).await else { break };
            timeline = again;
            let same = answer.ok().filter(|other| other.parts().expected == plan.parts().expected);
            others.extend(same.map(|other| {
                let base = other.base();
                OtherBase { id: base.id.clone(), recipients: base.recipients.clone() }
            }));
        }
        others
    }
}
