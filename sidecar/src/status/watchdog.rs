//! Which of the archiver's tasks still moves. A task is alive while it waits on purpose, while attempts at the store end (however they
//! end) and while pieces of files are read; it is stuck when none of this happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A task that was silent for so long is stuck: every attempt and every wait ends long before.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(300);

/// A task that must never stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Finds the server's files and what is archived of them.
    Start,
    /// Receives binlogs from the server.
    Stream,
    /// Asks the server how far it has written.
    Probe,
    /// Removes from the spool what is archived.
    Spool,
    /// Ships the active binlog.
    Tail,
    /// Archives closed binlogs.
    Backlog,
    /// Merges pages and lists again.
    Upkeep,
    /// Lets go what expires.
    Retention,
}

impl Task {
    /// As in messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stream => "stream",
            Self::Probe => "probe",
            Self::Spool => "spool",
            Self::Tail => "tail",
            Self::Backlog => "backlog",
            Self::Upkeep => "upkeep",
            Self::Retention => "retention",
        }
    }
}

tokio::task_local! {
    static CURRENT: (Watchdog, Task);
}

/// When each task last moved. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchdog {
    moved: Arc<Mutex<BTreeMap<Task, Instant>>>,
}

impl Watchdog {
    /// Runs a task under watch until it ends.
    pub(crate) async fn watch<T>(&self, task: Task, work: impl Future<Output = T>) -> T {
        self.note(task);
        let result = CURRENT.scope((self.clone(), task), work).await;
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
        result
    }

    /// The task that has been silent longest, if that is too long by now.
    pub(crate) fn stuck(&self, now: Instant) -> Option<(Task, Duration)> {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = moved.iter().map(|(task, at)| (*task, now.saturating_duration_since(*at)));
        silent.max_by_key(|(_, silent)| *silent).filter(|(_, silent)| *silent > STUCK_AFTER)
    }

    fn note(&self, task: Task) {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).insert(task, Instant::now());
    }
}

/// The task that calls this has moved. Outside of a watched task this does nothing.
pub(crate) fn tick() {
    // An error says that this is no watched task.
    let _unwatched = CURRENT.try_with(|(watchdog, task)| watchdog.note(*task));
}

/// Waits for work that may rightly say nothing for longer than a task may be silent: it has a deadline of its own, within `at_most`.
pub(crate) async fn patiently<T>(at_most: Duration, work: impl Future<Output = T>) -> T {
    in_steps(STUCK_AFTER / 10, at_most, work).await
}

async fn in_steps<T>(step: Duration, at_most: Duration, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let until = Instant::now() + at_most;
    while Instant::now() < until {
        if let Ok(done) = tokio::time::timeout(step, &mut work).await {
            return done;
        }
        tick();
    }
    work.await
}

/// Work that another thread does for this task: what moves there moves this one.
pub(crate) fn in_this_task<T>(work: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    let current = CURRENT.try_with(Clone::clone).ok();
    async move {
        match current {
            Some(current) => CURRENT.scope(current, work).await,
            None => work.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::Instant;

    use super::{Duration, STUCK_AFTER, Task, Watchdog, in_steps, patiently, tick};

    #[tokio::test]
    async fn one_stuck_task_is_named_although_the_others_move() {
        let watchdog = Watchdog::default();
        let mut tail = Box::pin(watchdog.watch(Task::Tail, std::future::pending::<()>()));
        let mut upkeep = Box::pin(watchdog.watch(Task::Upkeep, async {
            loop {
                tick();
                tokio::task::yield_now().await;
            }
        }));
        assert!((&mut tail).now_or_never().is_none());
        assert_eq!(watchdog.stuck(Instant::now()), None);
        assert!((&mut upkeep).now_or_never().is_none());
        let later = Instant::now() + STUCK_AFTER + STUCK_AFTER;
        assert!(matches!(watchdog.stuck(later), Some((Task::Tail, silent)) if silent > STUCK_AFTER));
        // Nobody is watched here: nothing happens.
        tick();
        drop((tail, upkeep));
    }

    #[tokio::test]
    async fn work_with_a_deadline_of_its_own_may_be_silent_until_then() {
        let step = Duration::from_millis(5);
        for (at_most, is_stuck) in [(STUCK_AFTER, false), (Duration::ZERO, true)] {
            let (watchdog, begun) = (Watchdog::default(), Instant::now());
            let work = watchdog.watch(Task::Upkeep, in_steps(step, at_most, std::future::pending::<()>()));
            let mut work = Box::pin(work);
            assert!(tokio::time::timeout(step * 20, &mut work).await.is_err());
            let stuck = watchdog.stuck(begun + STUCK_AFTER + step);
            assert_eq!(stuck.is_some(), is_stuck, "{at_most:?}");
        }
        assert_eq!(patiently(STUCK_AFTER, async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn a_task_that_has_ended_is_not_stuck() {
        let watchdog = Watchdog::default();
        watchdog.watch(Task::Start, async {}).await;
        assert_eq!(watchdog.stuck(Instant::now() + STUCK_AFTER + STUCK_AFTER), None);
    }
}
