//! One file a command: it gathers values, hands them to functions of values, and prints or creates what comes out.

pub mod attach;
pub mod backup;
pub mod backups;
pub mod binlogs;
pub mod bundle;
pub mod check;
pub mod completion;
pub mod config;
mod destination;
pub mod drill;
mod ending;
pub mod explain;
mod facts;
pub mod inject;
pub mod logs;
mod making;
mod origin;
mod pages;
mod pins;
pub mod prune;
pub mod restore;
pub mod restores;
mod restores_state;
#[cfg(test)]
mod rights;
mod rollout;
mod scheduling;
mod serving;
mod source;
mod standing;
pub mod status;
pub mod timeline;
pub mod uninject;
mod upkeep;
pub mod verify;
pub mod version;
mod watch;
