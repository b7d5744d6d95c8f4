//! A replication source that feeds a restoring MySQL server from an archived log, and stops exactly.
//!
//! ```text
//! LogOpener ─open─▶ LogReader ─pieces─▶ Splitter ─events─▶ Cutter ─▶ EventWire ─packets─▶ replica's receiver
//!  (the caller's)                                            │
//!                        drop what the replica has ──────────┤
//!                        empty what is to be skipped ────────┤
//!                        put together what may be ───────────┘
//! ```
//!
//! The server's own receiver, relay log and parallel applier do the rest: checksums, order, resuming after a crash. The
//! log arrives as it was written, transaction by transaction with its logical clock (T24); the end is exact because nothing
//! beyond it is ever sent. What this crate does not do: start servers, know where bytes come from, or judge whether a
//! restore succeeded. Only the replica's executed GTID set says that.
//!
//! Memory is bounded by the reader's pieces: an event, however large, goes out as its bytes come in. TCP's own
//! backpressure slows the reader down when the replica is slow. It listens on loopback addresses only and lets in
//! only who knows the one-time password.

#![deny(missing_docs)]

mod batch;
mod connection;
mod cutter;
mod dump;
mod failure;
mod handshake;
mod head;
mod identity;
mod log;
mod packet;
mod pipe;
mod progress;
mod query;
mod secret;
mod source;
mod splitter;
mod stream;
mod wire;

pub use batch::{CUTTER_VERSION, Holes, Recording, Windows, left_open};
pub use cutter::Batch;
pub use failure::{END_OF_PLAN, SourceFailure};
pub use identity::SourceIdentity;
pub use log::{LogOpener, LogPiece, LogReader, ReadError};
pub use pipe::{PipeFailure, PipeProgress, write_log};
pub use progress::SourceProgress;
pub use secret::Secret;
pub use source::{BindError, ReplicationSource, SourceOptions};
