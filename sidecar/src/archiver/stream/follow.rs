//! Follows the server's log into the spool.
//!
//! ```text
//! who is it? ─ which binlogs? ─ where to go on? ─ dump ─▶ events ─▶ tape ─▶ spool
//!     ▲                                              │ next file: the one before is complete
//!     └──────── connection lost, spool full ─────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use pitr_binlog::BinlogName;

use super::failure::{CANNOT_SEND, StreamError};
use super::place::{Fate, announced};
use super::tape::{Tape, TapeError};
use super::{Streaming, survey};
use crate::archiver::Pipeline;
use crate::config::MysqlConfig;
use crate::mysql::{Dsn, Dump, DumpError, DumpRequest, ListedBinlog, Session};
use crate::status;

/// The longest announcement of a file: a header's rest, a position, a name and a checksum.
const ANNOUNCEMENT_MAX: usize = 4 << 10;
/// What a listed file may be longer than its positions say: the header of an encrypted one.
const LENGTH_SLACK: u64 = 512;

/// Why following ended, where nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The spool is full: what waits there is archived first.
    Full,
    /// The server has no binlog yet.
    Nothing,
}

/// Follows one server.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Streaming>,
    pipeline: Arc<Pipeline>,
    account: MysqlConfig,
    /// The binlog to begin with, where all that is in the spool is complete.
    next: Option<BinlogName>,
    /// Binlogs that the server has and does not send.
    refused: BTreeSet<String>,
}

impl Follower {
    pub(super) fn new(shared: Arc<Streaming>, pipeline: Arc<Pipeline>, account: MysqlConfig) -> Self {
        Self { shared, pipeline, account, next: None, refused: BTreeSet::new() }
    }

