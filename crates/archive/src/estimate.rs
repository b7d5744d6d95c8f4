//! What a plan has to fetch and to replay, and how long that takes at the pace of the last restore drill of the same archive.

use pitr_recovery::PlanParts;

use crate::archive::{Pace, TRANSACTIONS_MIN};

/// How much there is to do, and how long its parts take as far as that was ever measured. In seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes that are fetched, as they are stored.
    pub fetch_bytes: u64,
    /// Transactions that are replayed.
    pub transactions: u64,
    /// Fetching the base backup and making it ready.
    pub base_seconds: Option<u64>,
    /// Replaying the log.
    pub replay_seconds: Option<u64>,
    /// Everything else: proof, the server's end.
    pub rest_seconds: Option<u64>,
}

impl Estimate {
    /// Of a plan, at this pace.
    #[must_use]
    pub fn of(plan: &PlanParts, pace: Option<&Pace>) -> Self {
        let log = plan.files.iter().flat_map(|file| &file.ranges);
        let log: u64 = log.filter_map(|range| range.objects.first()).map(|object| object.length).sum();
        let base = plan.base.raw_bytes.max(plan.base.stored_bytes);
        Self {
            fetch_bytes: plan.base.stored_bytes.saturating_add(log),
            transactions: plan.transactions,
            base_seconds: pace.and_then(|pace| at(base, pace.base_bytes, pace.base_ms)),
            replay_seconds: match pace {
                _ if plan.transactions == 0 => Some(0),
                Some(pace) if pace.transactions >= TRANSACTIONS_MIN => {
                    at(plan.transactions, pace.transactions, pace.replay_ms)
                }
                Some(_) | None => None,
            },
            rest_seconds: pace.map(|pace| pace.rest_ms.div_ceil(1000)),
        }
    }

    /// All of it, if each part is known.
    #[must_use]
    pub fn seconds(&self) -> Option<u64> {
        Some(self.base_seconds? + self.replay_seconds? + self.rest_seconds?)
    }

    /// For people, with their ways to write sizes and durations.
    #[must_use]
    pub fn text(&self, size: impl Fn(u64) -> String, duration: impl Fn(u64) -> String) -> String {
        let work = format!("{} to fetch, {} transactions to replay", size(self.fetch_bytes), self.transactions);
        let (base, rest) = match (self.base_seconds, self.rest_seconds) {
            (Some(base), Some(rest)) => (duration(base), duration(rest)),
            _ => return format!("{work}; how long is unknown: no restore drill has measured it (kubectl pitr drill)"),
        };
        match (self.seconds(), self.replay_seconds) {
            (Some(all), Some(replay)) => format!(
                "{work}; {} at the last drill's pace (base {base}, replay {}, rest {rest})",
                duration(all),
                duration(replay)
            ),
            _ => format!(
                "{work}; at the last drill's pace base {base}, rest {rest}, replay unknown: it replayed fewer than {TRANSACTIONS_MIN} transactions"
            ),
        }
    }
}

/// Seconds for so much, if `done` took `ms` milliseconds.
fn at(much: u64, done: u64, ms: u64) -> Option<u64> {
    let ms = u128::from(much) * u128::from(ms) / u128::from(if done == 0 { return None } else { done });
    u64::try_from(ms.div_ceil(1000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(base_seconds: Option<u64>, replay_seconds: Option<u64>, rest_seconds: Option<u64>) -> String {
        let estimate = Estimate { fetch_bytes: 5, transactions: 2_000_000, base_seconds, replay_seconds, rest_seconds };
        estimate.text(|bytes| format!("{bytes} B"), |seconds| format!("{seconds}s"))
    }

    #[test]
    fn what_was_never_measured_is_unknown() {
        assert_eq!((at(2000, 1000, 500), at(1, 1000, 500), at(5, 0, 7)), (Some(1), Some(0), None));
        assert_eq!(at(3000, 1000, 500), Some(2));
        assert_eq!(
            text(Some(60), Some(400), Some(7)),
            "5 B to fetch, 2000000 transactions to replay; 467s at the last drill's pace (base 60s, replay 400s, rest 7s)"
        );
        assert!(
            text(None, None, None)
                .ends_with("how long is unknown: no restore drill has measured it (kubectl pitr drill)")
        );
        assert!(text(Some(1), None, Some(2)).ends_with("replay unknown: it replayed fewer than 1000 transactions"));
    }
}
