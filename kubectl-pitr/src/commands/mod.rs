//! One file a command: it gathers values, hands them to functions of values, and prints or creates what comes out.

pub mod backup;
pub mod backups;
pub mod binlogs;
pub mod bundle;
pub mod check;
pub mod completion;
mod destination;
mod ending;
pub mod explain;
mod facts;
pub mod inject;
pub mod logs;
mod making;
mod origin;
pub mod restore;
pub mod restores;
mod restores_state;
mod rollout;
mod serving;
mod source;
pub mod status;
pub mod timeline;
pub mod uninject;
pub mod version;
mod watch;
