//! Follows the server's log into the spool.
//!
//! ```text
//! who is it? ─ which binlogs? ─ where to go on? ─ dump ─▶ events ─▶ tape ─▶ spool
//!     ▲                                              │ next file: the one before is complete
//!     └── connection lost, spool full, a doubt ──────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use pitr_binlog::BinlogName;
use pitr_binlog::event::{EventHeader, EventType};

use super::failure::{CANNOT_SEND, StreamError};
use super::place::{Fate, Place, announced};
use super::spool::Spooled;
use super::standing::{Last, Standing};
use super::tape::{Known, Tape, TapeError};
use super::{Streaming, survey};
use crate::archiver::Pipeline;
use crate::config::MysqlConfig;
use crate::mysql::{Dsn, Dump, DumpError, DumpRequest, ListedBinlog, Session};
use crate::status;

/// The longest announcement of a file: a header's rest, a position, a name and a checksum.
const ANNOUNCEMENT_MAX: usize = 4 << 10;
/// How often the list is asked for where the server begins another binlog meanwhile.
const LISTINGS: usize = 8;

/// Why following ended, where nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The spool is full: what waits there is archived first.
    Full,
    /// The server has no binlog yet.
    Nothing,
    /// What is in hand cannot be gone on with, and is not archived yet.
    Unarchived,
    /// What is in hand may not be the server's any more: that shows when it is asked again.
    Doubt,
}

/// Follows one server.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Streaming>,
    pipeline: Arc<Pipeline>,
    account: MysqlConfig,
    /// The binlog to begin with, where all that is in the spool is complete.
    next: Option<BinlogName>,
    /// Binlogs that the server has and does not send, with the length that they had then: a name may return.
    refused: BTreeMap<String, u64>,
    /// Where the log made no sense at the last attempt: there again, the file is refused.
    failed_at: Option<Place>,
    /// What is in hand may be of another file than the server's.
    is_distrusted: bool,
    /// The end of what was ever received of the last file.
    farthest: Option<Place>,
}

impl Follower {
    pub(super) fn new(shared: Arc<Streaming>, pipeline: Arc<Pipeline>, account: MysqlConfig) -> Self {
        let refused = BTreeMap::new();
        Self { shared, pipeline, account, next: None, refused, failed_at: None, is_distrusted: false, farthest: None }
    }

    /// Follows until something happens. `received` is called whenever something new was, or there is nothing new.
    pub(super) async fn follow(&mut self, received: &mut (dyn FnMut() + Send)) -> Result<Pause, StreamError> {
        let shared = Arc::clone(&self.shared);
        let mut doubts = shared.reach.doubts();
        let dsn = super::dsn(&self.account).await?;
        let mut server = Session::open(&dsn).await?;
        super::check_identity(&mut server, Some(&self.shared.source), &self.shared.folder).await?;
        let logs = list(&mut server).await?;
        drop(server);
        let tape = match self.begin(&logs, &dsn).await? {
            Ok(tape) => tape,
            Err(pause) => return Ok(pause),
        };
        let (begun, was_resumed) = (tape.place.clone(), tape.is_resumed());
        let request = DumpRequest {
            file: begun.file.as_str(),
            position: tape.request_position(),
            follower: Some(&shared.follower),
        };
        tracing::info!(event = "following", binlog = begun.file.as_str(), position = request.position);
        let mut tape = Some(tape);
        let work = async {
            let mut dump = Dump::open(&dsn, &request).await?;
            self.receive(&mut dump, &mut tape, &logs, received).await
        };
        let result = tokio::select! {
            result = work => result,
            _ = doubts.changed() => Ok(Pause::Doubt),
        };
        if let Err(error) = &result {
            let place = tape.map_or_else(|| begun.clone(), |tape| tape.place);
            let was_resumed = was_resumed && place.file == begun.file;
            self.learn(error, place, was_resumed, &logs);
        }
        result
    }

    /// Where to go on, or why nothing can be begun now.
    async fn begin(&mut self, logs: &[ListedBinlog], dsn: &Dsn) -> Result<Result<Tape, Pause>, StreamError> {
        if let Some(next) = self.next.take() {
            if self.is_next(&next, logs)? {
                return self.begin_file(next);
            }
            // Another history, or purged: what is in the spool is complete in any case.
            self.shared.begin_round();
        } else if let Some(begun) = self.resume(logs).await? {
            return Ok(begun);
        }
        let Some((active, closed)) = logs.split_last() else { return Ok(Err(Pause::Nothing)) };
        let done = survey::archived(&self.pipeline, (dsn, &self.shared.source), logs).await?;
        let is_wanted = |log: &&ListedBinlog| {
            !done.contains(&log.name) && !self.is_refused(log) && !self.shared.spool().holds(&log.name)
        };
        let first = closed.iter().find(is_wanted).unwrap_or(active);
        if self.is_refused(first) {
            return Err(StreamError::Unsound(format!("the rest of {} cannot be read", first.name)));
        }
        let name = BinlogName::parse(&first.name).map_err(|reason| StreamError::Unsound(reason.to_string()))?;
        self.begin_file(name)
    }

