//! The one retry loop (faults.md §6): full jitter, a cap per pause, a deadline per operation.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counting::StoreCounts;
use super::error::{Call, Operation, StoreError};
use super::{ListedObject, ObjectClass, ObjectInfo, Store};

/// Trouble that lasts longer is worth a line for whoever looks at the log.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// How often and how long a failed call is made again.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The first pause is between nothing and this; each further one up to twice as long.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// No attempt starts later than this after the first, and one that is under way then is ended.
    pub deadline: Duration,
    /// The same once the store has answered anything: work that has begun is worth waiting for.
    pub deadline_once_answered: Duration,
}

impl Default for RetryPolicy {
    /// Up to 10 minutes: a caller that must not give up (the archiver) starts over, and says so meanwhile.
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(20),
            deadline: Duration::from_secs(600),
            deadline_once_answered: Duration::from_secs(600),
        }
    }
}

impl RetryPolicy {
    /// For a human who waits: at most half a minute.
    #[must_use]
    pub fn interactive() -> Self {
        Self::within(Duration::from_secs(30))
    }

    /// For a human who waits no longer than this.
    #[must_use]
    pub fn within(deadline: Duration) -> Self {
        let longest_pause = Duration::from_secs(5);
        Self { deadline, deadline_once_answered: deadline, longest_pause, ..Self::default() }
    }

    /// For hours of work, such as a backup or a restore: a store that never answered is told after half a minute, one that goes
    /// away on the way is waited for, a quarter of an hour at each call.
    #[must_use]
    pub fn persistent() -> Self {
        Self { deadline_once_answered: Duration::from_secs(900), ..Self::interactive() }
    }

    fn pause(&self, attempt: u32) -> Duration {
        let ceiling = self.first_pause.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
        // Full jitter: many archivers that failed together do not come back together.
        ceiling.min(self.longest_pause).mul_f64(rand::random::<f64>())
    }
}

/// Repeats calls that failed for a passing reason.
#[derive(Debug)]
pub struct Retrying<S> {
    inner: S,
    policy: RetryPolicy,
    cancel: CancellationToken,
    counts: StoreCounts,
    answered: Arc<AtomicBool>,
}

impl<S: Store> Retrying<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        let (cancel, counts) = (CancellationToken::new(), StoreCounts::default());
        Self { inner, policy, cancel, counts, answered: Arc::default() }
    }

    /// Counts repetitions there.
    #[must_use]
    pub fn counted_by(mut self, counts: StoreCounts) -> Self {
        self.counts = counts;
        self
    }

    /// Ends waiting and calls under way with [`StoreError::Cancelled`] when `cancel` is.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// How many attempts were repetitions.
    #[must_use]
    pub fn retries(&self, operation: Operation) -> u64 {
        self.counts.retries(operation)
    }

    async fn repeat<T, F>(&self, call: Call<'_>, attempt: impl Fn() -> F + Send) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let patience = self.patience();
        let begun = Instant::now();
        let deadline = begun + patience;
        let mut attempts = 0_u32;
        let mut last: Option<StoreError> = None;
        loop {
            let result = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(call.cancelled()),
                result = tokio::time::timeout_at(deadline, attempt()) => result,
            };
            let error = match result {
                Ok(Err(error)) if error.is_retryable() => error,
                Ok(result) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return result;
                }
                Err(_) => return Err(last.unwrap_or_else(|| call.transient(out_of_time(patience)))),
            };
            let pause = self.policy.pause(attempts);
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            attempts = attempts.saturating_add(1);
            self.counts.note_retry(call.operation);
            if begun.elapsed() < TOLD_AFTER {
                tracing::debug!(%error, attempts, ?pause, "store call failed, trying again");
            } else {
                let left_s = deadline.saturating_duration_since(Instant::now()).as_secs();
                tracing::warn!(event = "store-away", attempts, left_s, "{error}; it is tried again");
            }
            last = Some(error);
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(call.cancelled()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.answered.load(Ordering::Relaxed) { self.policy.deadline_once_answered } else { self.policy.deadline }
    }
}

fn out_of_time(patience: Duration) -> String {
    format!("no answer within {}s", patience.as_secs())
}

#[async_trait]
impl<S: Store> Store for Retrying<S> {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        self.repeat(Call::new(Operation::Put, key), || self.inner.put(key, bytes.clone(), class)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.repeat(Call::new(Operation::Get, key), || self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.repeat(Call::new(Operation::Get, key), || self.inner.get_range(key, range.clone())).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.repeat(Call::new(Operation::Head, key), || self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        self.repeat(Call::new(Operation::List, prefix), || self.inner.list(prefix)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let key = keys.first().map_or("", String::as_str);
        self.repeat(Call::new(Operation::Delete, key), || self.inner.delete(keys)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn redundant_for(&self) -> Duration {
        self.inner.redundant_for()
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        (**self).put(key, bytes, class).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        (**self).get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        (**self).get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        (**self).head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        (**self).list(prefix).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        (**self).delete(keys).await
    }

    fn describe(&self) -> String {
        (**self).describe()
    }

    fn redundant_for(&self) -> Duration {
        (**self).redundant_for()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_has_answered_is_waited_for_longer() {
        let policy = RetryPolicy {
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(5),
            deadline: Duration::from_millis(100),
            deadline_once_answered: Duration::from_secs(60),
        };
        let retrying = Retrying::new(crate::store::MemoryStore::new(), policy);
        // Of a store that is away for longer than the first deadline.
        let ask = || async {
            let begun = Instant::now();
            let attempt = || async move {
                let is_back = begun.elapsed() >= Duration::from_millis(400);
                if is_back { Ok(()) } else { Err(Call::new(Operation::Get, "k").transient("away")) }
            };
            retrying.repeat(Call::new(Operation::Get, "k"), attempt).await
        };
        assert!(ask().await.is_err());
        // An object that is not there is an answer, too.
        assert!(retrying.get("absent").await.unwrap_err().is_not_found());
        ask().await.unwrap();
    }
}
