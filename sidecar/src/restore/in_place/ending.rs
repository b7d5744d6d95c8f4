//! `abort`: the old data goes back to its place. `finish`: what was kept is deleted, and this is the only place that does.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use pitr_recovery::code;
use serde::Serialize;

use super::super::journal::{Journal, Phase};
use super::super::volume::{Expected, Volume};
use super::disk::Disk;
use super::entries::{Way, names, transfer};
use super::{Standing, Work, hold};
use crate::cli::OutputFormat;
use crate::error::{Failure, Rendered};
use crate::server::end_leftover;
use crate::verbs::Context;
use crate::{output, termination};

/// What is ours in `.pitr` beside the data, in the order in which it goes.
const RECORDS: [&str; 6] = ["mysqld.pid", "mysqld.log", "relay", "fetched", "new", "plan.json"];
/// What tells of the restored data, and goes with it.
const RESULTS: [&str; 2] = ["RESTORED.json", "dump"];
/// Container exit: the volume is not in a state for this.
const REFUSED: u8 = 65;

/// `abort` and `finish`
#[derive(Debug, Args)]
pub(crate) struct VolumeArgs {
    /// Data directory of a restore in place
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: PathBuf,
    /// Only the restore by the plan with this hash; another one is left alone [default: whichever is there]
    #[arg(long, value_name = "HASH")]
    pub(crate) plan_hash: Option<String>,
    /// Only the restore of this name; another one is left alone [default: whichever is there]
    #[arg(long, value_name = "ID")]
    pub(crate) restore_id: Option<String>,
    /// How the result is printed [default: text on a terminal, else JSON]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// `finish`
#[derive(Debug, Args)]
pub(crate) struct FinishArgs {
    #[command(flatten)]
    pub(crate) volume: VolumeArgs,
    /// Only if this is what is kept [default: whatever is kept]
    #[arg(long, value_enum)]
    pub(crate) kept: Option<Kept>,
}

/// What a restore in place keeps until it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kept {
    /// The data from before the restore
    Old,
    /// What was restored, and may have been used before the old data was put back
    Restored,
}

impl Kept {
    /// What is kept in a standing that may be finished.
    fn of(standing: Standing) -> Option<Self> {
        match standing {
            Standing::Exchanged => Some(Self::Old),
            Standing::Returned => Some(Self::Restored),
            Standing::Beside
            | Standing::Leaving
            | Standing::Entering
            | Standing::Withdrawing
            | Standing::Returning
            | Standing::Finishing => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Old => "the old data",
            Self::Restored => "what was restored",
        }
    }
}

/// What is said at the end.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    event: &'static str,
    schema_version: u32,
    result: &'static str,
    code: Option<String>,
    message: String,
    /// Whether something is kept that `finish` deletes.
    kept: bool,
    volume: String,
}

/// Puts the old data back.
pub(crate) async fn abort(args: &VolumeArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let done = carry_out(args, Ending::Abort, "no restore in place to turn back").await;
    tell(args, context, ("aborted", done))
}

/// Deletes what was kept.
pub(crate) async fn finish(args: &FinishArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let done = carry_out(&args.volume, Ending::Finish(args.kept), "no restore in place to finish").await;
    tell(&args.volume, context, ("finished", done))
}

/// Which of the two.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Abort,
    /// Only if this is kept.
    Finish(Option<Kept>),
}

/// How it ended well.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// What is true now.
    words: String,
    /// Whether something is kept that `finish` deletes.
    kept: bool,
    /// Whether there was a restore in place at all.
    found: bool,
}

impl Ended {
    fn with_nothing_kept(words: impl Into<String>) -> Self {
        Self { words: words.into(), kept: false, found: true }
    }

    fn without_a_restore(words: &str) -> Self {
        Self { words: format!("{words}: nothing was changed"), kept: false, found: false }
    }
}

/// The result of a verdict where there was nothing to end. Whoever drives it must not take it for the old data being back.
const NOTHING: &str = "nothing";