    /// Whether the server would refuse a file again.
    fn is_refused(&self, log: &ListedBinlog) -> bool {
        self.refused.get(&log.name) == Some(&log.bytes)
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
    fn begin_file(&mut self, name: BinlogName) -> Result<Result<Tape, Pause>, StreamError> {
        if !self.shared.has_room() {
            self.next = Some(name);
            return Ok(Err(Pause::Full));
        }
        let tape = self.shared.spool().begin(&name).map_err(self.spool_failed())?;
        self.shared.reach.rotate(name.as_str(), tape.place.position);
        Ok(Ok(tape))
    }

    /// Goes on with the file in hand, if that is possible. `None`: another one is to be begun.
    async fn resume(&mut self, logs: &[ListedBinlog]) -> Result<Option<Result<Tape, Pause>>, StreamError> {
        let Some(last) = self.shared.spool().last().cloned() else { return Ok(None) };
        let (path, name) = (self.shared.spool().path(&last), last.name.clone());
        let resumed = tokio::task::spawn_blocking(move || Tape::resume(&path, name)).await;
        let (tape, known) =
            resumed.map_err(|reason| StreamError::Unsound(reason.to_string()))?.map_err(self.spool_failed())?;
        let at = logs.iter().position(|log| log.name == last.name.as_str());
        let listed = at.and_then(|at| logs.get(at));
        let is_refused = |log: Option<&ListedBinlog>| log.is_some_and(|log| self.is_refused(log));
        let standing = Last {
            is_there: !self.is_distrusted && listed.is_some_and(|log| log.bytes >= tape.length()),
            is_refused: is_refused(listed),
            is_next_refused: is_refused(at.and_then(|at| logs.get(at + 1))),
            known,
            is_shipped: self.is_shipped(&last, known)?,
        }
        .standing();
        if matches!(standing, Standing::Skip | Standing::LetGo) {
            let (binlog, known) = (last.name.as_str(), tape.length());
            tracing::error!(event = "left", binlog, known, "the rest of this binlog cannot be had");
            self.shared.spool().take_back_last().map_err(self.spool_failed())?;
        }
        self.is_distrusted &= standing == Standing::Wait;
        match standing {
            Standing::GoOn => {
                self.shared.reach.begin(last.name.as_str(), tape.place.position);
                return Ok(Some(Ok(tape)));
            }
            Standing::Wait => {
                self.shared.reach.forget();
                return Ok(Some(Err(Pause::Unarchived)));
            }
            Standing::PassOver | Standing::Skip => self.shared.reach.forget(),
            Standing::Keep | Standing::LetGo => self.shared.begin_round(),
        }
        Ok(None)
    }

    /// Whether all transactions that are here of a binlog are archived, or never will be: without a tail only closed binlogs are.
    fn is_shipped(&self, binlog: &Spooled, known: Known) -> Result<bool, StreamError> {
        if !known.has_transactions || !self.shared.has_tail {
            return Ok(true);
        }
        let id = self.shared.spool().identify(binlog).map_err(self.spool_failed())?;
        Ok(self.pipeline.is_expired(&id) || self.pipeline.ledger().progress(&id).shipped_to >= known.whole_to)
    }

    async fn receive(
        &mut self,
        dump: &mut Dump,
        slot: &mut Option<Tape>,
        logs: &[ListedBinlog],
        received: &mut (dyn FnMut() + Send),
    ) -> Result<Pause, StreamError> {
        while let Some(header) = dump.next().await? {
            status::tick();
            let Some(tape) = slot.as_mut() else { return Err(StreamError::Unsound("no file is begun".to_owned())) };
            match tape.place.fate(&header).map_err(StreamError::Unsound)? {
                Fate::Announcement => {
                    let body = dump.whole_body(ANNOUNCEMENT_MAX).await?;
                    let next = announced(&header, &body).map_err(StreamError::Unsound)?;
                    if next != tape.place.file {
                        if !is_complete(tape, logs) {
                            return Ok(Pause::Doubt);
                        }
                        self.close(tape).await?;
                        match self.begin_file(next)? {
                            Ok(tape) => *slot = Some(tape),
                            Err(pause) => return Ok(pause),
                        }
                    }
                    continue;
                }
                Fate::Skip => pass_over(dump).await?,
                Fate::Keep => self.keep(dump, tape, &header).await?,
            }
            if dump.is_drained() {
                tape.flush().map_err(self.tape_failed())?;
                self.shared.reach.advance(tape.place.position);
                if self.gets_on(&tape.place, &header) {
                    received();
                }
            }
        }
        let reason = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server ended its stream");
        Err(DumpError::Connection { to: self.account.dsn.to_string(), reason }.into())
    }

    /// Puts an event into the file.
    async fn keep(&self, dump: &mut Dump, tape: &mut Tape, header: &EventHeader) -> Result<(), StreamError> {
        tape.put(&header.to_bytes()).map_err(self.tape_failed())?;
        loop {
            let piece = dump.body().await?;
            if piece.is_empty() {
                break;
            }
            tape.put(piece).map_err(self.tape_failed())?;
            status::tick();
        }
        tape.pass(header);
        Ok(())
    }

    /// Ends a file, for good: it counts as complete even after the machine lost its power.
    async fn close(&self, tape: &mut Tape) -> Result<(), StreamError> {
        tape.finish().map_err(self.tape_failed())?;
        let settling = tape.settle().map_err(self.spool_failed())?;
        let settled = tokio::task::spawn_blocking(settling).await;
        status::tick();
        settled.map_err(|reason| StreamError::Unsound(reason.to_string()))?.map_err(self.spool_failed())
    }

    /// Whether more was received than ever before, or the server has no more.
    fn gets_on(&mut self, place: &Place, header: &EventHeader) -> bool {
        let is_idle = matches!(header.event_type, EventType::HEARTBEAT | EventType::HEARTBEAT_V2);
        let is_beyond = |known: &Place| known.file != place.file || place.position > known.position;
        let is_new = self.farthest.as_ref().is_none_or(is_beyond);
        if is_new {
            self.farthest = Some(place.clone());
        }
        if is_idle {
            self.failed_at = None;
        }
        is_new || is_idle
    }

    /// What an error means for the next attempt.
    fn learn(&mut self, error: &StreamError, place: Place, was_resumed: bool, logs: &[ListedBinlog]) {
        let is_refusal = match error {
            StreamError::Another(_) | StreamError::Unsound(_) => false,
            StreamError::Dump(DumpError::Refused { number: CANNOT_SEND, message }) => {
                // Somebody follows under our UUID: the file is as it was.
                if message.contains("server_uuid") || message.contains("server_id") {
                    return;
                }
                // Transactions without GTIDs, which a server that has GTIDs on does not send.
                if message.contains("GTID_MODE") || message.contains("anonymous") {
                    return self.refuse(&place.file, logs, error);
                }
                true
            }
            _ => return,
        };
        if self.failed_at.as_ref() == Some(&place) {
            self.failed_at = None;
            self.refuse(&place.file, logs, error);
        } else {
            self.is_distrusted = was_resumed || !is_refusal;
            self.failed_at = Some(place);
        }
    }

    fn refuse(&mut self, file: &BinlogName, logs: &[ListedBinlog], why: &StreamError) {
        let Some(log) = logs.iter().find(|log| log.name == file.as_str()) else { return };
        tracing::error!(event = "refused", binlog = log.name, "{why}");
        self.refused.insert(log.name.clone(), log.bytes);
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

/// The binlogs as they are now. Of the one being written the list counts the header of an encrypted file or not: the server's status
/// tells its length exactly.
async fn list(server: &mut Session) -> Result<Vec<ListedBinlog>, StreamError> {
    for _ in 0..LISTINGS {
        let mut logs = server.binary_logs().await?;
        match (server.log_end().await?, logs.last_mut()) {
            (Some(end), Some(last)) if end.binlog.name == last.name => {
                last.bytes = end.binlog.bytes;
                return Ok(logs);
            }
            (None, _) => return Ok(logs),
            (Some(_), _) => {}
        }
    }
    Err(DumpError::Answer("a list of binlogs that ends in the one being written").into())
}

/// Whether the server itself can have ended the file here: by its last event, or it was closed before anybody asked for it. Else the
/// server that goes on with another file may have begun its log anew, under names that return.
fn is_complete(tape: &Tape, logs: &[ListedBinlog]) -> bool {
    let closed = logs.split_last().map(|(_, closed)| closed).unwrap_or_default();
    tape.has_ended() || closed.iter().any(|log| log.name == tape.place.file.as_str())
}

/// Takes an event that does not stand in the file. To its end: what was received before it can be seen only when nothing is left to read.
async fn pass_over(dump: &mut Dump) -> Result<(), DumpError> {
    while !dump.body().await?.is_empty() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use pitr_binlog::event::{EventHeader, EventType};
    use tokio::io::AsyncWriteExt as _;

    use super::pass_over;
    use crate::mysql::Dump;

    #[tokio::test]
    async fn nothing_waits_for_the_event_after_a_heartbeat() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let heartbeat = EventHeader {
            timestamp: 0,
            event_type: EventType::HEARTBEAT,
            server_id: 1,
            size: 39,
            log_pos: 158,
            flags: 0,
        };
        let event = [&[0][..], &heartbeat.to_bytes(), &[b'x'; 20]].concat();
        theirs.write_all(&[&[event.len() as u8, 0, 0, 1][..], &event].concat()).await.unwrap();
        let mut dump = Dump::over(ours);
        assert_eq!(dump.next().await.unwrap(), Some(heartbeat));
        assert!(!dump.is_drained(), "its body was received with it");
        pass_over(&mut dump).await.unwrap();
        assert!(dump.is_drained());
    }
}
