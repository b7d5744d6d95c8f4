//! The heartbeat: the state of this sidecar as one document, for the log every few seconds and for `GET /v1/status`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitr_archive::Proofs;
use pitr_archive::document::{
    ActiveBinlog, ArchiveState, BackupSummary, ClosedBinlog, GapSummary, Heartbeat, Instant, SCHEMA_VERSION,
    ServerState, StoreState, UnreadableObjects, WindowSummary,
};
use pitr_recovery::{Timeline, Window};
use tokio_util::sync::CancellationToken;

use super::board::Facts;
use super::findings::{self, Look, live_branch};
use super::outlook::{Outlook, proven_to};
use super::purge;
use crate::archiver::Archiver;
use crate::config::{Config, Schedule};

/// Between two heartbeats when nothing happens.
const EVERY: Duration = Duration::from_secs(15);
/// Between two heartbeats at least.
const AT_LEAST: Duration = Duration::from_secs(1);
/// The newest gaps that a heartbeat lists: it has to stay one short line.
const GAPS_MAX: usize = 8;
/// A store, a scan and a clock take so long at worst where nothing is wrong.
const USUAL_DELAY_SECONDS: f64 = 10.0;
/// Lag beyond so many times what is expected is a finding.
const LATE: f64 = 15.0;

/// Writes heartbeats into the log.
#[derive(Debug, Clone)]
pub(crate) struct Heart {
    /// Whose state it is.
    pub(crate) archiver: Archiver,
    /// What is archived.
    pub(crate) outlook: Outlook,
    /// Whether a machine reads the log.
    pub(crate) json_log: bool,
}

/// What a heartbeat is made from.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What the tasks say.
    pub(crate) facts: Facts,
    /// What is archived; none before it was listed.
    pub(crate) timeline: Option<Arc<Timeline>>,
    /// What verification and restore drills have proven.
    pub(crate) proofs: Proofs,
    /// Now.
    pub(crate) now: Timestamp,
    /// Whether one of the tasks does not move.
    pub(crate) is_stuck: bool,
}

impl Heart {
    /// Beats until told to stop, and once more then.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut changes = self.archiver.board.changes();
        loop {
            self.beat().await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(AT_LEAST) => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(EVERY) => {}
                changed = changes.changed() => if changed.is_err() { break },
            }
        }
        self.beat().await;
    }

    /// Everything that is known now; a store that does not answer delays it by a moment.
    pub(crate) async fn look(&self) -> Snapshot {
        let (timeline, proofs) = match self.archiver.pipeline() {
            Some(pipeline) if self.archiver.board.read().listed_us.is_some() => self.outlook.look(pipeline).await,
            Some(_) | None => (None, Proofs::default()),
        };
        let board = &self.archiver.board;
        let stuck = board.watchdog.stuck(tokio::time::Instant::now());
        if let Some((task, silent)) = stuck {
            tracing::error!(event = "stuck", task = task.as_str(), silentSeconds = silent.as_secs());
        }
        Snapshot { facts: board.read(), timeline, proofs, now: self.archiver.clock().now(), is_stuck: stuck.is_some() }
    }

    /// The state now.
    pub(crate) async fn document(&self) -> Heartbeat {
        document(self.archiver.config(), &self.look().await)
    }

    async fn beat(&self) {
        let heartbeat = self.document().await;
        if self.json_log {
            if let Ok(json) = serde_json::to_string(&heartbeat) {
                tracing::info!(event = "heartbeat", document = json);
            }
            return;
        }
        let to = heartbeat.window.as_ref().map(|window| window.to.to_string());
        let active = heartbeat.active.as_ref().map(|active| format!("{}:{}", active.binlog, active.shipped_bytes));
        tracing::info!(
            state = heartbeat.state,
            codes = heartbeat.codes.join(","),
            recoverable_to = to.unwrap_or_else(|| "nothing".to_owned()),
            archived_to = active.unwrap_or_else(|| "-".to_owned()),
            "heartbeat"
        );
    }
}

