//! The phases in their order, and what they share.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use pitr_archive::backup::BackupReader;
use pitr_archive::{Archive, Pace, RetryPolicy};
use pitr_binlog::GtidSet;
use pitr_recovery::{BoundaryTransaction, RestorePlan, code};
use tokio_util::sync::CancellationToken;

use super::in_place::InPlace;
use super::journal::{Journal, Phase};
use super::planned::{self, PlannedRestore};
use super::rows::RowsSummary;
use super::verdict::{DumpSummary, Verdict};
use super::volume::{Expected, Volume, check};
use super::{
    BaseOrigin, RestoreArgs, existing, extract, fetch, hand_over, in_place, late, load, preflight, replay, verify,
};
use crate::error::Failure;
use crate::progress::Progress;
use crate::server::{MatchedSettings, Mysqld, Programs, RunAs, Staging, end_leftover};
use crate::verbs::Context;

/// What a verdict needs to know, whatever happens.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The phase that runs.
    pub(super) phase: Option<Phase>,
    /// The plan's hash.
    pub(super) plan_hash: Option<String>,
    /// What the server has executed.
    pub(super) executed: Option<GtidSet>,
    /// The last transaction before the stop.
    pub(super) last_gtid: Option<String>,
    /// Transactions replayed.
    pub(super) transactions: u64,
    /// Planned and not executed.
    pub(super) missing: GtidSet,
    /// Executed and not planned.
    pub(super) unexpected: GtidSet,
    /// Events whose state is not the source's, or not known.
    pub(super) events_to_look_at: usize,
    /// XA transactions that stay prepared.
    pub(super) prepared_xa: usize,
    /// What the accounting of rows found.
    pub(super) rows: Option<RowsSummary>,
    /// Tables that were written down.
    pub(super) dump: Option<DumpSummary>,
    /// Seconds of replay, over all runs.
    pub(super) replay_seconds: u64,
    /// How fast this run was.
    pub(super) pace: Pace,
    /// When an earlier run verified and handed the volume over, in which case this one did nothing.
    pub(super) handed_over_at: Option<Timestamp>,
}

impl Facts {
    /// Puts everything into the verdict.
    pub(super) fn tell(&self, verdict: &mut Verdict) {
        verdict.phase = self.phase.map(Phase::name);
        verdict.plan_hash.clone_from(&self.plan_hash);
        verdict.gtid_set = self.executed.as_ref().map(ToString::to_string);
        verdict.last_gtid.clone_from(&self.last_gtid);
        verdict.transactions = self.transactions;
        verdict.missing = self.missing.to_string();
        verdict.unexpected = self.unexpected.to_string();
        verdict.events_to_look_at = self.events_to_look_at;
        verdict.prepared_xa = self.prepared_xa;
        verdict.rows = self.rows;
        verdict.dump.clone_from(&self.dump);
        verdict.replay_seconds = self.replay_seconds;
        verdict.pace = Pace { transactions: self.transactions, ..self.pace };
        verdict.message =
            self.handed_over_at.map(|at| format!("verified and handed over at {at}; the data is not checked again"));
    }
}

/// A restore at work.
pub(super) struct Restore<'a> {
    pub(super) args: &'a RestoreArgs,
    pub(super) context: &'a Context,
    pub(super) archive: Arc<Archive>,
    pub(super) volume: Volume,
    pub(super) journal: Journal,
    pub(super) plan: RestorePlan,
    /// The base backup's files; none for a base that another tool restored.
    pub(super) base: Option<BackupReader>,
    pub(super) machine: Machine,
    pub(super) progress: Progress,
    pub(super) facts: &'a mut Facts,
}

/// What a restore stands on before it has a plan.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) args: &'a RestoreArgs,
    pub(super) context: &'a Context,
    pub(super) archive: &'a Archive,
    pub(super) volume: &'a Volume,
    pub(super) machine: &'a Machine,
}

/// The server program and how it is run.
pub(super) struct Machine {
    pub(super) programs: Programs,
    pub(super) staging: Staging,
    pub(super) run_as: RunAs,
    pub(super) settings: MatchedSettings,
}

