//! One stream: the log, piece by piece, to one replica that asked for it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use pitr_binlog::event::build::EventBuilder;
use pitr_binlog::event::{ChecksumAlgorithm, Events};
use pitr_binlog::{BinlogName, Gtid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::sleep_until;

use crate::ReadError;
use crate::batch::Holes;
use crate::cutter::{Cut, CutCounts, Cutter};
use crate::dump::HeartbeatForm;
use crate::failure::{Fault, InFile, SourceFailure, StreamEnd};
use crate::head::{FIRST_EVENT, FileHead};
use crate::log::{LogPiece, LogReader};
use crate::packet::PacketWriter;
use crate::progress::Ledger;
use crate::splitter::{Broken, Part, Splitter};
use crate::wire::EventWire;

/// Progress is told at least after so many bytes.
const TELL_EVERY: u64 = 256 * 1024;

/// What a stream needs to know of its source and its replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamFacts {
    pub(crate) source_id: u32,
    pub(crate) replica_id: u32,
    /// The longest silence.
    pub(crate) heartbeat: Duration,
    pub(crate) heartbeat_form: HeartbeatForm,
}

/// The file whose events are being sent.
#[derive(Debug)]
struct CurrentFile {
    name: BinlogName,
    /// Announced, but not sent yet: how depends on what follows.
    head: Option<FileHead>,
    /// The reader began after the file's first transaction.
    begun_late: bool,
}

#[derive(Debug)]
pub(crate) struct Stream<'a, W> {
    wire: EventWire<'a, W>,
    ledger: &'a Ledger,
    facts: StreamFacts,
    /// Makes events up, protected as the replica expects at this moment: as our answer to its question said, later as
    /// the last format description said (T23).
    builder: EventBuilder,
    cutter: Cutter,
    holes: Holes,
    splitter: Splitter,
    /// What the cutter has let through and is not sent yet: at most what it looks at together.
    ready: VecDeque<Cut>,
    file: Option<CurrentFile>,
    told_bytes: u64,
    told: CutCounts,
}

impl<'a, W: AsyncWrite + Unpin> Stream<'a, W> {
    pub(crate) fn new(
        packets: &'a mut PacketWriter<W>,
        ledger: &'a Ledger,
        facts: StreamFacts,
        (cutter, holes): (Cutter, Holes),
    ) -> Self {
        Self {
            wire: EventWire::new(packets),
            ledger,
            facts,
            builder: EventBuilder { server_id: facts.source_id, checksum: ChecksumAlgorithm::Crc32 },
            cutter,
            holes,
            splitter: Splitter::default(),
            ready: VecDeque::new(),
            file: None,
            told_bytes: 0,
            told: CutCounts::default(),
        }
    }

    /// Sends the log to its end. The replica has nothing more to say; if it closes the connection, the stream ends.
    pub(crate) async fn run(
        &mut self,
        reader: &mut dyn LogReader,
        replica: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), StreamEnd> {
        let outcome = self.send_log(reader, replica).await;
        self.tell();
        outcome.map_err(|fault| self.named(fault))
    }

    async fn send_log(
        &mut self,
        reader: &mut dyn LogReader,
        replica: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), Fault> {
        while let Some(piece) = self.wait_for_piece(reader, replica).await? {
            match piece {
                LogPiece::File { name, head, start, .. } => self.begin_file(name, &head, start).await?,
                LogPiece::Bytes { start, bytes } => self.send_bytes(start, bytes).await?,
                LogPiece::Seam => self.send_seam().await?,
            }
            self.tell();
        }
        self.end_file().await
    }

    /// The next piece of the log; while it is not there, the replica hears that the source lives.
    async fn wait_for_piece(
        &mut self,
        reader: &mut dyn LogReader,
        replica: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<LogPiece>, Fault> {
        self.wire.flush().await?;
        let mut byte = [0];
        let mut piece = reader.next();
        loop {
            // In this order, so that passing over much of the log is no silence.
            tokio::select! {
                biased;
                () = sleep_until(self.wire.last_begun + self.facts.heartbeat) => self.heartbeat().await?,
                piece = &mut piece => return piece.map_err(Fault::Unreadable),
                _ = replica.read(&mut byte) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed by the replica").into());
                }
            }
        }
    }

    async fn heartbeat(&mut self) -> Result<(), Fault> {
        self.wire.last_begun = tokio::time::Instant::now();
        let Some(file) = self.file.as_ref().filter(|_| !self.wire.is_within_event()) else { return Ok(()) };
        // Exactly where the replica believes to be: less is an error there, more would end up in its relay log.
        let position = self.wire.position;
        let event = match (self.facts.heartbeat_form, u32::try_from(position)) {
            (HeartbeatForm::V2, _) => self.builder.heartbeat_v2(&file.name, position),
            (HeartbeatForm::V1, Ok(position)) => self.builder.heartbeat(&file.name, position),
            // The old form has no way to say it.
            (HeartbeatForm::V1, Err(_)) => return Ok(()),
        };
        self.wire.send_made_up(&event).await?;
        Ok(self.wire.flush().await?)
    }

