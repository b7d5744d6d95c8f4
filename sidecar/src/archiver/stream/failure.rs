//! What went wrong between us and the server, with its code, its meaning and what helps.

use std::io;
use std::path::PathBuf;

use pitr_recovery::code;

use super::tape::TapeError;
use crate::error::Failure;
use crate::mysql::DumpError;

/// The server knows neither the account nor the password (`ER_ACCESS_DENIED_ERROR`).
const WRONG_PASSWORD: u16 = 1045;
/// The account lacks a privilege (`ER_SPECIFIC_ACCESS_DENIED_ERROR`).
const NO_PRIVILEGE: u16 = 1227;
/// The account, or the server, wants TLS (`ER_SECURE_TRANSPORT_REQUIRED`).
const TLS_REQUIRED: u16 = 3159;
/// The account is locked (`ER_ACCOUNT_HAS_BEEN_LOCKED`).
const LOCKED: u16 = 3118;
/// The server cannot send what it was asked for (`ER_SOURCE_FATAL_ERROR_READING_BINLOG`).
pub(super) const CANNOT_SEND: u16 = 1236;
/// Binary logging is off (`ER_NO_BINARY_LOGGING`).
const NO_BINARY_LOG: u16 = 1381;

/// Why the server's binlogs are not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The password's file.
    #[error("the password file \"{path}\" cannot be read: {reason}")]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The connection, a question or the stream.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The spool.
    #[error("the spool \"{folder}\": {reason}")]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// What happened.
        reason: io::Error,
    },
    /// The server's file is not the one that was received so far.
    #[error("{0}; it is received again")]
    Another(String),
    /// What comes is no binlog.
    #[error("what the server sends is not its binlog: {0}")]
    Unsound(String),
    /// Another server answers.
    #[error("server {found} answers, and the spool \"{spool}\" holds binlogs of {known}")]
    OtherServer {
        /// Who answers.
        found: String,
        /// Whose binlogs there are.
        known: String,
        /// Where.
        spool: PathBuf,
    },
    /// Another process receives into the spool.
    #[error("another archiver uses the spool \"{0}\"")]
    InUse(PathBuf),
    /// A server that is no MySQL.
    #[error("stream mode reads the binlogs of MySQL, and the server is {0}")]
    NoMySql(String),
}

impl StreamError {
    pub(super) fn of_tape(error: TapeError, folder: &std::path::Path) -> Self {
        match error {
            TapeError::Disk(reason) => Self::Spool { folder: folder.to_owned(), reason },
            another @ TapeError::Another { .. } => Self::Another(another.to_string()),
        }
    }

    /// The server's own error number.
    fn number(&self) -> Option<u16> {
        match self {
            Self::Dump(DumpError::Refused { number, .. }) => Some(*number),
            _ => None,
        }
    }

    /// The same with its code, what it means and what helps.
    pub(crate) fn failure(&self) -> Failure {
        let message = format!("the server's binlogs cannot be read: {self}");
        match (self, self.number()) {
            (_, Some(WRONG_PASSWORD | LOCKED)) | (Self::Password { .. } | Self::Dump(DumpError::Method { .. }), _) => {
                Failure::new(&code::STREAM_DENIED, message)
                    .hint("nothing is archived until the account can log in; a changed password file is read at the next try")
                    .fix("source: {mysql: {user: NAME, password_file: FILE}}")
            }
            (_, Some(TLS_REQUIRED)) => Failure::new(&code::STREAM_DENIED, message)
                .hint("the server lets in only who speaks TLS")
                .fix("source: {mysql: {tls: verify-ca, ca_file: FILE}}"),
            (_, Some(NO_PRIVILEGE)) => Failure::new(&code::STREAM_DENIED, message)
                .hint("stream mode asks for the binlogs as a replica does")
                .fix("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the account of source.mysql"),
            (_, Some(CANNOT_SEND)) => Failure::new(&code::STREAM_UNSOUND, message)
                .hint("purged while it was read, reset, or followed by somebody else under the same UUID; it is tried again")
                .fix("if it stays: look at SHOW BINARY LOGS, then take a base backup"),
            (Self::NoMySql(_), _) | (_, Some(NO_BINARY_LOG)) => Failure::new(&code::LOG_UNSUITED, message)
                .hint("nothing can be archived in this way")
                .fix("source: {mode: file}, beside the server; the binary log must be on"),
            (Self::OtherServer { .. }, _) => Failure::new(&code::STREAM_UNSOUND, message)
                .hint("one archiver follows one server: an address that moves to another one mixes two histories")
                .fix("name the server's own address, or give each server a spool of its own"),
            (Self::Another(_) | Self::Unsound(_) | Self::Dump(DumpError::Answer(_)), _) => {
                Failure::new(&code::STREAM_UNSOUND, message)
                    .hint("a reset, or a crash in which the server lost its end; what was archived of the other file stays")
                    .fix("if it stays: look at SHOW BINARY LOGS, then take a base backup")
            }
            (Self::InUse(_), _) => Failure::new(&code::STREAM_DOWN, message)
                .hint("beside a running sidecar nothing need be archived by hand")
                .fix("source: {spool: DIRECTORY} of its own, or stop the other one first"),
            (Self::Spool { .. }, _) => Failure::new(&code::STREAM_DOWN, message)
                .hint("what is received waits there until it is archived")
                .fix("source: {spool: DIRECTORY} that the archiver may write to, with room for source.spool_limit and one binlog"),
            (Self::Dump(DumpError::Tls { .. }), _) => Failure::new(&code::STREAM_DOWN, message)
                .hint("source.mysql.tls wants a certificate that this is not")
                .fix("source: {mysql: {tls: verify-ca, ca_file: FILE}} with the authority that signed the server's certificate"),
            (Self::Dump(_), _) => Failure::new(&code::STREAM_DOWN, message)
                .hint("what is committed meanwhile is archived once it answers, if it is not purged before")
                .fix("look at the server and at source.mysql"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{StreamError, code};
    use crate::mysql::DumpError;

    #[test]
    fn who_is_not_let_in_learns_what_to_grant() {
        let refused = |number| StreamError::Dump(DumpError::Refused { number, message: "no".to_owned() }).failure();
        let given = [1045, 1227, 3159, 1236, 1040].map(|number| *refused(number).code());
        let denied = code::STREAM_DENIED;
        assert_eq!(given, [denied, denied, denied, code::STREAM_UNSOUND, code::STREAM_DOWN]);
        assert!(refused(1227).to_string().contains("error 1227: no"));
        let tls = StreamError::Dump(DumpError::Tls { to: "db:3306".to_owned(), reason: "UnknownIssuer".to_owned() });
        assert_eq!(tls.failure().code().number, 515);
    }
}