impl Restore<'_> {
    /// Notes that a phase is done, on the volume.
    pub(super) fn done(&mut self, phase: Phase) -> anyhow::Result<()> {
        self.journal.done = Some(phase);
        self.write_journal()
    }

    /// Writes the journal.
    pub(super) fn write_journal(&self) -> anyhow::Result<()> {
        self.journal.write(&self.volume.journal()).context("write the journal")
    }

    /// Shuts the server down in order, so that what is applied need not be recovered, and notes it.
    pub(super) async fn shut_down(&mut self, server: Mysqld) -> anyhow::Result<()> {
        server.stop().await?;
        self.journal.replica_ran = false;
        self.write_journal()
    }

    /// A phase begins.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.facts.phase = Some(phase);
    }

    /// An error if we have been asked to end.
    pub(super) fn not_interrupted(&self) -> anyhow::Result<()> {
        if self.context.shutdown.is_cancelled() { Err(interrupted()) } else { Ok(()) }
    }
}

/// Drives `work` unless we have been asked to end: then it is dropped where it stands, and with it the server that it has started.
pub(super) async fn unless_interrupted<T>(
    shutdown: &CancellationToken,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        result = work => result,
        () = shutdown.cancelled() => Err(interrupted()),
    }
}

/// The first signal came.
pub(super) fn interrupted() -> anyhow::Error {
    Failure::new(&code::RESTORE_FAILED, "interrupted")
        .hint("what is done stays done")
        .fix("run the same command again")
        .exit(130)
        .into()
}

/// Runs all phases that are not done yet.
pub(super) async fn run(args: &RestoreArgs, context: &Context, facts: &mut Facts) -> anyhow::Result<()> {
    let programs = preflight::programs(args)?;
    preflight::engine(args, &programs)?;
    let store = args.archive.location()?.store(RetryPolicy::persistent()).await?;
    let clock = context.clock.clone();
    let archive = Archive::open(store, Arc::new(move || clock.now())).opened_by(args.archive.identities()?);
    let archive = Arc::new(archive);
    let expected = match args.base {
        BaseOrigin::Existing => Expected::Base,
        BaseOrigin::Archive if args.in_place => Expected::Anything,
        BaseOrigin::Archive => Expected::Empty,
    };

    // A plan that cannot be made or a base that does not fit is refused before anything is written.
    let fresh = !Volume::holds_a_restore(&args.datadir) || args.in_place && in_place::is_fresh(&args.datadir)?;
    extract::check(args, &programs, fresh)?;
    let planned = match args.base {
        BaseOrigin::Archive if fresh => Some(planned::make(args, &archive).await?),
        BaseOrigin::Archive | BaseOrigin::Existing => None,
    };
    if let Some(planned) = &planned {
        preflight::server_fits(args, &programs, planned.plan.base()).await?;
        preflight::identities(&archive, &planned.plan).await?;
        check(&args.datadir, expected)?;
        preflight::room_for_a_new_restore(args, &planned.plan)?;
    }
    if fresh && args.in_place {
        in_place::refuse_data_elsewhere(args)?;
        // Long before the data is exchanged: whoever forgot to stop the server hears of it now.
        in_place::hold(&args.datadir).map(drop)?;
    }
    let mut volume = Volume::open(&args.datadir, expected)?;
    end_leftover(&volume.pid_file()).await.context("end a server that a killed restore left behind")?;
    let run_as = RunAs::owner_of(volume.root()).context("ask who owns the data directory")?;
    let staging = Staging::create(args.staging.as_deref(), run_as).context("make a private directory")?;
    let machine = Machine { programs, staging, run_as, settings: preflight::configured(args)? };
    let journal = in_place::going_on(args, &volume)?;
    in_place::take_place(
        &mut volume,
        run_as,
        (journal.as_ref(), planned.as_ref().map(|planned| &*planned.hash), args),
    )?;
    let ground = Ground { args, context, archive: &archive, volume: &volume, machine: &machine };
    let (journal, planned) = match (journal, planned) {
        (Some(journal), _) => resume(ground, journal).await?,
        (None, Some(planned)) => begin(ground, planned)?,
        (None, None) if args.base == BaseOrigin::Existing => existing::begin(ground).await?,
        // There was a restore to go on with when nothing was planned, and under the lock there is none.
        (None, None) => return Err(ended_meanwhile(&args.datadir).into()),
    };
    facts.plan_hash = Some(planned.hash.clone());
    facts.last_gtid =
        planned.plan.parts().last_applied.as_ref().and_then(BoundaryTransaction::gtid).map(|gtid| gtid.to_string());
    facts.replay_seconds = journal.replay_seconds;
    let base = match args.base {
        BaseOrigin::Archive => Some(BackupReader::open(Arc::clone(&archive), &planned.plan.base().id).await?),
        BaseOrigin::Existing => None,
    };
    if !(fresh && base.is_some()) {
        archive.check_identities(&planned.plan, base.as_ref()).await?;
    }
    let settings = preflight::settings(&machine.settings, planned.plan.base())?;
    // In place those directories hold the old data.
    let settings = if args.in_place { settings.without("innodb_directories") } else { settings };
    let machine = Machine { settings, ..machine };
    let progress = Progress::new(context.clock.clone(), context.json_log);
    let mut restore =
        Restore { args, context, archive, volume, journal, plan: planned.plan, base, machine, progress, facts };
    carry_out(&mut restore).await
}

