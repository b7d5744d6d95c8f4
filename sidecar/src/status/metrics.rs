//! Metrics, made anew for each scrape: what is unknown is absent, never 0.

use std::sync::atomic::AtomicU64;

use pitr_archive::document::Heartbeat;
use pitr_archive::{Operation, StoreCounts};
use pitr_recovery::Timeline;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::board::Facts;
use super::findings::damaged_binlogs;
use super::heartbeat::{Snapshot, document, volume};
use super::segment_seconds::SegmentSeconds;
use crate::config::Config;

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

/// What is counted elsewhere than on the board.
#[derive(Debug)]
pub(crate) struct Counts<'a> {
    /// Calls to the store.
    pub(crate) store: StoreCounts,
    /// What segments take.
    pub(crate) segments: &'a SegmentSeconds,
}

/// The text of `/metrics`.
pub(crate) fn metrics(config: &Config, snapshot: &Snapshot, counts: &Counts<'_>) -> Result<String, std::fmt::Error> {
    text((config, &document(config, snapshot)), (&snapshot.facts, snapshot.timeline.as_deref()), counts)
}

fn text(
    (config, heartbeat): (&Config, &Heartbeat),
    (facts, timeline): (&Facts, Option<&Timeline>),
    counts: &Counts<'_>,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    let mut page = Page(registry.sub_registry_with_label(("workload".into(), heartbeat.workload.clone().into())));
    window(&mut page, heartbeat);
    if let Some(timeline) = timeline {
        archive(&mut page, facts, timeline);
    }
    progress(&mut page, heartbeat, facts);
    room(&mut page, config, heartbeat);
    totals(&mut page, facts);
    requests(&mut page, &counts.store);
    let help = "What segments take, step by step";
    page.0.register("pitr_segment_seconds", help, counts.segments.histograms());
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

struct Page<'a>(&'a mut Registry);

impl Page<'_> {
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    fn count(&mut self, name: &str, help: &str, value: Option<u64>) {
        self.number(name, help, value.map(|value| value as f64));
    }

    fn number(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            let gauge = Number::default();
            gauge.set(value);
            self.0.register(name, help, gauge);
        }
    }

    /// Microseconds, as seconds.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    fn instant(&mut self, name: &str, help: &str, us: Option<i64>) {
        self.number(name, help, us.map(|us| us as f64 / 1e6));
    }

    fn family(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, Option<f64>)>) {
        let family = Family::<Labels, Number>::default();
        for (labels, value) in values {
            if let Some(value) = value {
                family.get_or_create(&labels).set(value);
            }
        }
        self.0.register(name, help, family);
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, family),
            None => self.0.register(name, help, family),
        }
    }
}

fn window(page: &mut Page<'_>, heartbeat: &Heartbeat) {
    let window = heartbeat.window.as_ref();
    page.instant(
        "pitr_window_start_timestamp_seconds",
        "First instant of the newest window",
        window.map(|window| window.from.0),
    );
    let end = window.map(|window| window.proven_to.map_or(window.to.0, |proven| proven.0.max(window.to.0)));
    page.instant("pitr_window_end_timestamp_seconds", "Last instant of the newest window", end);
    page.instant(
        "pitr_restore_drill_last_success_timestamp_seconds",
        "When a restore was last tried and verified",
        heartbeat.verify.drill_at.as_ref().map(|at| at.0),
    );
    page.number(
        "pitr_restore_drill_duration_seconds",
        "How long the last verified restore drill took",
        heartbeat.verify.drill_seconds,
    );
    page.instant(
        "pitr_restore_drill_failed_timestamp_seconds",
        "When the last restore drill failed, if none was verified since",
        heartbeat.verify.drill_failed_at.as_ref().map(|at| at.0),
    );
    page.instant(
        "pitr_verify_last_timestamp_seconds",
        "When the archive's checksums were last verified",
        heartbeat.verify.checksums_at.as_ref().map(|at| at.0),
    );
    let is_whole = heartbeat.verify.damaged_objects.is_none();
    page.instant(
        "pitr_verify_last_success_timestamp_seconds",
        "When the archive's checksums were last verified, while nothing is known to be damaged",
        heartbeat.verify.checksums_at.as_ref().filter(|_| is_whole).map(|at| at.0),
    );
    page.count(
        "pitr_verify_damaged_objects",
        "Objects that the last verification found damaged or missing",
        heartbeat.verify.checksums_at.as_ref().map(|_| heartbeat.verify.damaged_objects.unwrap_or(0)),
    );
    page.instant(
        "pitr_base_backup_last_success_timestamp_seconds",
        "When the newest usable base backup was consistent",
        heartbeat.base_backups.newest_at.map(|at| at.0),
    );
}

