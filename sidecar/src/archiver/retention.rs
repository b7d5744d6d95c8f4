//! Retention in the sidecar (`retention.run: here`): every so often a run, once a day a sweep.

use std::time::Duration;

use futures::future::BoxFuture;
use pitr_archive::document::ProblemItem;
use pitr_archive::{Deduped, Retained, RetentionRules, Swept, Workspace};
use pitr_recovery::code;
use tokio::time::Instant;

use super::{Archiver, Pipeline};
use crate::archive_failure::of_archive;
use crate::error::Failure;
use crate::status::Area;

/// What nobody names costs space and nothing else.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// After a failed run.
const AGAIN: Duration = Duration::from_secs(5 * 60);

impl Archiver {
    /// Carries retention out until told to stop, if that is its task.
    pub(super) async fn retention_loop(&self, pipeline: &Pipeline) {
        if !self.config.retention.here {
            return;
        }
        // Segments of the backlog and those that are read here take turns in the same memory.
        let memory = &pipeline.limits.memory;
        let room = || -> BoxFuture<'_, Box<dyn Send>> {
            Box::pin(async move { Box::new(memory.take_all().await) as Box<dyn Send> })
        };
        let space = Workspace { bytes: memory.backlog_bytes(), room: &room };
        // A server that can be asked says in a moment whether it writes; before it has, another history may be taken for the one that goes on.
        let patience = Instant::now() + AGAIN;
        while !self.knows_role() && Instant::now() < patience && !self.shutdown.is_cancelled() {
            self.rest(Duration::from_secs(1)).await;
        }
        let mut swept: Option<Instant> = None;
        while !self.shutdown.is_cancelled() {
            let retained = self.retain(pipeline).await;
            let mut done = retained && self.dedupe(pipeline, &space).await;
            // What cannot be made smaller is no reason to leave things lying about.
            if retained && swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                let is_swept = self.sweep(pipeline, &space).await;
                swept = is_swept.then(Instant::now).or(swept);
                done &= is_swept;
            }
            let every = self.config.retention.every;
            self.rest(if done { every } else { every.min(AGAIN) }).await;
        }
    }

    async fn retain(&self, pipeline: &Pipeline) -> bool {
        // Another history may look later while this server commits nothing: a restore that was turned back does (decision 0015).
        let running = pipeline.ledger().inventory().running.clone();
        let rules = match self.config.retention.current_rules() {
            Ok(rules) => RetentionRules { running, ..rules },
            // What is pinned is not known: nothing expires.
            Err(failure) => {
                self.board.fail(Area::Retention, failure);
                return false;
            }
        };
        match pipeline.archive.retain(&rules).await {
            Ok(retained) => {
                self.note_retained(pipeline, &retained).await;
                true
            }
            Err(error) => {
                self.board.fail(Area::Retention, of_archive(&error, &pipeline.archive.describe()));
                false
            }
        }
    }

    async fn note_retained(&self, pipeline: &Pipeline, retained: &Retained) {
        for (backup, missing) in &retained.proposal.incomplete {
            tracing::error!(event = "incomplete-base", backup, missing, "no window relies on it");
        }
        if let Some(failure) = refusal(retained) {
            tracing::warn!(event = "retention-refused", code = %failure.code(), "{failure}");
            self.board.fail(Area::Retention, failure);
            return;
        }
        tracing::info!(
            event = "retention",
            marked = retained.marked.len(),
            rescued = retained.rescued.len(),
            finished = retained.finished.len(),
            deletedObjects = retained.deleted_objects,
            deletedBytes = retained.deleted_bytes,
            undeletable = retained.undeletable.len(),
        );
        note_undeletable(&retained.undeletable);
        for item in &retained.broken {
            tracing::error!(event = "broken", item = %item, "it would be kept now, but part of it is deleted");
        }
        self.board.heal(Area::Retention);
        let now_us = self.clock.now_us();
        self.board.note(|facts| {
            facts.successes.prune_us = Some(now_us);
            facts.totals.expired_objects += retained.deleted_objects;
            facts.totals.expired_bytes += retained.deleted_bytes;
        });
        // What is marked now is in no window any more.
        if (!retained.marked.is_empty() || !retained.rescued.is_empty())
            && let Err(failure) = self.list(pipeline).await
        {
            self.board.fail(Area::Listing, failure);
        }
    }

    /// Whether it was done, or is not wanted. What is stored as repeats the next sweep but one takes away.
    async fn dedupe(&self, pipeline: &Pipeline, space: &Workspace<'_>) -> bool {
        if !self.config.retention.dedupes {
            return true;
        }
        match pipeline.archive.dedupe(self.config.retention.rules.grace, space).await {
            Ok(Deduped { repeats, whole_bytes, stored_bytes, unlike, finished }) => {
                tracing::info!(
                    event = "deduped",
                    repeats,
                    wholeBytes = whole_bytes,
                    storedBytes = stored_bytes,
                    unlike,
                    finished
                );
                self.board.note(|facts| {
                    facts.totals.repeats += repeats;
                    facts.totals.repeats_saved_bytes += whole_bytes.saturating_sub(stored_bytes);
                });
                true
            }
            Err(error) => {
                self.board.fail(Area::Retention, of_archive(&error, &pipeline.archive.describe()));
                false
            }
        }
    }

    async fn sweep(&self, pipeline: &Pipeline, space: &Workspace<'_>) -> bool {
        match pipeline.archive.sweep(self.config.retention.rules.grace, space).await {
            Ok(swept) => {
                let Swept { duplicates, adopted, covered, runs, chunks, deleted_bytes, .. } = swept;
                tracing::info!(
                    event = "swept",
                    duplicates,
                    adopted,
                    covered,
                    runs,
                    chunks,
                    deletedBytes = deleted_bytes
                );
                self.board.unreadable(Area::Unusable, &swept.unusable);
                note_undeletable(&swept.undeletable);
                self.board.note(|facts| {
                    facts.totals.expired_bytes += deleted_bytes;
                    facts.orphan_bytes = Some(swept.orphan_bytes);
                });
                true
            }
            Err(error) => {
                self.board.fail(Area::Retention, of_archive(&error, &pipeline.archive.describe()));
                false
            }
        }
    }
}

