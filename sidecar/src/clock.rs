//! The clock, which enters the program here and is handed down as a value: everything below is testable at any instant.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time. Cheap to clone; the system's in `main`, any other in tests.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The current instant.
    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// The current instant in microseconds since the epoch, as the recovery crate counts.
    pub(crate) fn now_us(&self) -> i64 {
        self.now().as_microsecond()
    }
}

/// The system's wall clock.
pub(crate) fn system() -> Clock {
    Clock(Arc::new(Timestamp::now))
}
