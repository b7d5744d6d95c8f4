//! Each rule of the archive's protocol, shown to be enough and shown to be needed.
//!
//! | model | what moves | bounds |
//! | --- | --- | --- |
//! | [`handover`] | tail, `binlogs/`, pages, adoption, a purge, a twin of the server | 2 archivers, 2 transactions, 2 crashes (1 with a twin) |
//! | [`reading`] | a reader's listings, key by key, beside an archiver that ships, merges and catalogues | 4 transactions, 1 merge |
//! | [`pages`] | pages of the catalog and their merges, late PUTs and late DELETEs | 2 archivers, 3 lines, 3 levels, 4 merges (2 with a reader), 1 crash |
//! | [`expiry`] | mark, object, lines, plans, merges and pages that arrive late, in time | 1 segment, hours up to the grace |
//! | [`proposal`] | marks that any plan, or anybody, has put | 2 runs of retention, 3 backups |
//! | [`orphans`] | copies of one range that no page names | 2 sweeps, 1 adoption, 2 copies |
//! | [`repeats`] | a segment told by a binlog that expires | 1 run of dedupe, 1 of retention, 2 sweeps, hours up to the grace |
//! | [`lonely`] | a repeat that no page names, and its whole segment stored again | 1 that names it, 2 runs of retention, 1 sweep, hours up to the grace |
//! | [`circles`] | a binlog that its server keeps for longer than we do | 1 archiver, 1 binlog |
//! | [`chunks`] | chunks that a later backup shares | 2 backups, 1 sweep, hours up to the grace |

#![cfg(feature = "stateright")]
#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod check;
mod chunks;
mod circles;
mod expiry;
mod handover;
mod lonely;
mod orphans;
mod pages;
mod proposal;
mod reading;
mod repeats;
