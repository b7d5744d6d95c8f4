//! Stream mode: the binlogs of a server whose files cannot be read here, because they are encrypted or on another host, as a replica
//! would ask for them.
//!
//! ```text
//! server ── COM_BINLOG_DUMP ──▶ follower ─▶ spool ─▶ tail, backlog: as from a data directory ─▶ archive
//!    └───── how far have you written? ──▶ probe ─▶ reach ─▶ until when nothing is missing
//! ```
//! What is received are the bytes of the file (its in-use bit cleared, as everywhere here), so that an archive made in one mode goes on in the other.

mod failure;
mod follow;
mod place;
mod reach;
mod spool;
mod standing;
mod survey;
mod tape;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pitr_recovery::code;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use self::failure::StreamError;
use self::follow::Follower;
use self::reach::Reach;
pub(crate) use self::spool::INDEX_BASE;
use self::spool::Spool;
use super::pause::Pause;
use super::pipeline::blocking;
use super::{Archiver, Pipeline};
use crate::config::{Config, MysqlConfig};
use crate::error::Failure;
use crate::mysql::{self, Dsn, LogEnd, Session};
use crate::status::{self, Area, Task};

/// How often the server says that it lives while it has nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two looks for what is archived and can leave the spool.
const CLEAN_EVERY: Duration = Duration::from_secs(1);
/// A probe that is not answered by what is received in that time is made again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The host's name; in a pod, the pod's.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What the tasks of stream mode share.
#[derive(Debug)]
pub(super) struct Streaming {
    /// Where the spool is.
    folder: PathBuf,
    /// Whose binlogs they are.
    source: String,
    /// How the server knows us.
    follower: mysql::Follower,
    /// Bytes of complete binlogs above which none is begun.
    limit: u64,
    spool: Mutex<Spool>,
    /// Nobody else receives into the spool as long as this is open.
    _lock: File,
    reach: Reach,
    /// Whether the binlog that is being received is archived before it is complete.
    has_tail: bool,
}

impl Streaming {
    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows is of another history.
    fn begin_round(&self) {
        self.spool().begin_round();
        self.reach.forget();
    }

    fn has_room(&self) -> bool {
        self.spool().waiting_bytes() <= self.limit
    }

    /// Until when everything that was committed is in the spool.
    pub(super) fn complete_us(&self) -> Option<i64> {
        self.reach.complete_us()
    }
}

impl Archiver {
    /// Makes ready what the rest reads. Only an empty spool needs the server for it.
    pub(super) async fn open_spool(&self) -> Result<Option<Arc<Streaming>>, Failure> {
        let source = &self.config.source;
        let (Some(limit), Some(account)) = (source.spool_limit, &source.mysql) else { return Ok(None) };
        let folder = source.datadir.clone();
        let open = open_spool(&folder, account).await.map_err(|error| error.failure())?;
        let (lock, owner, spool) = open;
        let streaming = Streaming {
            follower: follower(&self.config),
            source: owner,
            limit,
            spool: Mutex::new(spool),
            _lock: lock,
            reach: Reach::new(),
            has_tail: self.config.schedule.tail_interval.is_some(),
            folder,
        };
        Ok(Some(Arc::new(streaming)))
    }

    /// Follows, probes and cleans until told to stop.
    pub(super) async fn stream_loop(&self, pipeline: &Arc<Pipeline>, shared: Option<&Arc<Streaming>>) {
        let (Some(shared), Some(account)) = (shared, self.config.source.mysql.clone()) else { return };
        let follower = Follower::new(Arc::clone(shared), Arc::clone(pipeline), account.clone());
        // Each is watched by itself: one that moves must not hide another that does not.
        let watchdog = &self.board.watchdog;
        let work = async {
            tokio::join!(
                self.follow_on(follower, shared),
                watchdog.watch(Task::Probe, self.probe_on(shared, &account)),
                watchdog.watch(Task::Spool, clean_on(shared, pipeline)),
            );
        };
        let _stopped = self.shutdown.run_until_cancelled(work).await;
    }

