//! A value that takes calls to the store to learn: the last one is shown while a newer one is asked for, and a store that is away
//! silences nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Who shows the state waits so long for a newer value than the last one; a store that works answers within.
const A_MOMENT: Duration = Duration::from_secs(1);

/// The last value. Clones share it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    cell: watch::Sender<Cell<T>>,
    /// The attempt under way: it ends with the last clone.
    task: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Debug)]
struct Cell<T> {
    last: Option<Arc<T>>,
    /// When the last attempt ended, however it did.
    tried_at: Option<Instant>,
    /// Since when a newer one is asked for.
    busy_since: Option<Instant>,
}

/// How long somebody waits for a newer value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// A moment from the beginning of the attempt on: then the last value has to do.
    Moment,
    /// Until there is one, or the attempt failed.
    Answer,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        let cell = Cell { last: None, tried_at: None, busy_since: None };
        Self { cell: watch::Sender::new(cell), task: Arc::default() }
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone(), task: Arc::clone(&self.task) }
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// The last value; before that a newer one is asked for if `is_due` (of the last one and the time since the last attempt). One
    /// attempt is made at a time, and it goes on when nobody waits for it any more. One that fails leaves the value as it was.
    pub(super) async fn get<F>(
        &self,
        is_due: impl Fn(Option<&T>, Option<Duration>) -> bool,
        ask: impl FnOnce(Option<Arc<T>>) -> F,
        patience: Patience,
    ) -> Option<Arc<T>>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut cell = self.cell.subscribe();
        if patience == Patience::Answer {
            // An attempt that began before this call may not know what its caller knows.
            let _sender_lives = cell.wait_for(|cell| cell.busy_since.is_none()).await.is_ok();
        }
        if self.begin(&is_due) {
            let attempt = Attempt(self.cell.clone());
            let asked = ask(self.last());
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            // What ended before is taken out.
            while task.try_join_next().is_some() {}
            task.spawn(async move { attempt.end(asked.await) });
        }
        let ends = async {
            let _sender_lives = cell.wait_for(|cell| cell.busy_since.is_none()).await.is_ok();
        };
        let since = self.cell.borrow().busy_since;
        let left = since.map(|since| A_MOMENT.saturating_sub(since.elapsed()));
        match (patience, left) {
            (Patience::Answer, Some(_)) => ends.await,
            (Patience::Moment, Some(left)) if !left.is_zero() => {
                let _is_late = tokio::time::timeout(left, ends).await.is_err();
            }
            _ => {}
        }
        self.last()
    }

    fn last(&self) -> Option<Arc<T>> {
        self.cell.borrow().last.clone()
    }

    /// Whether an attempt is to be made by the caller.
    fn begin(&self, is_due: impl Fn(Option<&T>, Option<Duration>) -> bool) -> bool {
        self.cell.send_if_modified(|cell| {
            let begins =
                cell.busy_since.is_none() && is_due(cell.last.as_deref(), cell.tried_at.map(|at| at.elapsed()));
            if begins {
                cell.busy_since = Some(Instant::now());
            }
            begins
        })
    }
}

/// An attempt; one that dies has failed.
struct Attempt<T>(watch::Sender<Cell<T>>);

impl<T> Attempt<T> {
    fn end(&self, value: Option<T>) {
        self.0.send_modify(|cell| {
            if let Some(value) = value {
                cell.last = Some(Arc::new(value));
            }
        });
    }
}

impl<T> Drop for Attempt<T> {
    fn drop(&mut self) {
        self.0.send_modify(|cell| {
            cell.busy_since = None;
            cell.tried_at = Some(Instant::now());
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::sync::Notify;

    use super::{Kept, Patience};

    /// Due where the value is not this one.
    fn other_than(wanted: u64) -> impl Fn(Option<&u64>, Option<Duration>) -> bool {
        move |last, _| last != Some(&wanted)
    }

    #[tokio::test]
    async fn a_store_that_is_silent_holds_up_nobody_and_takes_nothing_away() {
        let (kept, asked, fails) = (Kept::default(), Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        assert_eq!(kept.get(other_than(7), |_| async { Some(7) }, Patience::Moment).await.as_deref(), Some(&7));
        let silent = |_| {
            let (asked, fails) = (Arc::clone(&asked), Arc::clone(&fails));
            async move {
                asked.fetch_add(1, Ordering::SeqCst);
                fails.notified().await;
                None
            }
        };
        assert_eq!(kept.get(other_than(8), silent, Patience::Moment).await.as_deref(), Some(&7));
        for _ in 0..20 {
            let next = kept.get(other_than(8), silent, Patience::Moment).now_or_never();
            assert_eq!(next.expect("nobody waits twice for one attempt").as_deref(), Some(&7));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "one attempt at a time");
        fails.notify_one();
        let answer = kept.get(other_than(8), |_| async { Some(8) }, Patience::Answer).await;
        assert_eq!(answer.as_deref(), Some(&8), "after the failure the next attempt is made");
    }

    #[tokio::test]
    async fn who_wants_an_answer_waits_for_one_that_began_after_the_question() {
        let (kept, goes_on) = (Kept::<u64>::default(), Arc::new(Notify::new()));
        let waits = Arc::clone(&goes_on);
        let slow = |_| async move {
            waits.notified().await;
            Some(1)
        };
        assert_eq!(kept.get(other_than(1), slow, Patience::Moment).await, None, "nothing is known yet");
        let next = |last: Option<Arc<u64>>| async move { last.map(|last| *last + 1) };
        let asking = kept.get(other_than(5), next, Patience::Answer);
        let (answer, ()) = tokio::join!(asking, async { goes_on.notify_one() });
        assert_eq!(answer.as_deref(), Some(&2));
        // An attempt that dies does not stand in the way of the next one.
        let dies = |_| std::future::poll_fn(|_| -> std::task::Poll<Option<u64>> { panic!("on purpose") });
        assert_eq!(kept.get(other_than(3), dies, Patience::Answer).await.as_deref(), Some(&2));
        assert_eq!(kept.get(other_than(3), |_| async { Some(3) }, Patience::Answer).await.as_deref(), Some(&3));
    }
}