/// Objects of which the log tells; their number is told in any case.
const UNDELETABLE_TOLD: usize = 10;

fn note_undeletable(keys: &[String]) {
    for key in keys.iter().take(UNDELETABLE_TOLD) {
        tracing::warn!(
            event = "undeletable",
            key,
            of = keys.len(),
            "the store does not let it go; the next run tries again"
        );
    }
}

/// Why a run did nothing, if it did nothing.
pub(crate) fn refusal(retained: &Retained) -> Option<Failure> {
    if !retained.refused {
        return None;
    }
    let hindered = &retained.proposal.hindrances;
    if let Some((key, reason)) = hindered.first() {
        let first = ProblemItem { key: key.clone(), reason: reason.clone() };
        let message = format!("nothing expires: {} cannot be read, such as {key}: {reason}", hindered.len());
        return Some(
            Failure::new(&code::CHECKSUM_MISMATCH, message)
                .hint("what it says might forbid to delete something")
                .fix(first.way_past("pitr-sidecar verify --archive URL --rebuild-catalog")),
        );
    }
    match &retained.proposal.unknown_pins[..] {
        [] => Some(shrinks(&retained.proposal.plan)),
        pins => Some(unknown_pins(pins)),
    }
}

/// The refusal to go on while a pin names nothing: what it was meant to keep might go.
pub(crate) fn unknown_pins(pins: &[String]) -> Failure {
    Failure::new(&code::UNKNOWN_PIN, format!("no base backup is called {}, which is pinned", pins.join(", ")))
        .hint("what the pin was meant to keep could expire; nothing was marked or deleted")
        .fix("pitr-sidecar status --archive URL names them; prune --force goes on without")
}

/// The refusal to shrink a window.
pub(crate) fn shrinks(plan: &pitr_recovery::ExpirePlan) -> Failure {
    let spans: Vec<String> = plan.shrinks.iter().map(span).collect();
    let message = match &spans[..] {
        [] => "the window would shrink".to_owned(),
        [first] => format!("{first} would become unreachable"),
        [first, .., last] => format!("{first} to {last} would become unreachable"),
    };
    Failure::new(&code::PRUNE_BREAKS_PROMISE, message)
        .hint("a longer window was promised before; nothing was marked or deleted")
        .fix("a longer --window, or --force once")
}

fn span(span: &pitr_recovery::Span) -> String {
    use pitr_recovery::format_time;
    format!("{} .. {} on {}", format_time(span.from_us), format_time(span.to_us), span.branch)
}
