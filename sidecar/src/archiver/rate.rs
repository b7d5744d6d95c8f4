//! A limit of bytes a second that holds on average: what was sent is paid for before anything else goes, and the tail goes first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::status;

/// Unspent bytes are kept for so long: after a pause a limit allows no more than this at once.
const SAVED: Duration = Duration::from_secs(1);
/// What was sent in vain delays what comes next by no more than this: an outage leaves no debt of hours.
const DEBT: Duration = Duration::from_secs(30);
/// A long wait says now and then that it is one.
const SLICE: Duration = Duration::from_secs(30);

/// Who goes first when several wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// The tail, and what makes it count.
    First,
    /// The rest.
    Later,
}

/// A rate; without a limit it costs nothing.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_a_second: Option<u64>,
    /// Until when everything spent so far is paid for.
    paid_until: Mutex<Instant>,
    /// How many wait who go first.
    first: AtomicUsize,
}

impl Rate {
    /// A rate of so many bytes a second; none: any.
    pub(crate) fn new(bytes_a_second: Option<u64>) -> Self {
        let bytes_a_second = bytes_a_second.filter(|bytes| *bytes > 0);
        Self { bytes_a_second, paid_until: Mutex::new(Instant::now()), first: AtomicUsize::new(0) }
    }

    /// Waits until what was spent is paid for, and spends these bytes.
    pub(crate) async fn spend(&self, bytes: u64, urgency: Urgency) {
        let _waiting = (urgency == Urgency::First).then(|| Waiting::new(&self.first));
        while let Err(until) = self.try_spend(bytes, urgency, Instant::now()) {
            status::tick();
            tokio::time::sleep_until(until.min(Instant::now() + SLICE)).await;
        }
    }

    /// Counts bytes that went out once more than was asked for: nothing waits here, and what comes next waits for them.
    pub(crate) fn charge(&self, bytes: u64) {
        self.charge_at(bytes, Instant::now());
    }

    fn charge_at(&self, bytes: u64, now: Instant) {
        let Some(cost) = self.cost(bytes) else { return };
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*paid_until).max(now.checked_sub(SAVED).unwrap_or(now));
        *paid_until = (begin + cost.min(DEBT)).min((now + DEBT).max(*paid_until));
    }

    /// How long what was spent takes yet to be paid.
    #[cfg(test)]
    pub(super) fn owed(&self) -> Duration {
        self.paid_until.lock().unwrap_or_else(PoisonError::into_inner).saturating_duration_since(Instant::now())
    }

    /// The time that bytes take at this rate.
    fn cost(&self, bytes: u64) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "a duration need not be exact")]
        self.bytes_a_second.map(|rate| Duration::from_secs_f64(bytes as f64 / rate as f64))
    }

    /// Spends them now, or says when to ask again.
    fn try_spend(&self, bytes: u64, urgency: Urgency, now: Instant) -> Result<(), Instant> {
        let Some(cost) = self.cost(bytes) else { return Ok(()) };
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        if *paid_until > now {
            return Err(*paid_until);
        }
        if urgency == Urgency::Later && self.first.load(Ordering::Relaxed) > 0 {
            return Err(now + Duration::from_millis(5));
        }
        let begin = (*paid_until).max(now.checked_sub(SAVED).unwrap_or(now));
        *paid_until = begin + cost;
        Ok(())
    }
}

/// Counts whoever waits, also when the wait is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Rate, Urgency, Waiting};

    #[test]
    fn what_is_spent_over_any_time_stays_below_the_rate() {
        let rate = Rate::new(Some(1_000_000));
        let begun = Instant::now();
        let (mut now, mut spent) = (begun, 0_u32);
        for piece in [500_000_u32, 3_000_000, 10, 2_000_000, 700_000, 1_000_000] {
            while let Err(until) = rate.try_spend(piece.into(), Urgency::Later, now) {
                assert!(until > now);
                now = until;
            }
            // What went before is paid for, but for one saved second.
            assert!(f64::from(spent) <= (now - begun).as_secs_f64() * 1e6 + 1e6, "{spent} after {:?}", now - begun);
            spent += piece;
        }
        assert!(now - begun >= Duration::from_millis(5_100), "{:?}", now - begun);
        // Idle time is no credit for more than a second.
        let later = now + Duration::from_secs(3600);
        rate.try_spend(5_000_000, Urgency::Later, later).unwrap();
        assert!(rate.try_spend(1, Urgency::Later, later).unwrap_err() >= later + Duration::from_millis(3_999));
    }

    #[test]
    fn what_was_sent_in_vain_is_paid_for_and_an_outage_is_forgiven() {
        let rate = Rate::new(Some(1_000_000));
        let now = Instant::now() + Duration::from_secs(10);
        rate.try_spend(3_000_000, Urgency::Later, now).unwrap();
        rate.charge_at(3_000_000, now);
        // 6 s of work, less the one that was saved.
        let until = rate.try_spend(1, Urgency::Later, now).unwrap_err();
        assert!(until >= now + Duration::from_millis(4_999) && until <= now + Duration::from_millis(5_001));
        for _ in 0..1000 {
            rate.charge_at(3_000_000, now);
        }
        assert_eq!(rate.try_spend(1, Urgency::Later, now), Err(now + super::DEBT));
        // No limit, no debt.
        let free = Rate::new(None);
        free.charge(u64::MAX);
        assert!(free.try_spend(1, Urgency::Later, Instant::now()).is_ok());
    }

    #[test]
    fn the_tail_goes_before_the_backlog() {
        let rate = Rate::new(Some(1_000_000));
        let now = Instant::now() + Duration::from_secs(10);
        let waiting = Waiting::new(&rate.first);
        assert!(rate.try_spend(1, Urgency::Later, now).is_err());
        assert!(rate.try_spend(1, Urgency::First, now).is_ok());
        drop(waiting);
        assert!(rate.try_spend(1, Urgency::Later, now + Duration::from_secs(1)).is_ok());
    }

    #[tokio::test]
    async fn no_limit_never_waits() {
        let rate = Rate::new(None);
        rate.spend(u64::MAX, Urgency::Later).await;
        rate.spend(u64::MAX, Urgency::First).await;
        assert!(rate.try_spend(1, Urgency::Later, Instant::now()).is_ok());
    }
}