    async fn follow_on(&self, mut follower: Follower, shared: &Streaming) {
        let mut pause = Pause::none();
        loop {
            let mut is_first = true;
            let mut received = || {
                if std::mem::take(&mut is_first) {
                    self.board.heal(Area::Stream);
                    pause = Pause::none();
                }
            };
            match follower.follow(&mut received).await {
                Ok(ended) => {
                    if matches!(ended, follow::Pause::Full | follow::Pause::Nothing) {
                        self.board.heal(Area::Stream);
                        pause = Pause::none();
                    }
                    self.rest(CLEAN_EVERY).await;
                    while !shared.has_room() {
                        self.rest(CLEAN_EVERY).await;
                    }
                }
                Err(error) => {
                    self.board.fail(Area::Stream, error.failure());
                    pause.fail();
                    self.rest(pause.left(Instant::now())).await;
                }
            }
        }
    }

    async fn probe_on(&self, shared: &Streaming, account: &MysqlConfig) {
        let interval = self.config.schedule.tail_interval.unwrap_or(self.config.schedule.archive_interval);
        let mut connection = None;
        loop {
            // What is wrong with the server the follower says.
            if let Err(error) = self.probe(&mut connection, shared, account).await {
                tracing::debug!(event = "probe", "{error}");
                connection = None;
            }
            self.rest(interval).await;
        }
    }

    /// Asks how far the server has written, and waits until that is here.
    async fn probe(
        &self,
        connection: &mut Option<Session>,
        shared: &Streaming,
        account: &MysqlConfig,
    ) -> Result<(), StreamError> {
        let server = match connection {
            Some(server) => server,
            None => {
                let mut server = Session::open(&dsn(account).await?).await?;
                check_identity(&mut server, Some(&shared.source), &shared.folder).await?;
                connection.insert(server)
            }
        };
        let (asked_us, before) = (self.clock.now_us(), shared.reach.point());
        let Some(end) = server.log_end().await? else { return Ok(()) };
        let replicates = server.replicates().await?;
        self.board.note(|facts| facts.replicates = Some(replicates));
        if shared.reach.is_contradicted(&before, &end) {
            let LogEnd { binlog, .. } = end;
            tracing::warn!(
                event = "anew",
                binlog = binlog.name,
                end = binlog.bytes,
                "the server lost what it had written"
            );
            shared.reach.doubt();
            return Ok(());
        }
        if tokio::time::timeout(PROBE_TIMEOUT, shared.reach.wait_for(&end.binlog)).await.is_ok() {
            shared.reach.prove(asked_us);
        }
        Ok(())
    }

    /// Removes from the spool what is archived.
    pub(super) fn clean_spool(&self, pipeline: &Pipeline, shared: &Streaming) -> Result<(), Failure> {
        shared.spool().clean(pipeline).map_err(|reason| spool_failed(shared, reason).failure())
    }

    /// Receives until everything is here that was committed before the call, or until the spool is full.
    pub(super) async fn stream_once(
        &self,
        pipeline: &Arc<Pipeline>,
        shared: &Arc<Streaming>,
    ) -> Result<Reached, Failure> {
        let Some(account) = self.config.source.mysql.clone() else { return Ok(Reached::Everything) };
        let begun_us = self.clock.now_us();
        self.clean_spool(pipeline, shared)?;
        let mut follower = Follower::new(Arc::clone(shared), Arc::clone(pipeline), account.clone());
        let probes = async {
            while shared.complete_us().is_none_or(|us| us < begun_us) {
                self.probe(&mut None, shared, &account).await?;
            }
            Ok(Reached::Everything)
        };
        let follows = async {
            loop {
                match follower.follow(&mut || {}).await? {
                    follow::Pause::Full | follow::Pause::Unarchived => return Ok(Reached::Full),
                    follow::Pause::Doubt => status::tick(),
                    follow::Pause::Nothing => {
                        status::tick();
                        tokio::time::sleep(CLEAN_EVERY).await;
                    }
                }
            }
        };
        let work = async {
            tokio::select! {
                reached = probes => reached,
                reached = follows => reached,
            }
        };
        match self.shutdown.run_until_cancelled(work).await {
            Some(reached) => reached.map_err(|error: StreamError| error.failure()),
            None => Err(Failure::new(&code::STREAM_DOWN, "archiving was interrupted")
                .hint("what was received waits in the spool")
                .fix("run it again")
                .exit(130)),
        }
    }
}

/// What receiving once came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// Everything that there was is in the spool.
    Everything,
    /// What is in the spool has to be archived before more is received.
    Full,
}