async fn carry_out(args: &VolumeArgs, ending: Ending, nothing: &str) -> anyhow::Result<Ended> {
    let nothing = Ended::without_a_restore(nothing);
    if !Volume::holds_a_restore(&args.datadir) {
        return Ok(nothing);
    }
    let volume = Volume::open(&args.datadir, Expected::Anything)?;
    let Some(mut journal) = Journal::read(&volume.journal()).context("read the journal")? else { return Ok(nothing) };
    if journal.in_place.is_some() {
        refuse_another(args, &journal)?;
        end_leftover(&volume.pid_file()).await.context("end a server that a killed restore left behind")?;
    }
    match Work::new(volume.root(), &mut journal, &mut Disk) {
        Some(mut work) => match ending {
            Ending::Abort => work.abort(),
            Ending::Finish(kept) => work.finish(kept),
        },
        None => Ok(nothing),
    }
}

/// Ends only what was asked for: another restore's data may be in use since.
pub(super) fn refuse_another(args: &VolumeArgs, journal: &Journal) -> Result<(), Failure> {
    let (held, datadir) = (journal.plan_hash.as_deref(), args.datadir.display());
    let is_its_plan = args.plan_hash.as_deref().is_none_or(|asked| held == Some(asked));
    let is_it = journal.in_place.as_ref().is_none_or(|in_place| in_place.is(args.restore_id.as_deref()));
    let message = match (is_its_plan, is_it) {
        (true, true) => return Ok(()),
        (false, _) => {
            format!("\"{datadir}\" holds the restore of another plan in place: {}", held.unwrap_or("unknown"))
        }
        (true, false) => format!("\"{datadir}\" holds another restore in place by the same plan"),
    };
    let asked = args.plan_hash.as_deref().or(args.restore_id.as_deref()).unwrap_or_default();
    Err(Failure::new(&code::NOT_THIS_RESTORE, message)
        .hint(format!("asked for was {asked}; nothing was changed"))
        .fix("abort or finish that one"))
}

