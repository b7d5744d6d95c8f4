//! One cycle by hand or from cron.

use std::sync::Arc;

use super::backlog::Backlog;
use super::start::Started;
use super::stream::Reached;
use super::tail::Tail;
use super::{Archiver, WorkError, failure};
use crate::discovery::Lookout;
use crate::error::Failure;

/// A server that rotates while it is archived is followed so many times.
const ROUNDS: usize = 8;

impl Archiver {
    /// Archives everything that is whole now, the active binlog included. What cannot be archived is a failure, and the rest is
    /// archived all the same.
    pub(crate) async fn once(&self) -> Result<(), Failure> {
        let Started { pipeline, stream, .. } = self.start().await.map_err(|(_, failure)| failure)?;
        let mut lookout = Lookout::new(self.config.source.clone());
        let mut backlog = Backlog::new(Arc::clone(&pipeline), self.shutdown.clone());
        let mut tail = Tail::new(Arc::clone(&pipeline), stream.clone());
        let mut result = Ok(());
        let mut round = 0;
        while round < ROUNDS {
            // A spool that is full is emptied and filled again, as often as it takes.
            let reached = match &stream {
                Some(stream) => self.stream_once(&pipeline, stream).await?,
                None => Reached::Everything,
            };
            round += usize::from(reached == Reached::Everything);
            let seen = tail.see();
            let found = lookout.look().map_err(|error| error.failure())?;
            let report = backlog.cycle(&found).await;
            result = match report.failure {
                Some(failure) => Err(failure),
                None => tail.tick(&found, seen).await.map(drop).map_err(|error| self.named(&error, &found)),
            };
            let left = lookout.look().map_err(|error| error.failure())?;
            let is_done = reached == Reached::Everything && left == found;
            if result.is_err() || is_done || self.shutdown.is_cancelled() {
                break;
            }
        }
        result?;
        if let Some(stream) = &stream {
            self.clean_spool(&pipeline, stream)?;
        }
        if let Err(error) = pipeline.archive.settle().await {
            tracing::debug!(event = "settle", "{error}");
        }
        // What could not be archived, or not as a whole, does not hold up the rest, and is no success either.
        match self.board.read().refused.into_values().next() {
            Some(refused) => Err(refused.failure.exit(3)),
            None => Ok(()),
        }
    }

    fn named(&self, error: &WorkError, found: &crate::discovery::Found) -> Failure {
        let name = found.entries.last().map_or("the active binlog", |entry| entry.name.as_str());
        let archive = self.pipeline().map_or_else(String::new, |pipeline| pipeline.archive.describe());
        failure::of(error, name, &archive)
    }
}