    async fn begin_file(&mut self, name: BinlogName, head: &Bytes, start: u64) -> Result<(), Fault> {
        self.end_file().await?;
        let rotate = self.builder.artificial_rotate(&name, FIRST_EVENT);
        self.ledger.change(|progress| progress.current_binlog = Some(name.clone()));
        let begun_late = start > FIRST_EVENT + head.len() as u64;
        // From here on, what goes wrong is about this file.
        let file = self.file.insert(CurrentFile { name, head: None, begun_late });
        let head = file.head.insert(FileHead::parse(head)?);
        if !head.is_mysql() {
            return Err(InFile::NotMySql.into());
        }
        self.splitter.restart(start)?;
        self.cutter.restart(head.format.checksum);
        self.wire.send_made_up(&rotate).await?;
        self.wire.position = FIRST_EVENT;
        Ok(())
    }

    /// The file in hand has no more events.
    async fn end_file(&mut self) -> Result<(), Fault> {
        self.splitter.check_whole()?;
        let at = self.splitter.event_offset();
        self.cutter.end_file(&mut self.ready).map_err(|uncuttable| InFile::of(uncuttable, at))?;
        self.send_ready().await?;
        self.send_head(false).await
    }

    /// Sends the head of the file in hand, unless that is done.
    async fn send_head(&mut self, passing_over: bool) -> Result<(), Fault> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let Some(head) = file.head.take() else { return Ok(()) };
        self.wire.send(&head.format_description(file.begun_late || passing_over)).await?;
        self.builder.checksum = head.format.checksum;
        for event in &head.others {
            self.wire.send(event).await?;
        }
        Ok(())
    }

    async fn send_bytes(&mut self, start: u64, bytes: Bytes) -> Result<(), Fault> {
        if start != self.splitter.expects() {
            return Err(Broken { offset: start, reason: "the bytes do not follow those before" }.into());
        }
        self.splitter.feed(bytes);
        while let Some(part) = self.splitter.next()? {
            self.send_part(part).await?;
            if self.wire.bytes - self.told_bytes >= TELL_EVERY {
                self.tell();
            }
        }
        Ok(())
    }

    async fn send_seam(&mut self) -> Result<(), Fault> {
        let at = self.splitter.event_offset();
        self.cutter.seam(&mut self.ready).map_err(|uncuttable| InFile::of(uncuttable, at))?;
        self.send_ready().await
    }

    async fn send_part(&mut self, part: Part) -> Result<(), Fault> {
        let at = self.splitter.event_offset();
        let cut = self.cutter.cut(part, &mut self.ready);
        cut.map_err(|uncuttable| InFile::of(uncuttable, at))?;
        self.send_ready().await
    }

    /// Sends what the cutter has let through.
    async fn send_ready(&mut self) -> Result<(), Fault> {
        let at = self.splitter.event_offset();
        if self.cutter.is_passing_over() || !self.ready.is_empty() {
            self.send_head(self.cutter.is_passing_over()).await?;
        }
        while let Some(cut) = self.ready.pop_front() {
            match cut {
                Cut::Instead(events) => {
                    for event in Events::new(&events, ChecksumAlgorithm::None) {
                        let event = event.map_err(|malformed| Broken { offset: at, reason: malformed.0 })?;
                        self.not_shared(event.header.server_id, at)?;
                        self.wire.send(event.bytes).await?;
                    }
                }
                Cut::Send(Part::First { header, bytes }) => {
                    self.not_shared(header.server_id, at)?;
                    self.wire.begin(header.size).await?;
                    self.wire.put(&bytes).await?;
                }
                Cut::Send(Part::Rest(bytes)) => self.wire.put(&bytes).await?,
                Cut::Alone(gtid) => self.let_alone(gtid).await?,
            }
        }
        Ok(())
    }

    /// Waits until what stands alone may be sent; meanwhile the replica has everything before it.
    async fn let_alone(&mut self, gtid: Gtid) -> Result<(), Fault> {
        let mut is_told = false;
        while !self.holes.let_alone(&gtid) {
            self.wire.flush().await?;
            // Once: heartbeats are no progress, and whoever watches for it must see that there is none.
            if !std::mem::replace(&mut is_told, true) {
                self.tell();
            }
            let silent_until = self.wire.last_begun + self.facts.heartbeat;
            tokio::select! {
                () = self.holes.recorded() => {}
                () = sleep_until(silent_until) => self.heartbeat().await?,
            }
        }
        Ok(())
    }

    /// The replica would drop an event with its own number without a word.
    fn not_shared(&self, server_id: u32, at: u64) -> Result<(), InFile> {
        if server_id == self.facts.replica_id { Err(InFile::SharedServerId(at)) } else { Ok(()) }
    }

    /// Adds to the account what happened since the last time.
    fn tell(&mut self) {
        let (bytes, counts) = (self.wire.bytes - self.told_bytes, self.cutter.counts().since(self.told));
        self.told_bytes = self.wire.bytes;
        self.told = self.cutter.counts();
        self.ledger.change(|progress| {
            progress.bytes_sent += bytes;
            progress.transactions_sent += counts.sent;
            progress.batches_sent += counts.batches;
            progress.transactions_emptied += counts.emptied;
            progress.transactions_passed_over += counts.passed_over;
        });
    }

    /// A fault with the name of the file that it is about.
    fn named(&self, fault: Fault) -> StreamEnd {
        match (fault, &self.file) {
            (Fault::Lost(error), _) => StreamEnd::Lost(error),
            (Fault::Unreadable(error), _) => StreamEnd::Failed(SourceFailure::unreadable(&error)),
            (Fault::InFile(fault), Some(file)) => {
                StreamEnd::Failed(fault.named(file.name.clone(), self.facts.replica_id))
            }
            (Fault::InFile(_), None) => {
                StreamEnd::Failed(SourceFailure::unreadable(&ReadError::new("bytes before any file")))
            }
        }
    }
}