async fn clean_on(shared: &Arc<Streaming>, pipeline: &Arc<Pipeline>) {
    loop {
        let (streaming, pipeline) = (Arc::clone(shared), Arc::clone(pipeline));
        if let Ok(Err(reason)) = blocking(move || streaming.spool().clean(&pipeline)).await {
            tracing::warn!(event = "spool", "{}", spool_failed(shared, reason));
        }
        status::tick();
        tokio::time::sleep(CLEAN_EVERY).await;
    }
}

fn spool_failed(shared: &Streaming, reason: std::io::Error) -> StreamError {
    StreamError::Spool { folder: shared.folder.clone(), reason }
}

async fn open_spool(folder: &Path, account: &MysqlConfig) -> Result<(File, String, Spool), StreamError> {
    let failed = |reason: std::io::Error| match reason.kind() {
        std::io::ErrorKind::WouldBlock => StreamError::InUse(folder.to_owned()),
        _ => StreamError::Spool { folder: folder.to_owned(), reason },
    };
    let lock = Spool::lock(folder).map_err(failed)?;
    let owner = match Spool::owner(folder).map_err(failed)? {
        Some(owner) => owner,
        None => {
            let mut server = Session::open(&dsn(account).await?).await?;
            let uuid = check_identity(&mut server, None, folder).await?;
            Spool::create(folder, &uuid).map_err(failed)?;
            uuid
        }
    };
    let spool = Spool::open(folder, &owner).map_err(failed)?;
    Ok((lock, owner, spool))
}

/// The server's UUID, if it is a server that can be followed, and the one that is meant.
async fn check_identity(server: &mut Session, known: Option<&str>, spool: &Path) -> Result<String, StreamError> {
    let Some(identity) = server.server_identity().await? else {
        return Err(StreamError::NoMySql("one without a server UUID".to_owned()));
    };
    if identity.version.contains("MariaDB") {
        return Err(StreamError::NoMySql(identity.version));
    }
    match known {
        Some(known) if known != identity.uuid => {
            Err(StreamError::OtherServer { found: identity.uuid, known: known.to_owned(), spool: spool.to_owned() })
        }
        _ => Ok(identity.uuid),
    }
}

/// Where the server is, with the password as it is now.
async fn dsn(account: &MysqlConfig) -> Result<Dsn, StreamError> {
    account
        .read_dsn()
        .await
        .map_err(|reason| StreamError::Password { path: account.password_file.clone().unwrap_or_default(), reason })
}

/// How the server knows this archiver: always the same, so that the server ends what is left of a connection that broke, and another
/// one than any other archiver's.
fn follower(config: &Config) -> mysql::Follower {
    // Of two archivers in two pods each has its own. One that cannot know is told apart by the rest.
    let host = std::fs::read(HOST_NAME).unwrap_or_default();
    let archive = config.archive.archive.as_deref().unwrap_or_default();
    let spool = config.source.datadir.as_os_str().as_encoded_bytes();
    let mut hasher = Sha256::new();
    for part in [config.workload.as_bytes(), archive.as_bytes(), &host, spool] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    let hex = hex::encode(hash);
    let [.., a, b, c, d] = hash;
    mysql::Follower {
        // The upper half: people number their servers from 1.
        server_id: u32::from_le_bytes([a, b, c, d]) | 1 << 31,
        uuid: format!("{}-{}-5{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]),
        heartbeat: HEARTBEAT,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::follower;
    use crate::config;

    fn of(workload: &str, spool: &str) -> crate::mysql::Follower {
        let text = format!(
            "{{workload: {workload}, archive: \"file:///a\", source: {{mode: stream, spool: {spool}, mysql: {{user: p}}}}}}"
        );
        follower(&config::parse(&text, &BTreeMap::new()).unwrap())
    }

    #[test]
    fn an_archiver_keeps_its_identity_and_has_no_other_ones() {
        let one = of("shop/mysql", "/spool");
        assert_eq!(one, of("shop/mysql", "/spool"));
        assert_ne!(one.uuid, of("shop/mysql", "/spool2").uuid);
        assert_ne!(one.uuid, of("shop/mysql2", "/spool").uuid);
        assert!(one.uuid.parse::<pitr_binlog::Uuid>().is_ok() && one.server_id > 1 << 31, "{one:?}");
    }
}
