//! What is going on and what can be restored: the board that the archiver writes, and the documents, metrics and heartbeats that are
//! made from it.

mod board;
mod cycle;
mod findings;
mod heartbeat;
mod kept;
mod metrics;
mod outlook;
mod purge;
mod report;
#[cfg(test)]
mod samples;
mod segment_seconds;
mod watchdog;

pub(crate) use self::board::{ActiveFacts, Area, BacklogFacts, Board, ClosedFacts, Proof, Refused, ServerFacts, Stage};
pub(crate) use self::cycle::cycle_document;
pub(crate) use self::heartbeat::Heart;
pub(crate) use self::metrics::{Counts, metrics};
pub(crate) use self::outlook::{Outlook, proven_to};
pub(crate) use self::report::{Report, StatusDocument};
pub(crate) use self::segment_seconds::Step;
pub(crate) use self::watchdog::{Task, in_this_task, patiently, tick};
