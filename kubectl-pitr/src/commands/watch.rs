//! Following a Job: progress on stderr, Ctrl-C lets it run on, the end decides.

use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pitr_archive::VerifyProgress;
use pitr_recovery::code;
use tokio::time::Instant;

use crate::args::OutputFormat;
use crate::cluster::{Cluster, Ended, Hindrance, JobEnd, Sign, Watching};
use crate::failure::{EXIT_INTERRUPTED, Failure};
use crate::job_line::{JobLine, Progress};
use crate::render::{Pace, duration, progress_line};
use crate::session::Session;

/// Without a terminal a line is written this often.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Counts of work that is done here are shown this often.
const COUNT_EVERY: Duration = Duration::from_millis(250);

/// How the watching ended, as far as the command goes on.
pub(super) enum Watched {
    Ended(JobEnd),
    /// Ctrl-C: the Job runs on.
    Detached,
}

/// What to say when the Job is left alone.
pub(super) struct Leaving<'a> {
    /// How to come back.
    pub(super) attach: &'a str,
}

/// Follows a Job to its end.
pub(super) async fn watch(
    session: &Session,
    cluster: &Cluster,
    watching: &Watching<'_>,
    leaving: Leaving<'_>,
) -> Result<Watched, Failure> {
    let mut shown = Shown::new(session);
    let ended = {
        let mut show = |sign| shown.sign(sign);
        let follow = cluster.follow(watching, &mut show);
        tokio::select! {
            ended = follow => Some(ended),
            () = session.interrupted() => None,
        }
    };
    shown.close();
    match ended {
        None => {
            session.tell(&format!("detached; the Job runs on. Re-attach: {}", leaving.attach));
            Ok(Watched::Detached)
        }
        Some(Ok(Ended::Job(end))) => Ok(Watched::Ended(end)),
        Some(Ok(Ended::TimedOut(waiting))) => {
            let failure = out_of_time(watching, (shown.current.as_ref(), waiting), cluster.namespace());
            Err(failure.fix(leaving.attach))
        }
        Some(Ok(Ended::Gone)) => Err(Failure::new(
            code::NOT_REACHABLE,
            format!("job \"{}\" was deleted while it was followed", watching.job),
        )),
        // Not being able to look does not stop the Job.
        Some(Err(failure)) => Err(failure.hint("the Job runs on").fix(leaving.attach)),
    }
}

/// A Job that has not ended in time: how far it is, or why it has not begun.
fn out_of_time(
    watching: &Watching<'_>,
    (current, waiting): (Option<&Current>, Option<Hindrance>),
    namespace: &str,
) -> Failure {
    let limit = duration(watching.limit.as_secs());
    let told = |message: String| Failure::new(code::WAIT_TIMED_OUT, message);
    match (current, waiting) {
        (_, Some(waiting)) => told(format!("the Job's pod has not started after {limit}: {waiting}"))
            .hint("the Job stays: its pod starts as soon as it has what it waits for")
            .fix(format!("kubectl describe pods -n {namespace} -l batch.kubernetes.io/job-name={}", watching.job)),
        (Some(current), None) => {
            let phase = &current.last.phase;
            told(format!("still in phase \"{phase}\"{} after {limit}", current.percent())).hint("the Job runs on")
        }
        (None, None) => told(format!("not started, or silent, after {limit}")).hint("the Job runs on"),
    }
}

/// How far a command came with a Job that it has made.
pub(super) enum Made {
    /// The exit code of a command that does not wait, or that was interrupted.
    Left(u8),
    Ended(JobEnd),
}

/// Says that a Job was made, and follows it to its end if that is wanted.
pub(super) async fn made(
    session: &Session,
    cluster: &Cluster,
    watching: &Watching<'_>,
    (wait, attach): (bool, &str),
) -> Result<Made, Failure> {
    let name = watching.job;
    if !wait {
        session.tell(&format!("job.batch/{name} created. Follow it: {attach}"));
        return Ok(Made::Left(0));
    }
    session.tell(&format!("job.batch/{name} created. Ctrl-C is safe. Re-attach: {attach}"));
    Ok(match watch(session, cluster, watching, Leaving { attach }).await? {
        Watched::Detached => Made::Left(DETACHED),
        Watched::Ended(end) => Made::Ended(end),
    })
}

/// How a command tells what its Job left.
pub(super) struct Telling<'a> {
    /// Whether it waits for the end.
    pub(super) wait: bool,
    /// How to come back to the Job.
    pub(super) attach: &'a str,
    pub(super) format: OutputFormat,
    /// The end as a document.
    pub(super) document: fn(&JobEnd) -> serde_json::Value,
}

