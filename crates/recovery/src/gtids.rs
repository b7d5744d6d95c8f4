//! States of a server as GTID sets.

use pitr_binlog::{GtidSet, GtidSource};

/// Adds the transactions of a piece of log to the state before it.
///
/// A MariaDB server only says the last number of each domain and server, which is read as all numbers up to it; numbers jump
/// there. So its states are kept in that form.
pub(crate) fn advance(state: &mut GtidSet, gtids: &GtidSet) {
    state.union_with(gtids);
    for source in gtids.sources().filter(|source| matches!(source, GtidSource::MariaDb { .. })) {
        if let Some(last) = state.last(source) {
            state.insert_range(source, 1..=last);
        }
    }
}

/// The state after a piece of log.
pub(crate) fn after(state: &GtidSet, gtids: &GtidSet) -> GtidSet {
    let mut after = state.clone();
    advance(&mut after, gtids);
    after
}
