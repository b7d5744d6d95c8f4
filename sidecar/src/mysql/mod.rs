//! All SQL of the product, and the client options that say how a server is reached.
//!
//! Statements are text built here from identifiers that are quoted here; nothing above this module writes SQL.

mod binary_logs;
mod connection;
mod data_files;
mod donor;
mod dsn;
mod dump;
mod executed;
mod local_account;
mod option_file;
mod quoting;
mod recipient;
mod replica;
mod scheduled_events;
mod server_log;
mod source_state;
mod tables;
mod xa;

pub(crate) use binary_logs::{ListedBinlog, LogEnd};
pub(crate) use connection::{Connection, SqlError};
pub(crate) use donor::{ClonedPoint, Donor, ForeignRows, ForeignTable};
pub(crate) use dsn::{Dsn, Password, TlsMode};
pub(crate) use dump::{Dump, DumpError, DumpRequest, Follower, Session};
pub(crate) use local_account::LocalAccount;
pub(crate) use option_file::OptionFile;
pub(crate) use replica::ApplierError;
pub(crate) use scheduled_events::{EventStatus, ScheduledEvent};
pub(crate) use source_state::{Role, SourceState};
pub(crate) use tables::UserTable;
