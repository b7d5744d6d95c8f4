//! The server's binlogs over its replication protocol: events as they stand in the files, as bytes.
//!
//! The driver of everything else here reads an event whole and gives it back taken apart; a log may hold events of 1 GiB, and an
//! archive wants their bytes. So this is a connection of its own, which does little else: greeting, TLS, login, a few questions, dump.

mod login;
mod packets;
mod session;
mod tls;

use std::io;
use std::time::Duration;

use pitr_binlog::event::EventHeader;
use thiserror::Error;
use tokio::io::AsyncWrite;

use self::login::Wire;
pub(crate) use self::session::Session;
use super::dsn::Dsn;

/// The command `COM_BINLOG_DUMP`.
const COM_BINLOG_DUMP: u8 = 0x12;
/// The command `COM_QUERY`.
const COM_QUERY: u8 = 0x03;
/// `BINLOG_DUMP_NON_BLOCK`: the stream ends where the log ends now.
const NON_BLOCK: u16 = 1;
/// First byte of an answer: an event, or "done".
const OK: u8 = 0x00;
/// First byte of an answer: the end of the stream.
const EOF: u8 = 0xfe;
/// First byte of an answer: an error.
const ERROR: u8 = 0xff;
/// The longest answer that is no event.
const ANSWER_MAX: usize = 64 << 10;

/// Why binlogs cannot be read over a connection.
#[derive(Debug, Error)]
pub(crate) enum DumpError {
    /// No connection, or it broke.
    #[error("the connection to {to}: {reason}")]
    Connection {
        /// Where to.
        to: String,
        /// What happened.
        reason: io::Error,
    },
    /// No TLS connection, where the configuration wants one.
    #[error("TLS with {to}: {reason}")]
    Tls {
        /// Where to.
        to: String,
        /// What is wrong.
        reason: String,
    },
    /// The account logs in by a method that this program does not have.
    #[error("the account \"{user}\" {reason}")]
    Method {
        /// Who.
        user: String,
        /// Why not.
        reason: String,
    },
    /// The server's own word.
    #[error("error {number}: {message}")]
    Refused {
        /// The server's error number.
        number: u16,
        /// Its message.
        message: String,
    },
    /// Bytes that make no sense.
    #[error("the server's answer is not understood: {0}")]
    Answer(&'static str),
}

/// Where a dump begins, and who asks.
#[derive(Debug, Clone)]
pub(crate) struct DumpRequest<'a> {
    /// The binlog's name.
    pub(crate) file: &'a str,
    /// Where an event of it begins.
    pub(crate) position: u32,
    /// Who follows, and waits at the end for what comes; none: only what is there, and nobody's dump is ended because of it.
    pub(crate) follower: Option<&'a Follower>,
}

/// How the server knows a follower. It ends the dump of one with the same UUID: the one before, whose connection it may not know to
/// be dead. Two that follow one server need two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Follower {
    /// `server_id`; never 0, which asks for no waiting.
    pub(crate) server_id: u32,
    /// `@replica_uuid`.
    pub(crate) uuid: String,
    /// How often the server says that it lives while there is nothing to send.
    pub(crate) heartbeat: Duration,
}

/// Events that a server sends.
#[derive(Debug)]
pub(crate) struct Dump {
    wire: Wire,
    /// Bytes of the event in hand that are still to come.
    left: u64,
}

impl Dump {
    /// Connects and asks. Whether the server agrees shows in the first event.
    pub(crate) async fn open(dsn: &Dsn, request: &DumpRequest<'_>) -> Result<Self, DumpError> {
        let mut wire = login::connect(dsn).await?;
        wire.command(COM_QUERY, session(request.follower).as_bytes()).await?;
        let answer = wire.answer(ANSWER_MAX).await?;
        if answer.first() != Some(&OK) {
            return Err(refusal(&answer));
        }
        wire.command(COM_BINLOG_DUMP, &dump_request(request)).await?;
        Ok(Self { wire, left: 0 })
    }

    /// Events from somebody who plays the server.
    #[cfg(test)]
    pub(crate) fn over(server: tokio::io::DuplexStream) -> Self {
        Self { wire: Wire::over(server), left: 0 }
    }

