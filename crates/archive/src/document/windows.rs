//! What can be restored, as a document: `GET /v1/windows`.

use pitr_recovery::{Gap, GapCause, Timeline, WindowEnd};
use serde::{Deserialize, Serialize};

use super::{API_VERSION, Instant, SCHEMA_VERSION};

/// All windows and gaps of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowsDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `WindowList`
    pub kind: String,
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Those of the live branch first, by time.
    pub items: Vec<WindowItem>,
    /// By branch and time.
    pub gaps: Vec<GapItem>,
}

/// An interval, every instant of which can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowItem {
    /// The branch.
    pub branch: String,
    /// Whether the branch is the live one.
    pub live: bool,
    /// The first instant.
    pub from: Instant,
    /// The last instant.
    pub to: Instant,
    /// The gap that ends it.
    pub ends_at: Option<String>,
    /// Why it ends: `lastArchived`, `gap` or `timesStepBack`.
    pub ends: String,
    /// Transactions between the two.
    pub transactions: u64,
    /// Raw bytes between the two.
    pub bytes: u64,
    /// Base backups that serve it.
    pub backups: Vec<String>,
    /// What is executed at its end.
    pub to_gtid_set: String,
}

/// Transactions known to have existed that are not archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapItem {
    /// `gap-...`
    pub id: String,
    /// The branch.
    pub branch: String,
    /// `open` or `closed`.
    pub state: String,
    /// The last instant that can be reached before it.
    pub from: Option<Instant>,
    /// The first instant that can be reached again after it.
    pub to: Option<Instant>,
    /// How many transactions.
    pub transactions: u64,
    /// Why, as one word.
    pub reason: String,
    /// Why, as a sentence.
    pub text: String,
    /// The base backup that closes it.
    pub closed_by: Option<String>,
}

impl From<&Timeline> for WindowsDocument {
    fn from(timeline: &Timeline) -> Self {
        let live: Vec<&str> =
            timeline.branches().iter().filter(|branch| branch.live).map(|branch| branch.id.as_str()).collect();
        let items = timeline.windows().iter().map(|window| WindowItem {
            branch: window.branch.clone(),
            live: live.contains(&window.branch.as_str()),
            from: Instant(window.from_us),
            to: Instant(window.to_us),
            ends_at: match &window.ends {
                WindowEnd::Gap(id) => Some(id.clone()),
                WindowEnd::LastArchived | WindowEnd::TimesStepBack => None,
            },
            ends: match &window.ends {
                WindowEnd::Gap(_) => "gap",
                WindowEnd::LastArchived => "lastArchived",
                WindowEnd::TimesStepBack => "timesStepBack",
            }
            .to_owned(),
            transactions: window.transactions,
            bytes: window.bytes,
            backups: window.backups.clone(),
            to_gtid_set: window.to_set.to_string(),
        });
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "WindowList".to_owned(),
            schema_version: SCHEMA_VERSION,
            items: items.collect(),
            gaps: timeline.gaps().iter().map(GapItem::from).collect(),
        }
    }
}

impl WindowsDocument {
    /// Those of the branches whose id begins so.
    #[must_use]
    pub fn of_branch(mut self, branch: &str) -> Self {
        self.items.retain(|window| window.branch.starts_with(branch));
        self.gaps.retain(|gap| gap.branch.starts_with(branch));
        self
    }
}

impl From<&Gap> for GapItem {
    fn from(gap: &Gap) -> Self {
        Self {
            id: gap.id.clone(),
            branch: gap.branch.clone(),
            state: if gap.is_open() { "open" } else { "closed" }.to_owned(),
            from: gap.reachable_to_us.or(gap.after_us).map(Instant),
            to: gap.reachable_from_us.map(Instant),
            transactions: gap.transactions,
            reason: reason(&gap.cause).to_owned(),
            text: gap.cause.to_string(),
            closed_by: gap.closed_by.clone(),
        }
    }
}

/// The cause as one word.
fn reason(cause: &GapCause) -> &'static str {
    match cause {
        GapCause::MissingBinlogs { .. } => "purged-before-archive",
        GapCause::MissingRange { .. } => "range-missing",
        GapCause::Damaged { .. } => "damaged",
        GapCause::Lost { .. } => "lost-in-archive",
        GapCause::Incident { .. } => "incident",
        GapCause::WithoutGtids { .. } => "without-gtids",
        GapCause::NeverArchived { .. } => "never-archived",
        GapCause::NeverLogged { .. } => "never-logged",
        GapCause::BetweenServers { .. } => "between-servers",
    }
}