/// Says that a Job was made, follows it if that is wanted, and tells its end, which `conclude` puts into words or refuses.
pub(super) async fn told(
    session: &Session,
    cluster: &Cluster,
    watching: &Watching<'_>,
    telling: &Telling<'_>,
    conclude: impl FnOnce(&JobEnd) -> Result<String, Failure>,
) -> anyhow::Result<u8> {
    let format = telling.format;
    if format == OutputFormat::Name {
        session.print(&format!("job.batch/{}\n", watching.job))?;
    }
    let end = match made(session, cluster, watching, (telling.wait, telling.attach)).await? {
        Made::Left(code) => return Ok(code),
        Made::Ended(end) => end,
    };
    let text = conclude(&end)?;
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(&(telling.document)(&end), format)?,
        OutputFormat::Name => session.tell(&text),
        OutputFormat::Table | OutputFormat::Wide => session.print(&text)?,
    }
    Ok(0)
}

/// The exit code of a command that was left with Ctrl-C.
pub(super) const DETACHED: u8 = EXIT_INTERRUPTED;

/// Work that is done here and counts as it goes on; none when Ctrl-C ended it.
pub(super) async fn counted<T>(
    session: &Session,
    (phase, unit): (&str, &str),
    counts: &VerifyProgress,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut shown = Shown::new(session);
    let mut tick = tokio::time::interval(COUNT_EVERY);
    let mut work = std::pin::pin!(work);
    let look = |shown: &mut Shown<'_>| {
        let total = Some(counts.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
        let done = counts.done.load(Ordering::Relaxed);
        shown.progress(Progress { phase: phase.into(), unit: unit.into(), done, total, ..Progress::default() });
    };
    let done = loop {
        tokio::select! {
            done = &mut work => break Some(done),
            () = session.interrupted() => break None,
            _ = tick.tick() => look(&mut shown),
        }
    };
    look(&mut shown);
    shown.close();
    done
}

struct Shown<'a> {
    session: &'a Session,
    /// Only where bars can move.
    bar: Option<ProgressBar>,
    current: Option<Current>,
}

struct Current {
    last: Progress,
    begun: Instant,
    told: Instant,
}

impl Current {
    fn percent(&self) -> String {
        match self.last.total.filter(|t| *t > 0) {
            Some(total) => format!(" ({} %)", self.last.done.min(total) * 100 / total),
            None => String::new(),
        }
    }
}

impl<'a> Shown<'a> {
    fn new(session: &'a Session) -> Self {
        let bar = session.terminal.moving.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { session, bar, current: None }
    }

    fn sign(&mut self, sign: Sign) {
        match sign {
            Sign::Line(JobLine::Progress(progress)) => self.progress(progress),
            Sign::Line(JobLine::Method(method)) => {
                let reason = method.reason.trim_start_matches("auto: ");
                self.line(&format!("{:<13}{}: {reason}", "method", method.method));
            }
            Sign::Line(JobLine::Verdict(_) | JobLine::Document(_)) => {}
            Sign::Waiting(reason) => self.line(&format!("{:<13}{reason}", "waiting")),
            Sign::Replaced => self.line("the pod was replaced; another one goes on"),
        }
    }

    fn progress(&mut self, progress: Progress) {
        let now = Instant::now();
        let same = self.current.as_ref().is_some_and(|c| c.last.phase == progress.phase);
        if !same {
            self.end_phase();
        }
        let (begun, told) = match self.current.as_ref().filter(|_| same) {
            Some(current) => (current.begun, current.told),
            None => (now, now),
        };
        let line = progress_line(&progress, Pace::Running);
        let due = now.duration_since(told) >= PLAIN_EVERY;
        match &self.bar {
            Some(bar) => bar.set_message(self.session.terminal.plain_signs(&line)),
            None if due => self.session.tell(&line),
            None => {}
        }
        let told = if due { now } else { told };
        self.current = Some(Current { last: progress, begun, told });
    }

    /// A phase that is over keeps one line, with the time it took.
    fn end_phase(&mut self) {
        let Some(current) = self.current.take() else { return };
        let seconds = current.begun.elapsed().as_secs();
        let whole = Progress { done: current.last.total.unwrap_or(current.last.done), ..current.last };
        self.line(&progress_line(&whole, Pace::Ended { seconds }));
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.session.tell(text)),
            None => self.session.tell(text),
        }
    }

    /// The last phase is shown as far as it came: whether it succeeded is for the verdict to say.
    fn close(&mut self) {
        if let Some(current) = &self.current {
            let seconds = current.begun.elapsed().as_secs();
            self.line(&progress_line(&current.last, Pace::Ended { seconds }));
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