/// The document of these facts.
pub(crate) fn document(config: &Config, snapshot: &Snapshot) -> Heartbeat {
    let Snapshot { facts, now, is_stuck, .. } = snapshot;
    let (timeline, now, now_us) = (snapshot.timeline.as_deref(), *now, now.as_microsecond());
    let expected_lag_seconds = expected_lag_seconds(config);
    let lag_seconds = lag_seconds(facts, now_us);
    let seconds_until_purge = purge::seconds_until_purge(facts, now_us);
    let codes = findings::codes(Look {
        facts,
        timeline,
        is_late: lag_seconds.is_some_and(|lag| lag > LATE * expected_lag_seconds)
            || waits_too_long(config, facts, now_us),
        purge_is_near: purge::is_near(facts, seconds_until_purge, lag_seconds),
        is_stuck: *is_stuck,
        drill_failed: snapshot.proofs.drills.failed.is_some(),
        is_damaged: snapshot.proofs.damaged > 0,
    });
    let gaps = timeline.map(Timeline::gaps).unwrap_or_default();
    Heartbeat {
        ts: now.into(),
        level: "INFO".to_owned(),
        event: "heartbeat".to_owned(),
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        workload: config.workload.clone(),
        pod: std::env::var("HOSTNAME").ok(),
        state: findings::state(facts, &codes).to_owned(),
        codes: codes.iter().map(ToString::to_string).collect(),
        server: server(facts),
        archive: archive(config, facts, timeline),
        window: timeline.and_then(|timeline| newest_window(timeline).map(|window| summary(window, facts, timeline))),
        windows_total: timeline.map_or(0, |timeline| timeline.windows().len() as u64),
        expected_lag_seconds,
        gaps: gaps.iter().rev().take(GAPS_MAX).map(GapSummary::from).collect(),
        gaps_total: gaps.len() as u64,
        closed: facts.closed.as_ref().map(|closed| ClosedBinlog {
            binlog: closed.binlog.clone(),
            closed_at: closed.closed_us.map(Instant),
            archived_at: closed.archived_us.map(Instant),
        }),
        active: facts.active.as_ref().map(|active| ActiveBinlog {
            binlog: active.binlog.clone(),
            position_bytes: active.position,
            shipped_bytes: active.shipped,
        }),
        lag_seconds,
        unarchived_binlogs: facts.backlog.as_ref().map(|backlog| backlog.binlogs),
        unarchived_bytes: unarchived_bytes(facts),
        seconds_until_purge,
        volume_free_bytes: volume(&config.source.datadir).map(|volume| volume.free),
        base_backups: backups(timeline),
        store: StoreState {
            errors_1h: facts.store.errors_within_hour(tokio::time::Instant::now()),
            last_error_code: facts.store.failing.as_ref().map(|failure| failure.code().to_string()),
            retry_in_seconds: facts.store.retry_at.filter(|_| facts.store.failing.is_some()).map(seconds_until),
            stored_at: facts.successes.stored_us.map(Instant),
        },
        verify: snapshot.proofs.document(),
        rss_bytes: resident_bytes(),
    }
}

fn server(facts: &Facts) -> ServerState {
    let (server, said) = (facts.server.as_ref(), facts.said.as_ref());
    let by_its_files = || facts.replicates.filter(|replicates| *replicates).map(|_| "replica".to_owned());
    ServerState {
        flavour: server.map(|server| server.flavour.to_string()),
        version: server.map(|server| server.version.clone()),
        id: server.map(|server| server.source.clone()),
        // Unasked, a server's relay logs say that it replicates, and their absence says little.
        role: said.and_then(|said| said.role).map(|role| role.as_str().to_owned()).or_else(by_its_files),
        gtid_mode: said.and_then(|said| said.gtid_mode.clone()),
        binlog_expire_seconds: said.and_then(|said| said.expire_seconds),
    }
}

fn archive(config: &Config, facts: &Facts, timeline: Option<&Timeline>) -> ArchiveState {
    let branch = timeline.and_then(live_branch);
    ArchiveState {
        url: config.archive.archive.clone().unwrap_or_default(),
        format: 1,
        stream: branch.and_then(|branch| branch.streams.last().cloned()),
        branch: branch.map(|branch| branch.id.clone()),
        catalog_at: facts.successes.catalog_us.max(facts.listed_us).map(Instant),
        unreadable: facts.unreadable.values().next().map(|(_, first)| UnreadableObjects {
            objects: facts.unreadable.values().map(|(count, _)| count).sum(),
            first: first.clone(),
        }),
    }
}

/// The newest window of the branch that the server is on.
fn newest_window(timeline: &Timeline) -> Option<&Window> {
    let branch = live_branch(timeline)?;
    timeline.windows().iter().rfind(|window| window.branch == branch.id)
}

fn summary(window: &Window, facts: &Facts, timeline: &Timeline) -> WindowSummary {
    let last = last_of_live(timeline);
    WindowSummary {
        from: Instant(window.from_us),
        to: Instant(window.to_us),
        proven_to: proven_to(facts, timeline).map(Instant),
        resolution_seconds: 0.000_001,
        last_gtid: last.map(|gtid| gtid.to_string()),
    }
}

/// The last archived transaction of the branch that the server is on.
fn last_of_live(timeline: &Timeline) -> Option<pitr_binlog::Gtid> {
    let branch = live_branch(timeline)?;
    let stream = timeline.streams().iter().find(|stream| branch.streams.last() == Some(&stream.id))?;
    let mut last = stream.binlogs.iter().rev().filter_map(|binlog| {
        binlog.ranges.iter().filter_map(|range| range.last.as_ref()).max_by_key(|point| point.end)?.gtid
    });
    last.next()
}

