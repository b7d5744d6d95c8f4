//! What the configuration says about when things happen, and what the server is told to do of itself.

use std::time::Duration;

use super::values::parse_duration;
use super::{Problem, Reader};

/// Shortest interval: below it requests cost more than they give.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Each rotation is one more file on the server, and one more binlog in the archive.
const ROTATE_MIN: Duration = Duration::from_secs(60);

/// When things happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Between two looks for closed binlogs.
    pub(crate) archive_interval: Duration,
    /// Between two shipments of the active binlog; none: it is not shipped.
    pub(crate) tail_interval: Option<Duration>,
    /// The server is to close a binlog that is older; none: it does so by itself.
    pub(crate) flush_when_older_than: Option<Duration>,
}

impl Reader<'_> {
    pub(super) fn schedule(&mut self) -> Schedule {
        for path in ["schedule.archive_interval", "schedule.tail_interval"] {
            if self.duration(path) < INTERVAL_MIN {
                self.problems.push(Problem::new(format!("\"{path}\" is too short"), "at least 100ms"));
            }
        }
        let tail = self.text("schedule.tail").is_some_and(|value| value == "true");
        Schedule {
            archive_interval: self.duration("schedule.archive_interval"),
            tail_interval: tail.then(|| self.duration("schedule.tail_interval")),
            flush_when_older_than: self.flush_when_older_than(),
        }
    }

    fn flush_when_older_than(&mut self) -> Option<Duration> {
        const PATH: &str = "schedule.flush_when_older_than";
        let text = self.text(PATH).filter(|text| text != "never")?;
        let age = parse_duration(&text).filter(|age| *age >= ROTATE_MIN);
        if age.is_none() {
            let message = format!("\"{PATH}\": \"{text}\" is not valid");
            self.problems.push(Problem::new(message, "never, or at least 1m, such as 1h"));
        }
        self.needs_an_account(PATH);
        age
    }

    /// How long ago a binlog was closed that the server may delete; none: it is not told to.
    pub(super) fn purge_after(&mut self) -> Option<Duration> {
        const PATH: &str = "purge_archived";
        if self.text(PATH).as_deref() != Some("true") {
            return None;
        }
        self.needs_an_account(PATH);
        if self.text("source.mode").as_deref() == Some("stream") {
            let message = format!("\"{PATH}\" does not go with \"source.mode: stream\"");
            let hint = "only the server's own files show that they are what is archived";
            self.problems.push(Problem::new(message, hint));
        }
        let after = self.duration("purge_after");
        if after >= self.duration("retention.window") {
            let message = "\"purge_after\" is not shorter than \"retention.window\"";
            let hint = "what retention has let go is not purged: that the archive had it cannot be told any more";
            self.problems.push(Problem::new(message, hint));
        }
        Some(after)
    }

    fn needs_an_account(&mut self, path: &str) {
        if self.text("source.mysql.user").is_none() {
            let hint = "the server is told over a connection: source: {mysql: {user: NAME}}";
            self.problems.push(Problem::new(format!("\"{path}\" needs \"source.mysql.user\""), hint));
        }
    }
}
