//! What the configuration says about retention.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pitr_archive::RetentionRules;
use pitr_recovery::{RetentionPolicy, WithoutBase};

use super::document::Origin;
use super::{Problem, Reader, Settings, document, environment, failure, read_file};
use crate::error::Failure;

/// A running base backup renews its claim on what it needs every hour: less grace than two of them is no grace.
const GRACE_MIN: Duration = Duration::from_secs(2 * 60 * 60);
/// Shorter than anybody takes to notice what went wrong: a slip of the pen.
const WINDOW_MIN: Duration = Duration::from_secs(60 * 60);
/// More often costs requests and gains nothing.
const EVERY_MIN: Duration = Duration::from_secs(60);

/// Retention as configured.
#[derive(Debug, Clone)]
pub(crate) struct Retention {
    /// What is kept, and for how long what is not stays marked.
    pub(crate) rules: RetentionRules,
    /// Whether the sidecar carries it out.
    pub(crate) here: bool,
    /// How often it does.
    pub(crate) every: Duration,
    /// Whether what replicas only say again is stored as what differs (`dedupe: gtid`), wherever retention is carried out.
    pub(crate) dedupes: bool,
    /// Whether somebody chose the window: the default is for the sidecar, which keeps what it archived itself.
    pub(crate) is_window_given: bool,
    /// The file that all this was read from.
    pub(crate) file: Option<PathBuf>,
}

impl Retention {
    /// The rules with the pins that the file has now: a pin must count at once, not from the next start on.
    pub(crate) fn current_rules(&self) -> Result<RetentionRules, Failure> {
        let mut rules = self.rules.clone();
        if let Some(file) = &self.file {
            rules.policy.pins = retention_of(file)?.rules.policy.pins;
        }
        Ok(rules)
    }
}

/// Reads the `retention` section of a configuration file; what else is in it must be valid but is not needed.
pub(crate) fn retention_of(file: &Path) -> Result<Retention, Failure> {
    let text = read_file(file)?;
    let read = |settings: Settings| {
        let mut reader = Reader { settings: &settings, problems: Vec::new() };
        let retention = reader.retention();
        if reader.problems.is_empty() { Ok(retention) } else { Err(reader.problems) }
    };
    document::read(&text, &environment()).and_then(read).map_err(failure)
}

/// Whether so little grace can be given. `Err`: what is the least.
pub(crate) fn check_grace(grace: Duration) -> Result<(), &'static str> {
    if grace < GRACE_MIN { Err("at least 2h: running backups renew their claims every hour") } else { Ok(()) }
}

/// Whether a window is worth its name. `Err`: what is the least.
pub(crate) fn check_window(window: Duration) -> Result<(), &'static str> {
    if window < WINDOW_MIN {
        Err("at least 1h: what is marked is gone before anybody has noticed a mistake")
    } else {
        Ok(())
    }
}

impl Reader<'_> {
    pub(super) fn retention(&mut self) -> Retention {
        let window = self.duration("retention.window");
        if let Err(least) = check_window(window) {
            self.problems.push(Problem::new("\"retention.window\" is too short", least));
        }
        let grace = self.duration("retention.grace");
        if let Err(least) = check_grace(grace) {
            self.problems.push(Problem::new("\"retention.grace\" is too short", least));
        }
        let every = self.duration("retention.every");
        if every < EVERY_MIN {
            self.problems.push(Problem::new("\"retention.every\" is too short", "at least 1m"));
        }
        let pins = self.text("retention.pins").unwrap_or_default();
        let policy = RetentionPolicy {
            window_us: i64::try_from(window.as_micros()).unwrap_or(i64::MAX),
            keep_last: self.text("retention.keep_last").and_then(|text| text.parse().ok()).unwrap_or(1),
            pins: pins.split(',').map(str::trim).filter(|pin| !pin.is_empty()).map(str::to_owned).collect(),
            without_base: match self.text("retention.without_base").as_deref() {
                Some("age") => WithoutBase::Age,
                Some(_) | None => WithoutBase::Keep,
            },
        };
        let dedupes = self.text("dedupe").as_deref() == Some("gtid");
        if dedupes && self.text("encryption.age_recipients").is_some_and(|recipients| !recipients.is_empty()) {
            self.problems.push(Problem::new(
                "\"dedupe\" is gtid, and \"encryption.age_recipients\" is set",
                "whoever stores cannot read what others encrypted, and so compares nothing: dedupe: none",
            ));
        }
        Retention {
            dedupes,
            rules: RetentionRules { policy, grace, force: false, running: None },
            here: self.text("retention.run").is_some_and(|value| value == "here"),
            every,
            is_window_given: self.settings.get("retention.window").is_some_and(|set| set.origin != Origin::Default),
            file: None,
        }
    }
}
