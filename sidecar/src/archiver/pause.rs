//! Pauses between tries that never end: growing, with jitter, bounded.

use std::time::Duration;

use tokio::time::Instant;

/// Before the second try.
const FIRST: Duration = Duration::from_secs(1);
/// No pause is longer: what is wrong may be put right at any moment.
const LONGEST: Duration = Duration::from_secs(60);

/// How often something failed, and when it is tried again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// It never failed.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// It failed (again).
    pub(crate) fn fail(&mut self) {
        let ceiling = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Half fixed, half random: never at once, and never all archivers at the same moment.
        self.until = Some(Instant::now() + ceiling.mul_f64(0.5 + rand::random::<f64>() / 2.0));
    }

    /// Times it failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// How long until the next try; nothing when it is due.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{LONGEST, Pause};

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let slack = Duration::from_secs(5);
        let mut pause = Pause::none();
        let now = Instant::now();
        assert!(pause.left(now).is_zero());
        pause.fail();
        assert!(pause.left(now) >= Duration::from_millis(500) && pause.left(now) <= Duration::from_secs(1) + slack);
        for _ in 0..100 {
            pause.fail();
            assert!(pause.left(now) <= LONGEST + slack);
        }
        assert!(pause.left(now) >= LONGEST / 2);
        assert_eq!(pause.failures(), 101);
        assert!(pause.left(now + LONGEST + slack).is_zero());
    }
}