/// An abort or a finish was quicker: what lies in the directory now is nobody's base.
fn ended_meanwhile(datadir: &Path) -> Failure {
    let message = format!("the restore on \"{}\" was ended by another command a moment ago", datadir.display());
    Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message)
        .hint("nothing was begun in its place")
        .fix("look at what is there, then the same command again, which plans anew")
}

/// The first run: everything that can be checked is checked; now the journal says what this volume is for.
fn begin(ground: Ground<'_>, planned: PlannedRestore) -> anyhow::Result<(Journal, PlannedRestore)> {
    planned.keep(ground.volume)?;
    let mut journal = Journal::begin(planned::purpose(ground.args, &planned), ground.context.clock.now());
    journal.plan_hash = Some(planned.hash.clone());
    journal.in_place = ground.args.in_place.then(|| InPlace::of_plan(&planned.hash, ground.args.restore_id.as_deref()));
    journal.write(&ground.volume.journal()).context("write the journal")?;
    Ok((journal, planned))
}

/// A later run: the volume says what it is for, and only that is gone on with.
async fn resume(ground: Ground<'_>, journal: Journal) -> anyhow::Result<(Journal, PlannedRestore)> {
    planned::same_purpose(ground.args, ground.volume, &journal)?;
    let Some(hash) = &journal.plan_hash else { return existing::plan(ground, journal).await };
    let planned = PlannedRestore::kept(ground.volume, hash)?;
    preflight::server_fits(ground.args, &ground.machine.programs, planned.plan.base()).await?;
    if !journal.has_done(Phase::FetchBase) {
        preflight::room(ground.volume, &planned.plan)?;
    }
    Ok((journal, planned))
}

/// A duration in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn carry_out(restore: &mut Restore<'_>) -> anyhow::Result<()> {
    let begun = Instant::now();
    if !restore.journal.has_done(Phase::FetchBase) {
        restore.enter(Phase::FetchBase);
        fetch::run(restore).await?;
        restore.done(Phase::FetchBase)?;
    }
    if !restore.journal.has_done(Phase::Prepare) {
        restore.enter(Phase::Prepare);
        load::run(restore).await?;
        restore.done(Phase::Prepare)?;
        let base = restore.plan.base();
        restore.facts.pace.base_bytes = base.raw_bytes.max(base.stored_bytes);
        restore.facts.pace.base_ms = milliseconds(begun.elapsed());
    }
    if !restore.journal.has_done(Phase::StopServer) {
        let server = replay::run(restore).await?;
        let server = verify::run(restore, server).await?;
        let server = extract::run(restore, server).await?;
        hand_over::settle(restore, server).await?;
        restore.done(Phase::StopServer)?;
    } else {
        late::check(restore)?;
    }
    if restore.journal.in_place.is_some() && !restore.journal.has_done(Phase::SafetyCopy) {
        in_place::exchange(restore)?;
    }
    restore.enter(Phase::HandOver);
    hand_over::finish(restore)
}