    /// Follows until something happens. `received` is called whenever something was.
    pub(super) async fn follow(&mut self, received: &mut (dyn FnMut() + Send)) -> Result<Pause, StreamError> {
        let dsn = super::dsn(&self.account).await?;
        let mut server = Session::open(&dsn).await?;
        super::check_identity(&mut server, Some(&self.shared.source), &self.shared.folder).await?;
        let logs = server.binary_logs().await?;
        drop(server);
        let Some(tape) = self.begin(&logs, &dsn).await? else {
            return Ok(if self.next.is_some() { Pause::Full } else { Pause::Nothing });
        };
        let file = tape.place.file.clone();
        let request = DumpRequest {
            file: file.as_str(),
            position: tape.request_position(),
            follower: Some(&self.shared.follower),
        };
        tracing::info!(event = "following", binlog = file.as_str(), position = request.position);
        let was_resumed = tape.is_resumed();
        let mut tape = Some(tape);
        let result = match Dump::open(&dsn, &request).await {
            Ok(mut dump) => self.receive(&mut dump, &mut tape, received).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = &result {
            let in_hand = tape.as_ref().map_or(&file, |tape| &tape.place.file);
            self.learn(error, in_hand, was_resumed)?;
        }
        result
    }

    /// Where to go on; `None` where nothing can be begun now.
    async fn begin(&mut self, logs: &[ListedBinlog], dsn: &Dsn) -> Result<Option<Tape>, StreamError> {
        if let Some(next) = self.next.take() {
            if self.is_next(&next, logs)? {
                return self.begin_file(next);
            }
            // Another history, or purged: what is in the spool is complete in any case.
            self.shared.spool().begin_round();
            self.shared.reach.forget();
        } else if let Some(tape) = self.resume(logs).await? {
            return Ok(Some(tape));
        }
        let Some((active, closed)) = logs.split_last() else { return Ok(None) };
        let done = survey::archived(&self.pipeline, (dsn, &self.shared.source), closed).await?;
        let is_wanted = |log: &&ListedBinlog| {
            !done.contains(&log.name) && !self.refused.contains(&log.name) && !self.shared.spool().holds(&log.name)
        };
        let first = closed.iter().find(is_wanted).unwrap_or(active);
        let name = BinlogName::parse(&first.name).map_err(|reason| StreamError::Unsound(reason.to_string()))?;
        self.begin_file(name)
    }

    /// Whether a file is the one that follows what is in the spool.
    fn is_next(&self, next: &BinlogName, logs: &[ListedBinlog]) -> Result<bool, StreamError> {
        let listed = |name: &str| logs.iter().find(|log| log.name == name);
        let spool = self.shared.spool();
        let is_same = match spool.last().and_then(|last| listed(last.name.as_str()).zip(Some(last))) {
            Some((log, last)) => spool.length(last).map_err(self.spool_failed())? == log.bytes,
            None => true,
        };
        Ok(is_same && listed(next.as_str()).is_some())
    }

    /// Begins a file, if there is room.
    fn begin_file(&mut self, name: BinlogName) -> Result<Option<Tape>, StreamError> {
        if !self.shared.has_room() {
            self.next = Some(name);
            return Ok(None);
        }
        let tape = self.shared.spool().begin(&name).map_err(self.spool_failed())?;
        self.shared.reach.rotate(name.as_str(), tape.place.position);
        Ok(Some(tape))
    }

    /// Goes on with the file in hand, if the server still has it.
    async fn resume(&mut self, logs: &[ListedBinlog]) -> Result<Option<Tape>, StreamError> {
        let Some(last) = self.shared.spool().last().cloned() else { return Ok(None) };
        let (path, known) = {
            let spool = self.shared.spool();
            (spool.path(&last), spool.length(&last).map_err(self.spool_failed())?)
        };
        let listed = logs.iter().find(|log| log.name == last.name.as_str());
        if listed.is_none_or(|log| log.bytes + LENGTH_SLACK < known) {
            let binlog = last.name.as_str();
            tracing::error!(event = "left", binlog, known, "the server does not have the rest of this binlog any more");
            self.give_up_last()?;
            return Ok(None);
        }
        let name = last.name.clone();
        let resumed = tokio::task::spawn_blocking(move || Tape::resume(&path, name)).await;
        let tape = resumed.map_err(|reason| StreamError::Unsound(reason.to_string()))?.map_err(self.spool_failed())?;
        self.shared.reach.begin(last.name.as_str(), tape.place.position);
        Ok(Some(tape))
    }

    /// The rest of the file in hand cannot be had: what follows is of another history.
    fn give_up_last(&mut self) -> Result<(), StreamError> {
        self.take_back_last()?;
        self.shared.spool().begin_round();
        Ok(())
    }

    fn take_back_last(&mut self) -> Result<(), StreamError> {
        self.shared.reach.forget();
        self.shared.spool().take_back_last().map_err(self.spool_failed())
    }

    async fn receive(
        &mut self,
        dump: &mut Dump,
        slot: &mut Option<Tape>,
        received: &mut (dyn FnMut() + Send),
    ) -> Result<Pause, StreamError> {
        while let Some(header) = dump.next().await? {
            status::tick();
            received();
            let Some(tape) = slot.as_mut() else { return Err(StreamError::Unsound("no file is begun".to_owned())) };
            match tape.place.fate(&header).map_err(StreamError::Unsound)? {
                Fate::Skip => {}
                Fate::Announcement => {
                    let body = dump.whole_body(ANNOUNCEMENT_MAX).await?;
                    let next = announced(&header, &body).map_err(StreamError::Unsound)?;
                    if next != tape.place.file {
                        tape.finish().map_err(self.tape_failed())?;
                        *slot = self.begin_file(next)?;
                        if slot.is_none() {
                            return Ok(Pause::Full);
                        }
                    }
                    continue;
                }
                Fate::Keep => {
                    tape.put(&header.to_bytes()).map_err(self.tape_failed())?;
                    loop {
                        let piece = dump.body().await?;
                        if piece.is_empty() {
                            break;
                        }
                        tape.put(piece).map_err(self.tape_failed())?;
                        status::tick();
                    }
                    tape.place.pass(&header);
                }
            }
            if dump.is_drained() {
                tape.flush().map_err(self.tape_failed())?;
                self.shared.reach.advance(tape.place.position);
            }
        }
        let reason = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server ended its stream");
        Err(DumpError::Connection { to: self.account.dsn.to_string(), reason }.into())
    }

    /// What an error means for the next attempt.
    fn learn(&mut self, error: &StreamError, file: &BinlogName, was_resumed: bool) -> Result<(), StreamError> {
        match error {
            StreamError::Another(_) | StreamError::Unsound(_) => self.give_up_last(),
            StreamError::Dump(DumpError::Refused { number: CANNOT_SEND, message }) => {
                // Somebody follows under our UUID: the file is as it was.
                if message.contains("server_uuid") || message.contains("server_id") {
                    return Ok(());
                }
                // Transactions without GTIDs, which a server that has GTIDs on does not send.
                if message.contains("GTID_MODE") || message.contains("anonymous") {
                    tracing::error!(event = "refused", binlog = file.as_str(), "{message}");
                    self.refused.insert(file.as_str().to_owned());
                    return self.take_back_last();
                }
                if was_resumed { self.give_up_last() } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn spool_failed(&self) -> impl Fn(std::io::Error) -> StreamError + use<> {
        let folder = self.shared.folder.clone();
        move |reason| StreamError::Spool { folder: folder.clone(), reason }
    }

    fn tape_failed(&self) -> impl Fn(TapeError) -> StreamError + use<> {
        let folder = self.shared.folder.clone();
        move |error| StreamError::of_tape(error, &folder)
    }
}
