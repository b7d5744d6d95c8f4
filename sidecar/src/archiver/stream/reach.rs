//! How far the server's log is here, held against how far the server has written.

use std::sync::Mutex;
use std::sync::PoisonError;

use pitr_binlog::{BinlogName, GtidSet};
use tokio::sync::watch;

use crate::mysql::{ListedBinlog, LogEnd};

/// What is received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Point {
    /// The binlog that is being received.
    file: String,
    /// The one before, all of which is here.
    before: Option<String>,
    /// Bytes of the present one.
    position: u64,
}

impl Point {
    fn has(&self, end: &ListedBinlog) -> bool {
        (self.file == end.name && self.position >= end.bytes) || self.before.as_ref() == Some(&end.name)
    }

    /// Whether more is here than the server has written: it began its log anew. It does not end the dump of the file that it had.
    fn is_beyond(&self, end: &ListedBinlog) -> bool {
        let number = |name: &str| BinlogName::parse(name).map(|name| name.number()).ok();
        if self.file == end.name {
            return self.position > end.bytes;
        }
        number(&self.file).zip(number(&end.name)).is_some_and(|(here, there)| here > there)
    }
}

/// Tells those who ship how much they see.
#[derive(Debug)]
pub(super) struct Reach {
    point: watch::Sender<Point>,
    complete_us: Mutex<Option<i64>>,
    /// What the server had executed when it was last asked.
    executed: Mutex<GtidSet>,
    /// Counts findings that what is here may not be the server's.
    doubts: watch::Sender<u64>,
}

impl Reach {
    pub(super) fn new() -> Self {
        let (point, doubts) = (watch::Sender::new(Point::default()), watch::Sender::new(0));
        Self { point, complete_us: Mutex::default(), executed: Mutex::default(), doubts }
    }

    /// A file is gone on with; what is known behind this counts once it was held against the server's.
    pub(super) fn begin(&self, file: &str, position: u64) {
        self.point.send_replace(Point { file: file.to_owned(), before: None, position });
    }

    /// How far the log is here.
    pub(super) fn point(&self) -> Point {
        self.point.borrow().clone()
    }

    /// Whether the server has lost what it had: less is written than was here before it was asked, or less executed than the last time.
    pub(super) fn is_contradicted(&self, before: &Point, end: &LogEnd) -> bool {
        let mut executed = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        let last = std::mem::replace(&mut *executed, end.executed.clone());
        before.is_beyond(&end.binlog) || !last.is_subset_of(&end.executed)
    }

    /// What is here may not be the server's: nothing is known until it is asked again.
    pub(super) fn doubt(&self) {
        self.forget();
        self.doubts.send_modify(|count| *count += 1);
    }

    /// Woken by doubts from now on.
    pub(super) fn doubts(&self) -> watch::Receiver<u64> {
        self.doubts.subscribe()
    }

    /// The server went on with another file: the one before is complete.
    pub(super) fn rotate(&self, file: &str, position: u64) {
        self.point.send_modify(|point| {
            let before = Some(std::mem::take(&mut point.file)).filter(|before| before != file);
            *point = Point { file: file.to_owned(), before, position };
        });
    }

    /// So much of the present file can be read here.
    pub(super) fn advance(&self, position: u64) {
        self.point.send_if_modified(|point| {
            let moves = position > point.position;
            point.position = point.position.max(position);
            moves
        });
    }

    /// What is here is of another history.
    pub(super) fn forget(&self) {
        self.point.send_replace(Point::default());
    }

    /// Waits until everything before this end is here.
    pub(super) async fn wait_for(&self, end: &ListedBinlog) {
        let mut point = self.point.subscribe();
        // The sender is this value itself: it cannot be gone.
        let _gone = point.wait_for(|point| point.has(end)).await.is_err();
    }

    /// Everything that was committed before this instant is here.
    pub(super) fn prove(&self, us: i64) {
        *self.complete_us.lock().unwrap_or_else(PoisonError::into_inner) = Some(us);
    }

    /// Until when everything is here; none before the server was asked.
    pub(super) fn complete_us(&self) -> Option<i64> {
        *self.complete_us.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::{GtidSet, ListedBinlog, LogEnd, Reach};

    #[test]
    fn only_what_is_here_counts() {
        let reach = Reach::new();
        let end = |name: &str, bytes| ListedBinlog { name: name.to_owned(), bytes };
        let has = |reach: &Reach, end: &ListedBinlog| reach.wait_for(end).now_or_never().is_some();
        reach.begin("b.000001", 4);
        reach.advance(100);
        assert!(has(&reach, &end("b.000001", 100)) && !has(&reach, &end("b.000001", 101)));
        assert!(!has(&reach, &end("b.000002", 4)), "the server has gone on");
        reach.rotate("b.000002", 4);
        assert!(has(&reach, &end("b.000001", 1000)), "the server itself said that it ends");
        assert!(has(&reach, &end("b.000002", 4)) && !has(&reach, &end("b.000003", 4)));
        reach.rotate("b.000003", 4);
        assert!(!has(&reach, &end("b.000001", 4)), "too long ago to know which one is meant");
        reach.forget();
        assert!(!has(&reach, &end("b.000003", 4)));
        assert_eq!(reach.complete_us(), None);
    }

    #[test]
    fn a_log_that_was_begun_anew_is_noticed() {
        let reach = Reach::new();
        let end = |name: &str, bytes, executed: &str| {
            let executed: GtidSet = executed.parse().unwrap();
            LogEnd { binlog: ListedBinlog { name: name.to_owned(), bytes }, executed }
        };
        let is_doubtful = |end: &LogEnd| reach.is_contradicted(&reach.point(), end);
        let server = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        assert!(!is_doubtful(&end("b.000007", 4, "")), "nothing is here yet");
        reach.begin("b.000001", 500);
        assert!(!is_doubtful(&end("b.000001", 500, "")) && !is_doubtful(&end("b.000002", 158, "")));
        assert!(is_doubtful(&end("b.000001", 158, "")), "less than is here");
        reach.rotate("b.000002", 4);
        assert!(is_doubtful(&end("b.000001", 900, "")), "a file before the one that is here");
        // Written again beyond what is here: its transactions tell.
        assert!(!is_doubtful(&end("b.000002", 900, &format!("{server}:1-9"))));
        assert!(!is_doubtful(&end("b.000002", 950, &format!("{server}:1-10"))));
        assert!(is_doubtful(&end("b.000002", 990, &format!("{server}:1-3"))));
        assert!(!is_doubtful(&end("b.000002", 999, &format!("{server}:1-4"))));
        let mut doubts = reach.doubts();
        reach.doubt();
        assert!(doubts.changed().now_or_never().is_some() && reach.point() == super::Point::default());
    }
}
