//! A private `mysqld`: the workload's own binary on a data directory of ours, reachable by nobody but us.

mod leftover;
mod locks;
mod mysqld;
mod options;
mod programs;
mod staging;
mod version;

pub(crate) use leftover::end_leftover;
pub(crate) use locks::DatadirLocks;
pub(crate) use mysqld::{Mysqld, initialise, serve};
pub(crate) use options::{MatchedSettings, Purpose, ServerOptions, applier_workers};
pub(crate) use programs::{Programs, RunAs};
pub(crate) use staging::Staging;
pub(crate) use version::ServerVersion;
