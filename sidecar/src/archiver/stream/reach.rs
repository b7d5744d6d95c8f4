//! How far the server's log is here, held against how far the server has written.

use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::watch;

use crate::mysql::ListedBinlog;

/// What is received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Point {
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
}

/// Tells those who ship how much they see.
#[derive(Debug)]
pub(super) struct Reach {
    point: watch::Sender<Point>,
    complete_us: Mutex<Option<i64>>,
}

impl Reach {
    pub(super) fn new() -> Self {
        Self { point: watch::Sender::new(Point::default()), complete_us: Mutex::default() }
    }

    /// A file is begun anew or gone on with.
    pub(super) fn begin(&self, file: &str, position: u64) {
        self.point.send_modify(|point| {
            if point.file != file {
                *point = Point { file: file.to_owned(), before: None, position };
            }
        });
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

    use super::{ListedBinlog, Reach};

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
}
