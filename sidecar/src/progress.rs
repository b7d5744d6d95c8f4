//! How far a long job is: a bar on a terminal, otherwise one JSON line a second and one at each end of a phase.

use std::io::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::clock::Clock;

/// At most one line in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Drives `work`, and calls `tick` a few times a second.
pub(crate) async fn ticking<T>(work: impl Future<Output = T>, mut tick: impl FnMut()) -> T {
    let mut work = std::pin::pin!(work);
    let mut timer = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = timer.tick() => tick(),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes.
    Bytes,
    /// Transactions.
    Transactions,
    /// Files.
    Files,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Transactions => "transactions",
            Self::Files => "files",
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Bytes => "{prefix:12} {bar:20.green} {binary_bytes}/{binary_total_bytes}  {elapsed}  {msg}",
            Self::Transactions | Self::Files => {
                "{prefix:12} {bar:20.green} {pos}/{len} {unit}  {elapsed}  eta {eta}  {msg}"
            }
        }
    }
}

/// The progress of one job, phase by phase.
pub(crate) struct Progress {
    clock: Clock,
    json: bool,
    phase: Option<Phase>,
}

struct Phase {
    name: &'static str,
    unit: Unit,
    total: u64,
    done: u64,
    /// What was done when the phase began: a resumed job is not faster than it is.
    begun_with: u64,
    begun: Instant,
    /// When a line was last printed, and what it said was done.
    printed: Option<(Instant, u64)>,
    place: Place,
    bar: Option<ProgressBar>,
}

/// Where in the log a replay is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The binlog that is being sent.
    pub(crate) binlog: Option<String>,
    /// The last transaction that was executed, as far as it is known.
    pub(crate) gtid: Option<String>,
}

impl Progress {
    /// For a machine (JSON lines) or for a person.
    pub(crate) fn new(clock: Clock, json: bool) -> Self {
        Self { clock, json, phase: None }
    }

    /// A phase begins, of which `done` is done already.
    pub(crate) fn begin(&mut self, name: &'static str, unit: Unit, done: u64, total: u64) {
        self.end();
        let bar = (!self.json).then(|| bar(name, unit, done, total));
        let begun = Instant::now();
        let place = Place::default();
        self.phase = Some(Phase { name, unit, total, done, begun_with: done, begun, printed: None, place, bar });
        self.print(true);
    }

    /// So much is done now.
    pub(crate) fn set(&mut self, done: u64) {
        if let Some(phase) = &mut self.phase {
            phase.done = done;
        }
        self.print(false);
    }

    /// Everything is done.
    pub(crate) fn complete(&mut self) {
        if let Some(phase) = &mut self.phase {
            phase.done = phase.total;
        }
    }

    /// The total is known better now.
    pub(crate) fn set_total(&mut self, total: u64) {
        if let Some(phase) = &mut self.phase {
            phase.total = total;
        }
    }

    /// Where the replay is now.
    pub(crate) fn at(&mut self, place: Place) {
        if let Some(phase) = &mut self.phase {
            phase.place = place;
        }
    }

    /// The phase is over.
    pub(crate) fn end(&mut self) {
        self.print(true);
        if let Some(Phase { bar: Some(bar), .. }) = self.phase.take() {
            bar.abandon();
        }
    }

    fn print(&mut self, always: bool) {
        let Some(phase) = &mut self.phase else { return };
        if let Some(bar) = &phase.bar {
            bar.set_length(phase.total);
            bar.set_position(phase.done);
            bar.set_message(phase.place.binlog.clone().unwrap_or_default());
            return;
        }
        let due = match phase.printed {
            None => true,
            Some((at, done)) => {
                if always {
                    done != phase.done
                } else {
                    at.elapsed() >= INTERVAL
                }
            }
        };
        if due {
            phase.printed = Some((Instant::now(), phase.done));
            tell(&phase.line(&self.clock));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Phase { bar: Some(bar), .. }) = &self.phase {
            bar.abandon();
        }
    }
}

impl Phase {
    fn line(&self, clock: &Clock) -> Value {
        let mut line = json!({
            "ts": clock.now(), "event": "progress", "schemaVersion": 1,
            "phase": self.name, "done": self.done, "total": self.total, "unit": self.unit.name(), "etaSeconds": self.eta(),
        });
        for (key, value) in [("binlog", &self.place.binlog), ("gtid", &self.place.gtid)] {
            if let Some(value) = value {
                line[key] = value.as_str().into();
            }
        }
        line
    }

    fn eta(&self) -> Option<u64> {
        let advanced = self.done.saturating_sub(self.begun_with);
        let left = self.total.saturating_sub(self.done);
        if advanced == 0 {
            return (left == 0).then_some(0);
        }
        let spent = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(spent.saturating_mul(left) / advanced / 1000)
    }
}

/// Writes a line for whoever follows a job. If nobody does any more, the job goes on.
pub(crate) fn tell(line: &impl std::fmt::Display) {
    let _nobody_listens = writeln!(std::io::stderr(), "{line}");
}

fn bar(name: &'static str, unit: Unit, done: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_prefix(name).with_position(done);
    let template = unit.template().replace("{unit}", unit.name());
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("██░"));
    }
    bar
}
