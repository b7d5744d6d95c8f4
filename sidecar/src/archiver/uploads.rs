//! How many segments of the backlog are sent at once: fewer while the store is throttling, slowly more when it is not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Failures that belong together count once.
const ROUND: Duration = Duration::from_secs(1);

/// Additive increase, multiplicative decrease, as for congestion of a network. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    state: Arc<Mutex<State>>,
    freed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    most: f64,
    allowed: f64,
    under_way: usize,
    reduced_at: Option<Instant>,
}

impl Uploads {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Self {
        let most = f64::from(u32::try_from(most.max(1)).unwrap_or(u32::MAX));
        let state = State { most, allowed: most, under_way: 0, reduced_at: None };
        Self { state: Arc::new(Mutex::new(state)), freed: Arc::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> Turn {
        loop {
            let freed = self.freed.notified();
            if let Some(turn) = self.try_turn() {
                return turn;
            }
            freed.await;
        }
    }

    fn try_turn(&self) -> Option<Turn> {
        let mut state = self.lock();
        let is_free = f64::from(u32::try_from(state.under_way).unwrap_or(u32::MAX)) < state.allowed.floor();
        is_free.then(|| {
            state.under_way += 1;
            Turn { uploads: self.clone() }
        })
    }

    /// The store is busy or unwell: half as many from now on.
    pub(crate) fn congested(&self, now: Instant) {
        let mut state = self.lock();
        if state.reduced_at.is_none_or(|at| now.saturating_duration_since(at) >= ROUND) {
            state.reduced_at = Some(now);
            state.allowed = (state.allowed / 2.0).max(1.0);
        }
    }

    /// An object was stored: a little more than before.
    pub(crate) fn succeeded(&self) {
        let mut state = self.lock();
        state.allowed = (state.allowed + 1.0 / state.allowed).min(state.most);
        drop(state);
        self.freed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment may be sent, until dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    uploads: Uploads,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.uploads.lock().under_way -= 1;
        self.uploads.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Uploads;

    fn take_all(uploads: &Uploads) -> usize {
        let turns: Vec<_> = std::iter::from_fn(|| uploads.try_turn()).collect();
        turns.len()
    }

    #[test]
    fn a_busy_store_is_asked_half_as_often_and_slowly_more_again() {
        let uploads = Uploads::new(8);
        let now = Instant::now();
        assert_eq!(take_all(&uploads), 8);
        for _ in 0..5 {
            // One wave of refusals is one sign.
            uploads.congested(now);
        }
        assert_eq!(take_all(&uploads), 4);
        for second in 1..9 {
            uploads.congested(now + Duration::from_secs(second));
        }
        assert_eq!(take_all(&uploads), 1);
        uploads.succeeded();
        assert_eq!(take_all(&uploads), 2);
        for _ in 0..100 {
            uploads.succeeded();
        }
        assert_eq!(take_all(&uploads), 8);
    }

    #[tokio::test]
    async fn whoever_waits_goes_when_another_is_done() {
        let uploads = Uploads::new(1);
        let first = uploads.turn().await;
        let second = uploads.turn();
        tokio::pin!(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        drop(second.await);
    }
}
