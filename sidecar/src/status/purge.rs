//! When the server will purge what is not archived. Without an account for asking it nobody knows.

use super::board::Facts;

/// Less than this is near, unless the server never keeps a binlog for twice as long.
const NEAR_SECONDS: f64 = 6.0 * 3600.0;
/// Lag beyond this part of what the server keeps leaves no room for a bad day.
const LAG_PART: f64 = 3.0;

/// Seconds until the server may purge a binlog that is not archived whole. None: unknown, or it never purges by itself.
pub(super) fn seconds_until_purge(facts: &Facts, now_us: i64) -> Option<f64> {
    let expire_seconds = facts.said.as_ref()?.expire_seconds.filter(|seconds| *seconds > 0)?;
    let backlog = facts.backlog.as_ref()?;
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let (expire, waited) =
        (expire_seconds as f64, backlog.closed_us.map_or(0.0, |closed_us| (now_us - closed_us).max(0) as f64 / 1e6));
    // The server counts from the last change of a closed binlog; the active one is not even closed.
    Some((expire - waited).max(0.0))
}

/// Whether that is too soon.
pub(super) fn is_near(facts: &Facts, until: Option<f64>, lag: Option<f64>) -> bool {
    let (Some(until), Some(said)) = (until, &facts.said) else { return false };
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let expire = said.expire_seconds.unwrap_or(0) as f64;
    let waits = facts.backlog.as_ref().is_some_and(|backlog| backlog.binlogs > 0);
    let is_soon = waits && until < NEAR_SECONDS.min(expire / 2.0);
    is_soon || lag.is_some_and(|lag| until < LAG_PART * lag)
}

#[cfg(test)]
mod tests {
    use super::{is_near, seconds_until_purge};
    use crate::mysql::SourceState;
    use crate::status::board::{BacklogFacts, Facts};

    const NOW_US: i64 = 1_800_000_000_000_000;
    const HOUR_US: i64 = 3_600_000_000;

    fn facts(expire_seconds: Option<u64>, closed_us: Option<i64>) -> Facts {
        let backlog = BacklogFacts { binlogs: closed_us.iter().count() as u64, closed_us, ..BacklogFacts::default() };
        let said = Some(SourceState { expire_seconds, ..SourceState::default() });
        Facts { backlog: Some(backlog), said, ..Facts::default() }
    }

    #[test]
    fn what_is_unknown_or_never_happens_has_no_number() {
        assert_eq!(seconds_until_purge(&Facts::default(), NOW_US), None);
        assert_eq!(seconds_until_purge(&facts(None, None), NOW_US), None);
        assert_eq!(seconds_until_purge(&facts(Some(0), Some(NOW_US - HOUR_US)), NOW_US), None);
    }

    #[test]
    fn the_oldest_binlog_that_waits_decides() {
        let day = facts(Some(86_400), Some(NOW_US - 20 * HOUR_US));
        assert_eq!(seconds_until_purge(&day, NOW_US), Some(4.0 * 3600.0));
        assert!(is_near(&day, Some(4.0 * 3600.0), None));
        let idle = facts(Some(86_400), None);
        assert_eq!(seconds_until_purge(&idle, NOW_US), Some(86_400.0));
        assert!(!is_near(&idle, Some(86_400.0), Some(2.0)));
        // A server that keeps little is no finding while the archive keeps up, and is one when it does not.
        let hour = facts(Some(3600), Some(NOW_US - 60_000_000));
        assert!(!is_near(&hour, seconds_until_purge(&hour, NOW_US), Some(60.0)));
        assert!(is_near(&hour, seconds_until_purge(&hour, NOW_US), Some(1300.0)));
    }
}
