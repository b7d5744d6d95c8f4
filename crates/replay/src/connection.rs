//! One connection: login, questions, and at most one stream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::cutter::{Cutter, Known};
use crate::dump::DumpRequest;
use crate::failure::{END_OF_PLAN, StreamEnd};
use crate::handshake::{FAST_PATH, Login, Nonce, OK, err, greeting, switch_plugin};
use crate::packet::{PacketWriter, read_packet};
use crate::query::{Answer, Session, answer};
use crate::source::Shared;
use crate::stream::{Stream, StreamFacts};

/// How long a client may take to log in, and a replica to ask its next question.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest packet before a login, and of a question after it.
const LOGIN_LIMIT: usize = 64 * 1024;
/// The largest request after a login: a GTID set of a million intervals.
const REQUEST_LIMIT: usize = 0xff_fffe;
/// The most of a failure's reason that a replica shows in full.
const REASON_LIMIT: usize = 400;

mod command {
    pub(super) const QUIT: u8 = 0x01;
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const PING: u8 = 0x0e;
    pub(super) const BINLOG_DUMP: u8 = 0x12;
    pub(super) const REGISTER_REPLICA: u8 = 0x15;
    pub(super) const BINLOG_DUMP_GTID: u8 = 0x1e;
}

/// ER_SOURCE_FATAL_ERROR_READING_BINLOG: the receiver that gets it stops and does not come again.
const FATAL: u16 = 1236;

/// A client, from its greeting on.
pub(crate) struct Connection<R, W> {
    number: u32,
    shared: Arc<Shared>,
    from: R,
    to: PacketWriter<W>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    pub(crate) fn new(number: u32, shared: Arc<Shared>, from: R, to: W) -> Self {
        Self { number, shared, from, to: PacketWriter::new(to) }
    }

    /// Serves the client until it leaves or has got the log.
    pub(crate) async fn serve(mut self, cancel: &CancellationToken) -> io::Result<()> {
        if !timeout(PATIENCE, self.log_in()).await?? {
            self.shared.ledger.change(|progress| progress.refused += 1);
            warn!(connection = self.number, "refused a client: wrong user or password");
            return Ok(());
        }
        let mut session = Session::default();
        while let Some((sequence, packet)) = timeout(PATIENCE, read_packet(&mut self.from, REQUEST_LIMIT)).await?? {
            self.to.answer_to(sequence);
            match packet.split_first() {
                Some((&command::QUERY, statement)) => self.query(statement, &mut session).await?,
                Some((&(command::PING | command::REGISTER_REPLICA), _)) => self.to.send(OK).await?,
                Some((&command::BINLOG_DUMP_GTID, request)) => {
                    let request = DumpRequest::parse(request)?;
                    let mine = self.shared.take_over(cancel);
                    return tokio::select! {
                        done = self.stream(request, &session) => done,
                        () = mine.cancelled() => Ok(()),
                    };
                }
                Some((&command::QUIT, _)) | None => return Ok(()),
                Some((&command::BINLOG_DUMP, _)) => {
                    let text = "pitr: this source is followed by GTIDs only (SOURCE_AUTO_POSITION=1)";
                    self.to.send(&err(FATAL, b"HY000", text)).await?;
                }
                Some(_) => self.to.send(&err(1047, b"08S01", "pitr: unknown command")).await?,
            }
            self.to.flush().await?;
        }
        Ok(())
    }

    /// Whether the client knows the one-time password.
    async fn log_in(&mut self) -> io::Result<bool> {
        let nonce = Nonce::random();
        let identity = &self.shared.identity;
        self.to.send(&greeting(&identity.server_version, self.number, &nonce)).await?;
        self.to.flush().await?;
        let Some((mut sequence, packet)) = read_packet(&mut self.from, LOGIN_LIMIT).await? else { return Ok(false) };
        let mut login = Login::parse(&packet)?;
        self.to.answer_to(sequence);
        if login.other_plugin {
            self.to.send(&switch_plugin(&nonce)).await?;
            self.to.flush().await?;
            let Some((again, packet)) = read_packet(&mut self.from, LOGIN_LIMIT).await? else { return Ok(false) };
            sequence = again;
            login.answer_again(packet);
            self.to.answer_to(sequence);
        }
        if !login.is_right(identity, &nonce) {
            self.to.send(&err(1045, b"28000", "pitr: wrong user or password")).await?;
            self.to.close().await?;
            return Ok(false);
        }
        self.to.send(FAST_PATH).await?;
        self.to.send(OK).await?;
        self.to.flush().await?;
        Ok(true)
    }

    async fn query(&mut self, statement: &[u8], session: &mut Session) -> io::Result<()> {
        let statement = String::from_utf8_lossy(statement);
        debug!(connection = self.number, %statement, "asked");
        let Answer(packets) = answer(&statement, &self.shared.identity, session, self.shared.now_s());
        for packet in packets {
            self.to.send(&packet).await?;
        }
        Ok(())
    }

    /// Sends the log, and why it ends.
    async fn stream(&mut self, request: DumpRequest, session: &Session) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        debug!(connection = self.number, executed = %request.executed, "the replica asks for the log");
        shared.ledger.change(|progress| progress.streams += 1);
        let heartbeat = match session.heartbeat {
            Duration::ZERO => shared.options.heartbeat,
            asked => asked.min(shared.options.heartbeat),
        };
        let facts = StreamFacts {
            source_id: shared.identity.server_id,
            replica_id: request.server_id,
            heartbeat,
            heartbeat_form: request.heartbeat,
        };
        let mut reader = shared.opener.open(&request.executed);
        shared.holes.begin(&request.executed);
        let known = Known { skip: shared.options.skip.clone(), executed: request.executed };
        let cutter = Cutter::new(&shared.options.batch, known, &shared.holes);
        let cutting = (cutter, shared.holes.clone());
        let text =
            match Stream::new(&mut self.to, &shared.ledger, facts, cutting).run(&mut *reader, &mut self.from).await {
                Ok(()) => {
                    debug!(connection = self.number, "sent the log to the end of the plan");
                    shared.ledger.change(|progress| progress.finished = true);
                    END_OF_PLAN.to_owned()
                }
                Err(StreamEnd::Lost(error)) => return Err(error),
                Err(StreamEnd::Failed(failure)) => {
                    warn!(connection = self.number, %failure, "cannot send the log further");
                    let text = format!("pitr: {failure}");
                    shared.ledger.change(|progress| progress.last_error = Some(failure));
                    text.chars().take(REASON_LIMIT).collect()
                }
            };
        if self.to.is_within_payload() {
            // Half an event is out: nothing that is sent now would be understood.
            return Ok(());
        }
        self.to.send(&err(FATAL, b"HY000", &text)).await?;
        self.to.close().await
    }
}
