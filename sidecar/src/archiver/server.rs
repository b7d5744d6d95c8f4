//! Asks the server about itself: its role, how long it keeps binlogs, and whether they are such that an archive of them is worth most.
//! Only where an account is configured, and nothing depends on the answer: without it the same facts are unknown.

use std::sync::Arc;
use std::time::Duration;

use pitr_recovery::code;
use tokio::time::Instant;

use super::server_log::ServerLog;
use super::{Archiver, Pipeline};
use crate::config::MysqlConfig;
use crate::error::Failure;
use crate::mysql::{Session, SourceState};
use crate::status::Area;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(15);

/// A privilege that is granted counts for connections that begin after that: where one is lacking, another is made after this time.
const GRANTED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// A connection to the server.
struct Connection {
    session: Session,
    opened: Instant,
    /// Whether it has not told the server's role, for which it needs a privilege.
    lacks_role: bool,
}

impl Connection {
    fn is_outdated(&self, now: Instant) -> bool {
        self.lacks_role && now.duration_since(self.opened) >= GRANTED_WITHIN
    }
}

impl Archiver {
    /// Asks until told to stop, and does what the server's log needs.
    pub(super) async fn server_loop(&self, pipeline: &Arc<Pipeline>, source: &str) {
        let Some(account) = &self.config.source.mysql else { return };
        let mut connection = None;
        let mut log = ServerLog::new(self);
        loop {
            match ask(&mut connection, account).await {
                Ok(said) => {
                    match self.unsuited(&said, source) {
                        Some(failure) => self.board.fail(Area::Server, failure),
                        None => self.board.heal(Area::Server),
                    }
                    self.board.note(|facts| facts.said = Some(said.clone()));
                    if self.tends_the_log() {
                        self.tend(&mut log, &mut connection, &said, (pipeline, source)).await;
                    }
                }
                Err(failure) => {
                    connection = None;
                    // What it said before may not hold any more.
                    self.board.note(|facts| facts.said = None);
                    self.board.fail(Area::Server, failure);
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn tend(
        &self,
        log: &mut ServerLog,
        connection: &mut Option<Connection>,
        said: &SourceState,
        whose: (&Arc<Pipeline>, &str),
    ) {
        let Some(Connection { session, .. }) = connection else { return };
        match self.tend_the_log(log, session, said, whose).await {
            Ok(None) => self.board.heal(Area::ServerLog),
            Ok(Some(held)) => self.board.fail(Area::ServerLog, held),
            Err((failure, is_usable)) => {
                self.board.fail(Area::ServerLog, failure);
                if !is_usable {
                    *connection = None;
                }
            }
        }
    }

    /// What is wrong with a server that says this.
    fn unsuited(&self, said: &SourceState, source: &str) -> Option<Failure> {
        let is_another =
            self.config.source.identity.is_none() && said.server_uuid.as_deref().is_some_and(|u| u != source);
        if is_another {
            let uuid = said.server_uuid.as_deref().unwrap_or_default();
            let message =
                format!("the account of source.mysql asks server {uuid}, and the binlogs are those of {source}");
            return Some(
                Failure::new(&code::LOG_UNSUITED, message)
                    .hint("what it says about itself does not concern this archive")
                    .fix("source: {mysql: {socket: PATH}} of the server beside the archiver"),
            );
        }
        // Encrypted files come in clear over a connection.
        let is_streamed = self.config.source.spool_limit.is_some();
        unsuited(&SourceState { encrypted: said.encrypted.filter(|_| !is_streamed), ..said.clone() })
    }
}

async fn ask(connection: &mut Option<Connection>, account: &MysqlConfig) -> Result<SourceState, Failure> {
    let refused = |reason: &dyn std::error::Error| {
        let cause = reason.source().map_or_else(String::new, |cause| format!(": {cause}"));
        Failure::new(&code::SOURCE_SILENT, format!("the server does not say how it is: {reason}{cause}"))
            .hint("archiving goes on; role, expiry and settings are unknown")
            .fix("look at source.mysql")
    };
    let now = Instant::now();
    let known = connection.take().filter(|known| !known.is_outdated(now));
    let known = match known {
        Some(known) => known,
        None => {
            let dsn = account.read_dsn().await.map_err(|reason| refused(&reason))?;
            let session = Session::open(&dsn).await.map_err(|reason| refused(&reason))?;
            Connection { session, opened: now, lacks_role: false }
        }
    };
    let known = connection.insert(known);
    let said = known.session.source_state().await.map_err(|reason| refused(&reason))?;
    known.lacks_role = said.role.is_none();
    Ok(said)
}

/// What makes an archive of this server's binlogs worth less.
fn unsuited(said: &SourceState) -> Option<Failure> {
    if said.encrypted == Some(true) {
        return Some(
            Failure::new(&code::BINLOG_UNREADABLE, "the server encrypts its binlogs (binlog_encryption is ON)")
                .hint("a copy of the files is useless without the server's keyring; over a connection they come in clear")
                .fix("source: {mode: stream}, or SET PERSIST binlog_encryption = OFF; FLUSH BINARY LOGS; then take a base backup"),
        );
    }
    let mut found = Vec::new();
    if let Some(mode) = said.gtid_mode.as_deref().filter(|mode| *mode != "on") {
        found.push((format!("gtid_mode is {}", mode.to_uppercase()), "no continuity over failover", "enable GTIDs"));
    }
    if let Some(format) = said.format.as_deref().filter(|format| !format.eq_ignore_ascii_case("ROW")) {
        let hint = "statements may not do again what they did";
        found.push((format!("binlog_format is {format}"), hint, "SET PERSIST binlog_format = ROW"));
    }
    if said.checksum.as_deref().is_some_and(|checksum| checksum.eq_ignore_ascii_case("NONE")) {
        let hint = "damage inside an event cannot be seen";
        found.push(("binlog_checksum is NONE".to_owned(), hint, "SET PERSIST binlog_checksum = CRC32"));
    }
    let message = found.iter().map(|(what, ..)| what.as_str()).collect::<Vec<_>>().join(", ");
    let (_, hint, fix) = found.into_iter().next()?;
    Some(Failure::new(&code::LOG_UNSUITED, message).hint(hint).fix(fix))
}

#[cfg(test)]
mod tests {
    use super::unsuited;
    use crate::mysql::SourceState;

    fn said(settings: [&str; 3], encrypted: bool) -> SourceState {
        let [gtid_mode, format, checksum] = settings.map(|text| Some(text.to_owned()));
        SourceState { gtid_mode, format, checksum, encrypted: Some(encrypted), ..SourceState::default() }
    }

    #[test]
    fn a_server_that_is_as_it_should_be_or_says_nothing_is_no_finding() {
        assert!(unsuited(&said(["on", "ROW", "CRC32"], false)).is_none());
        assert!(unsuited(&SourceState::default()).is_none());
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_encryption_first() {
        let failure = unsuited(&said(["off_permissive", "MIXED", "NONE"], false)).unwrap();
        assert_eq!(failure.code().number, 506);
        assert_eq!(failure.to_string(), "gtid_mode is OFF_PERMISSIVE, binlog_format is MIXED, binlog_checksum is NONE");
        assert_eq!(unsuited(&said(["off", "ROW", "CRC32"], true)).unwrap().code().number, 505);
    }
}