    /// The next event's header; its body follows by [`Self::body`], whose rest is skipped. `None`: the end of what is there.
    pub(crate) async fn next(&mut self) -> Result<Option<EventHeader>, DumpError> {
        while !self.body().await?.is_empty() {}
        let mut first = [0];
        self.wire.begin().await?;
        self.wire.exact(&mut first).await?;
        match first[0] {
            OK => {}
            EOF => return Ok(None),
            _ => return Err(refusal(&[&first[..], &self.wire.rest(ANSWER_MAX).await?].concat())),
        }
        let mut header = [0; EventHeader::LENGTH];
        self.wire.exact(&mut header).await?;
        let header = EventHeader::parse(&header);
        let left = u64::from(header.size).checked_sub(EventHeader::LENGTH as u64);
        self.left = left.ok_or(DumpError::Answer("an event is shorter than its header"))?;
        Ok(Some(header))
    }

    /// More bytes of the event in hand, empty after the last ones.
    pub(crate) async fn body(&mut self) -> Result<&[u8], DumpError> {
        let piece = self.wire.piece().await?;
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or(DumpError::Answer("an event is longer than it says"))?;
        if piece.is_empty() && self.left > 0 {
            return Err(DumpError::Answer("an event is shorter than it says"));
        }
        Ok(piece)
    }

    /// The rest of the event in hand, which must not be longer than `limit`.
    pub(crate) async fn whole_body(&mut self, limit: usize) -> Result<Vec<u8>, DumpError> {
        if self.left > limit as u64 {
            return Err(DumpError::Answer("an event is longer than any of its kind"));
        }
        let body = self.wire.rest(limit).await?;
        self.left = self
            .left
            .checked_sub(body.len() as u64)
            .filter(|left| *left == 0)
            .ok_or(DumpError::Answer("an event has another length than it says"))?;
        Ok(body)
    }

    /// Whether the next call may have to wait for the server.
    pub(crate) fn is_drained(&self) -> bool {
        self.wire.is_drained()
    }
}

/// What the session tells the server before it asks. Events keep the checksums that they have in the file only for who says that it
/// knows them.
fn session(follower: Option<&Follower>) -> String {
    let mut sql = "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32'".to_owned();
    if let Some(Follower { uuid, heartbeat, .. }) = follower {
        let period = heartbeat.as_nanos();
        sql.push_str(&format!(
            ", @source_heartbeat_period = {period}, @master_heartbeat_period = {period}, @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'"
        ));
    }
    sql
}

fn dump_request(request: &DumpRequest<'_>) -> Vec<u8> {
    let flags = if request.follower.is_some() { 0 } else { NON_BLOCK };
    let mut body = request.position.to_le_bytes().to_vec();
    body.extend(flags.to_le_bytes());
    body.extend(request.follower.map_or(0, |follower| follower.server_id).to_le_bytes());
    body.extend(request.file.as_bytes());
    body
}

/// An error packet: 0xff, number u16, '#' and five characters of SQLSTATE, message.
fn refusal(answer: &[u8]) -> DumpError {
    let [ERROR, low, high, text @ ..] = answer else {
        return DumpError::Answer("no error, and nothing that was asked for");
    };
    let message = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    let message = String::from_utf8_lossy(message).into_owned();
    DumpError::Refused { number: u16::from_le_bytes([*low, *high]), message }
}

/// Both ways of a connection.
trait Duplex: tokio::io::AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug {}

impl<T: tokio::io::AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> Duplex for T {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DumpError, DumpRequest, Follower, dump_request, refusal, session};

    #[test]
    fn who_does_not_follow_ends_nobodys_dump() {
        let request = DumpRequest { file: "binlog.000007", position: 4, follower: None };
        assert_eq!(dump_request(&request), b"\x04\0\0\0\x01\0\0\0\0\0binlog.000007");
        assert!(!session(None).contains("uuid"));
        let follower = Follower { server_id: 0x8000_0001, uuid: "u".to_owned(), heartbeat: Duration::from_secs(2) };
        let request = DumpRequest { follower: Some(&follower), ..request };
        assert_eq!(dump_request(&request), b"\x04\0\0\0\0\0\x01\0\0\x80binlog.000007");
        assert!(session(Some(&follower)).contains("@source_heartbeat_period = 2000000000"));
    }

    #[test]
    fn the_servers_errors_are_its_own_words() {
        let said = refusal(b"\xff\xcb\x04#42000Access denied");
        assert!(matches!(said, DumpError::Refused { number: 1227, message } if message == "Access denied"));
        assert!(matches!(refusal(b"\xff\x10\x04Too many"), DumpError::Refused { number: 1040, .. }));
        assert!(matches!(refusal(b"\x01"), DumpError::Answer(_)));
    }
}