impl Work<'_> {
    /// Until the old data is in its place again, and what was restored is gone or, if it may have been used, kept.
    pub(super) fn abort(&mut self) -> anyhow::Result<Ended> {
        loop {
            match self.standing() {
                Standing::Beside | Standing::Leaving => {
                    let _held = hold(&self.places.root)?;
                    self.set(Standing::Returning)?;
                }
                Standing::Entering | Standing::Exchanged => {
                    let _held = hold(&self.places.root)?;
                    self.note_use()?;
                    self.set(Standing::Withdrawing)?;
                }
                Standing::Withdrawing => {
                    self.leave("restored data", &self.places.withdrawn(), Standing::Returning)?;
                }
                Standing::Returning => {
                    self.bring_back()?;
                    if self.journal.in_place.as_ref().is_some_and(|in_place| in_place.may_be_used) {
                        self.set(Standing::Returned)?;
                        continue;
                    }
                    let made = [self.places.withdrawn(), self.places.beside()];
                    self.forget(&made, &RESULTS)?;
                    return Ok(Ended::with_nothing_kept("the old data is in its place again"));
                }
                Standing::Returned => {
                    self.hand.remove(&self.places.ours().join(RESULTS[0])).context("remove the report")?;
                    let words = format!(
                        "the old data is in its place again; what was restored, and may have been used, is kept in {}",
                        self.places.withdrawn().display()
                    );
                    return Ok(Ended { words, kept: true, found: true });
                }
                Standing::Finishing => {
                    return Err(refused("the old data is being deleted, it cannot be put back")
                        .fix("finish again")
                        .into());
                }
            }
        }
    }

    /// Restored data that was in its place whole may have been used, whether or not a run lived to note that it was.
    fn note_use(&mut self) -> anyhow::Result<()> {
        let is_whole = names(&self.places.beside()).context("list the restored data")?.is_empty();
        if let Some(in_place) = &mut self.journal.in_place {
            in_place.may_be_used |= is_whole;
        }
        Ok(())
    }

    fn bring_back(&mut self) -> anyhow::Result<()> {
        let aside = self.places.aside();
        // Once all of it is back a server may run on it.
        if !names(&aside).context("list the old data")?.is_empty() {
            let _held = hold(&self.places.root)?;
            self.guard()?;
            transfer(&self.places, &aside, Way::In, self.hand).context("move the old data back")?;
        }
        self.hand.remove(&aside).context("remove an empty directory")?;
        self.unguard()
    }

    /// Until nothing is kept. `only`: what the user knows is kept.
    pub(super) fn finish(&mut self, only: Option<Kept>) -> anyhow::Result<Ended> {
        let kept = Kept::of(self.standing());
        if let (Some(kept), Some(only)) = (kept, only)
            && kept != only
        {
            let message = format!("{} is kept here, not {}", kept.words(), only.words());
            return Err(Failure::new(&code::RESTORE_INCOMPLETE, message)
                .hint("nothing was deleted")
                .fix("look again, then finish")
                .into());
        }
        match self.standing() {
            Standing::Exchanged if self.journal.has_done(Phase::HandOver) => self.set(Standing::Finishing)?,
            Standing::Returned => self.set(Standing::Finishing)?,
            Standing::Finishing => {}
            Standing::Beside
            | Standing::Leaving
            | Standing::Entering
            | Standing::Exchanged
            | Standing::Withdrawing
            | Standing::Returning => {
                let failure = Failure::new(&code::RESTORE_INCOMPLETE, "the restore in place has not ended")
                    .hint("finish deletes the old data, which is still needed; nothing was deleted");
                return Err(failure.fix("restores resume, or restores abort").into());
            }
        }
        let kept = [self.places.aside(), self.places.withdrawn(), self.places.beside()];
        self.forget(&kept, &[])?;
        Ok(Ended::with_nothing_kept("what was kept aside is deleted"))
    }

    /// Removes directories of data and our records; the journal, which says what to do, last.
    fn forget(&mut self, data: &[PathBuf], results: &[&str]) -> anyhow::Result<()> {
        let ours = self.places.ours();
        let records = results.iter().chain(&RECORDS).map(|name| ours.join(name));
        for path in data.iter().cloned().chain([self.places.strays()]).chain(records) {
            self.hand.remove(&path).with_context(|| format!("remove \"{}\"", path.display()))?;
        }
        self.hand.remove(&self.places.journal()).context("remove the journal")?;
        self.hand.sync(&ours).context("sync our directory")
    }
}

fn refused(message: &str) -> Failure {
    Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message)
}

/// One verdict, whatever happened.
fn tell(
    args: &VolumeArgs,
    context: &Context,
    (good, done): (&'static str, anyhow::Result<Ended>),
) -> anyhow::Result<ExitCode> {
    let rendered = done.as_ref().err().map(Rendered::of);
    let bad = |rendered: &Rendered| if rendered.code.is_some() { "refused" } else { "failed" };
    let verdict = Verdict {
        event: "verdict",
        schema_version: 1,
        result: match (&done, &rendered) {
            (Ok(ended), _) if !ended.found => NOTHING,
            (_, rendered) => rendered.as_ref().map_or(good, bad),
        },
        code: rendered.as_ref().and_then(|rendered| rendered.code.clone()),
        message: match (&done, &rendered) {
            (Ok(ended), _) => ended.words.clone(),
            (Err(_), rendered) => rendered.as_ref().map(Rendered::text).unwrap_or_default(),
        },
        kept: done.as_ref().is_ok_and(|ended| ended.kept),
        volume: args.datadir.display().to_string(),
    };
    let line =
        termination::fit(|limit| Verdict { message: termination::cut(&verdict.message, limit), ..verdict.clone() });
    let json = args.output.map_or(context.json_log, |format| format == OutputFormat::Json);
    if json {
        output::print_line(&line)?;
    } else if done.is_ok() {
        output::print_line(&verdict.message)?;
    }
    termination::leave(&line);
    match done {
        Ok(_) => Ok(ExitCode::SUCCESS),
        // In a Job its policy reads the exit code: what is refused is not better at another try.
        Err(error) => Err(match error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) {
            Some(failure) if context.json_log => failure.clone().exit(REFUSED).into(),
            Some(_) | None => error,
        }),
    }
}
