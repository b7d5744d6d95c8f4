//! What a restore costs, to prefer one base backup to another.

use crate::inventory::BaseBackup;
use crate::target::RestorePace;

/// Bytes fetched and written in a microsecond, and microseconds for one transaction: what restores have been measured to
/// take, where the archive's own pace is not known.
const BYTES_PER_US: u64 = 100;
const US_PER_TRANSACTION: u64 = 120;

/// Microseconds from a base backup over so many transactions and bytes of log to the goal, at the archive's own pace as far as that is
/// known.
pub(super) fn us(base: &BaseBackup, (transactions, bytes): (u64, u64), pace: &RestorePace) -> u64 {
    let at = |amount: u64, (done, ms): (u64, u64)| {
        let us = u128::from(amount) * u128::from(ms) * 1000 / u128::from(done.max(1));
        u64::try_from(us).unwrap_or(u64::MAX)
    };
    let fetch = match pace.base {
        Some(measured) => at(base.raw_bytes.max(base.stored_bytes), measured),
        None => base.stored_bytes / BYTES_PER_US,
    };
    let replay = match pace.replay {
        Some(measured) => at(transactions, measured),
        None => transactions.saturating_mul(US_PER_TRANSACTION).saturating_add(bytes / BYTES_PER_US),
    };
    fetch.saturating_add(replay)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pitr_binlog::{Flavour, GtidSet};

    use super::us;
    use crate::inventory::BaseBackup;
    use crate::target::RestorePace;

    fn base(stored_bytes: u64, raw_bytes: u64) -> BaseBackup {
        BaseBackup {
            id: String::new(),
            method: String::new(),
            flavour: Flavour::MySql,
            server_version: String::new(),
            source: String::new(),
            executed: GtidSet::new(),
            position: None,
            snapshot_us: 0,
            started_us: 0,
            finished_us: 0,
            raw_bytes,
            stored_bytes,
            settings: BTreeMap::new(),
            recipients: Vec::new(),
        }
    }

    #[test]
    fn a_measured_pace_can_turn_the_choice() {
        // An old, small one with 2,000,000 transactions to go, and a new one of 40 GiB.
        let (old, new) = ((base(1 << 30, 4 << 30), (2_000_000, 1 << 30)), (base(10 << 30, 40 << 30), (0, 0)));
        let cost = |(base, log): &(BaseBackup, (u64, u64)), pace: &RestorePace| us(base, *log, pace);
        let unknown = RestorePace::default();
        assert!(cost(&new, &unknown) < cost(&old, &unknown));
        // A slow store and a server that replays 50,000 a second.
        let measured = RestorePace { base: Some((1 << 30, 10_000)), replay: Some((50_000, 1000)) };
        assert_eq!((cost(&old, &measured), cost(&new, &measured)), (40_000_000 + 40_000_000, 400_000_000));
        // Numbers of any size are compared, not wrapped around.
        let absurd = RestorePace { base: Some((1, u64::MAX)), replay: Some((0, u64::MAX)) };
        assert_eq!(cost(&new, &absurd), u64::MAX);
    }
}