fn seconds_until(at: tokio::time::Instant) -> f64 {
    at.saturating_duration_since(tokio::time::Instant::now()).as_secs_f64()
}

/// The bound that lag stays below where nothing is wrong. Without a tail what is written waits for the end of its binlog.
fn expected_lag_seconds(config: &Config) -> f64 {
    let Schedule { tail_interval, archive_interval, flush_when_older_than } = config.schedule;
    let waits = flush_when_older_than.filter(|_| tail_interval.is_none()).unwrap_or_default();
    waits.as_secs_f64() + 2.0 * tail_interval.unwrap_or(archive_interval).as_secs_f64() + USUAL_DELAY_SECONDS
}

/// Whether a closed binlog waits for longer than anything should, where nobody looks after the active one and its lag is not known.
fn waits_too_long(config: &Config, facts: &Facts, now_us: i64) -> bool {
    let closed_us = facts.backlog.as_ref().and_then(|backlog| backlog.closed_us);
    #[expect(clippy::cast_precision_loss, reason = "a comparison of seconds")]
    let waits = closed_us.map_or(0.0, |closed_us| now_us.saturating_sub(closed_us) as f64 / 1e6);
    let expected = 2.0 * config.schedule.archive_interval.as_secs_f64() + USUAL_DELAY_SECONDS;
    config.schedule.tail_interval.is_none() && waits > LATE * expected
}

/// Age of the oldest transaction that is not archived.
pub(super) fn lag_seconds(facts: &Facts, now_us: i64) -> Option<f64> {
    let backlog = facts.backlog.as_ref()?;
    let active = facts.active.as_ref()?;
    let since = [backlog.since_us, active.unshipped_since_us].into_iter().flatten().min();
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let seconds = since.map_or(0.0, |since| (now_us - since).max(0) as f64 / 1e6);
    Some(seconds)
}

pub(super) fn unarchived_bytes(facts: &Facts) -> Option<u64> {
    let (backlog, active) = (facts.backlog.as_ref()?, facts.active.as_ref()?);
    Some(backlog.bytes + active.position.saturating_sub(active.shipped))
}

fn backups(timeline: Option<&Timeline>) -> BackupSummary {
    let reaches = timeline.map(Timeline::backups).unwrap_or_default();
    let usable: Vec<_> = reaches.iter().filter(|reach| reach.connected).collect();
    let backups = timeline.map(|timeline| timeline.inventory().backups.as_slice()).unwrap_or_default();
    let newest = usable.iter().filter_map(|reach| backups.iter().find(|backup| backup.id == reach.backup));
    let newest = newest.max_by_key(|backup| backup.snapshot_us);
    BackupSummary {
        usable: usable.len() as u64,
        newest_id: newest.map(|backup| backup.id.clone()),
        newest_at: newest.map(|backup| Instant(backup.snapshot_us)),
    }
}

/// The volume that the binlogs are on, in bytes.
pub(super) struct Volume {
    pub(super) free: u64,
    pub(super) whole: u64,
}

pub(super) fn volume(datadir: &Path) -> Option<Volume> {
    let volume = rustix::fs::statvfs(datadir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
    Some(Volume { free: bytes(volume.f_bavail), whole: bytes(volume.f_blocks) })
}

/// What this process holds in memory.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::board::BacklogFacts;
    use super::*;
    use crate::config::parse;

    fn config(schedule: &str) -> Config {
        let text =
            format!("workload: w\narchive: file:///a\nsource: {{mysql: {{user: p}}}}\nschedule: {{{schedule}}}\n");
        parse(&text, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn what_is_expected_follows_from_what_is_configured() {
        let expected = |schedule: &str| expected_lag_seconds(&config(schedule));
        assert_eq!(expected(""), 14.0);
        assert_eq!(expected("flush_when_older_than: 1h"), 14.0, "the tail does not wait for the end of a binlog");
        assert_eq!(expected("tail: false"), 130.0);
        assert_eq!(expected("tail: false, flush_when_older_than: 1h"), 3730.0);
    }

    #[test]
    fn without_a_tail_a_closed_binlog_may_not_wait_for_ever() {
        let now_us = 1_800_000_000_000_000;
        let waits = |schedule: &str, seconds: i64| {
            let closed_us = Some(now_us - seconds * 1_000_000);
            let backlog = BacklogFacts { binlogs: 1, closed_us, ..BacklogFacts::default() };
            waits_too_long(&config(schedule), &Facts { backlog: Some(backlog), ..Facts::default() }, now_us)
        };
        assert!(waits("tail: false", 1951) && !waits("tail: false", 1949));
        assert!(waits("tail: false, flush_when_older_than: 12h", 1951), "it is closed already");
        assert!(!waits("", 86_400), "there the lag tells");
        assert!(!waits_too_long(&config("tail: false"), &Facts::default(), now_us));
    }
}