/// What only a listed archive tells: before that these are unknown, and absent.
fn archive(page: &mut Page<'_>, facts: &Facts, timeline: &Timeline) {
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    let gaps = |open: bool| Some(timeline.gaps().iter().filter(|gap| gap.is_open() == open).count() as f64);
    page.family(
        "pitr_gaps",
        "Gaps in what is archived",
        [("open", true), ("closed", false)].map(|(state, open)| (vec![("state", state.to_owned())], gaps(open))),
    );
    page.count("pitr_catalog_pages", "Pages of the catalog when it was last listed", facts.catalog_pages);
    page.count("pitr_orphan_bytes", "Bytes that no page named when the last sweep looked", facts.orphan_bytes);
    page.count("pitr_branches", "Histories that disagree", Some(timeline.branches().len() as u64));
    page.count(
        "pitr_damaged_binlogs",
        "Binlogs that cannot be read to their end",
        Some(damaged_binlogs(facts, timeline)),
    );
}

fn progress(page: &mut Page<'_>, heartbeat: &Heartbeat, facts: &Facts) {
    successes(page, facts);
    page.number(
        "pitr_recoverable_lag_seconds",
        "Age of the oldest transaction that is not archived",
        heartbeat.lag_seconds,
    );
    page.number(
        "pitr_expected_lag_seconds",
        "What the lag stays below where nothing is wrong",
        Some(heartbeat.expected_lag_seconds),
    );
    page.count("pitr_unarchived_binlogs", "Closed binlogs that are not archived", heartbeat.unarchived_binlogs);
    page.count("pitr_unarchived_bytes", "Bytes that are not archived", heartbeat.unarchived_bytes);
    page.number(
        "pitr_seconds_until_purge",
        "Until the server may purge what is not archived",
        heartbeat.seconds_until_purge,
    );
}

/// What the process and the server's volume hold.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
fn room(page: &mut Page<'_>, config: &Config, heartbeat: &Heartbeat) {
    let memory = [("resident", heartbeat.rss_bytes), ("limit", Some(config.pipeline.memory_limit))];
    page.family(
        "pitr_memory_bytes",
        "Memory of this process, and what it keeps within",
        memory.map(|(what, bytes)| (vec![("what", what.to_owned())], bytes.map(|bytes| bytes as f64))),
    );
    let volume = volume(&config.source.datadir).map(|volume| volume.whole);
    page.count("pitr_binlog_volume_bytes", "Size of the volume that the binlogs are on", volume);
}

fn successes(page: &mut Page<'_>, facts: &Facts) {
    let successes = [
        ("archive", facts.successes.archive_us),
        ("tail", facts.successes.tail_us),
        ("catalog", facts.successes.catalog_us),
        ("prune", facts.successes.prune_us),
    ];
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    page.family(
        "pitr_last_success_timestamp_seconds",
        "When a stage last succeeded",
        successes.map(|(stage, us)| (vec![("stage", stage.to_owned())], us.map(|us| us as f64 / 1e6))),
    );
}

fn totals(page: &mut Page<'_>, facts: &Facts) {
    let totals = facts.totals;
    let kinds = [("raw", totals.raw_bytes), ("stored", totals.stored_bytes)];
    let kinds = kinds.map(|(kind, bytes)| (vec![("kind", kind.to_owned())], bytes));
    page.counters("pitr_archived", "Bytes archived by this process", Some(Unit::Bytes), kinds);
    page.counters("pitr_archived_binlogs", "Closed binlogs archived by this process", None, [(vec![], totals.binlogs)]);
    page.counters(
        "pitr_divergence",
        "Tail objects with other bytes than the catalog",
        None,
        [(vec![], totals.divergences)],
    );
    let expired = [("objects", totals.expired_objects), ("bytes", totals.expired_bytes)];
    let expired = expired.map(|(kind, count)| (vec![("kind", kind.to_owned())], count));
    page.counters("pitr_expired", "What retention deleted here", None, expired);
    let repeats = [("segments", totals.repeats), ("saved_bytes", totals.repeats_saved_bytes)];
    let repeats = repeats.map(|(kind, count)| (vec![("kind", kind.to_owned())], count));
    page.counters("pitr_repeats", "What dedupe stored here as what differs from another log", None, repeats);
    let info =
        vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("schema", "1".to_owned()), ("format", "1".to_owned())];
    page.family("pitr_build_info", "This program", [(info, Some(1.0))]);
}

fn requests(page: &mut Page<'_>, counts: &StoreCounts) {
    let requests = counts.snapshot().into_iter().map(|((operation, outcome), count)| {
        (vec![("op", operation.action().to_owned()), ("code", outcome.to_owned())], count.calls)
    });
    page.counters("pitr_store_requests", "Requests to the store", None, requests);
    let repeated =
        Operation::ALL.map(|operation| (vec![("op", operation.action().to_owned())], counts.retries(operation)));
    page.counters("pitr_store_retries", "Requests to the store that repeat one that failed", None, repeated);
}

#[cfg(test)]
mod tests;
