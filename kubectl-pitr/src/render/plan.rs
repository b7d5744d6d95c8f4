//! A plan as text: the stop, the base, the replay, what success will mean.

use jiff::Timestamp;
use pitr_archive::{Estimate, PlanKeys};
use pitr_binlog::{Gtid, GtidSet, TransactionFlags};
use pitr_recovery::{BoundaryTransaction, Clock, PlanParts, PlanWarning, RecoveryTarget, RestorePlan, Rfc3339};

use super::keys::{instead, sealed_parts};
use super::{Zone, binary_size, count_of, duration};
use crate::state::micros;
use crate::target::from_now;

/// Sets longer than this are cut: the whole of it is in the plan document.
const SET_CHARACTERS_MAX: usize = 240;

/// What the plan itself does not say: the transactions next to the stop in words, how long it may take, and what must be opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    pub last: Option<String>,
    pub first: Option<String>,
    /// How long the restore may take.
    pub estimate: Option<String>,
    /// What the restore must be able to open, besides its base.
    pub keys: PlanKeys,
}

/// What is shown beside the plan itself.
#[derive(Debug, Clone)]
pub struct PlanFacts {
    pub hash: String,
    pub now: Timestamp,
    pub zone: Zone,
    pub named: Named,
    /// `persistentvolumeclaim, job, configmap NAME (80Gi, gp3)`.
    pub creates: Option<String>,
    /// Only a plan was asked for.
    pub plan_only: bool,
}

/// All lines of a plan.
pub fn plan_text(plan: &RestorePlan, facts: &PlanFacts) -> String {
    let parts = plan.parts();
    let mut lines = vec![("Target", target(parts, facts))];
    lines.extend(boundaries(parts, &facts.named));
    lines.push(("Later", later(parts)));
    let base = &parts.base;
    lines.push((
        "Base",
        format!(
            "{}, {}, {} ({} stored), GTID set {}",
            base.id,
            base.method,
            binary_size(base.raw_bytes),
            binary_size(base.stored_bytes),
            short_set(&base.executed)
        ),
    ));
    lines.push(("Replay", replay(parts)));
    lines.extend(encrypted(plan, &facts.named.keys));
    if let Some(creates) = &facts.creates {
        lines.push(("Creates", format!("{creates}; touches nothing that exists")));
    }
    let skipped = if parts.skip.is_empty() {
        "nothing known; what bypassed the log (sql_log_bin=0, filters) is in no archive".to_owned()
    } else {
        format!("{}, skipped as asked", parts.skip)
    };
    lines.push((
        "Proof",
        format!("success means: the GTID set is exactly {}; not restored: {skipped}", gtid_set(&parts.expected)),
    ));
    lines.extend(parts.warnings.iter().filter_map(warning).chain(at_target(parts)).map(|text| ("Warning", text)));
    // Whoever cannot ask for the pace of the last drill still knows how much there is to do.
    let estimate = || Estimate::of(parts, None).text(binary_size, duration);
    lines.push(("Estimate", facts.named.estimate.clone().unwrap_or_else(estimate)));
    let after = if facts.plan_only { "; nothing was created, run again without --plan" } else { "" };
    lines.push(("Plan", format!("{}{after}", facts.hash)));
    lines.iter().map(|(key, text)| format!("{key:<12}{text}\n")).collect()
}

/// Whose identity the restore takes, and which base backups take another one; nothing where all is in clear.
fn encrypted(plan: &RestorePlan, keys: &PlanKeys) -> Vec<(&'static str, String)> {
    let sealed = sealed_parts(plan, keys);
    if sealed.is_empty() {
        return Vec::new();
    }
    let line = format!("{}: the Secret of --identity-secret must hold an identity of each", sealed.join("; "));
    let others = keys.others.iter().map(|other| ("Instead", instead(other)));
    [("Encrypted", line)].into_iter().chain(others).collect()
}

fn target(parts: &PlanParts, facts: &PlanFacts) -> String {
    let place = match &parts.stream {
        Some(stream) => format!("branch {}, stream {stream}", parts.branch),
        None => format!("branch {}", parts.branch),
    };
    let at = match &parts.target {
        RecoveryTarget::Time(us) => Some(*us),
        _ => None,
    };
    let beside = at.map(|us| {
        let ago = from_now(micros(us), facts.now);
        facts.zone.beside(micros(us)).map_or_else(|| format!("   ({ago})"), |zone| format!("   ({zone}, {ago})"))
    });
    let clock = if parts.clock == Clock::Original { "" } else { " by the clock of the server that wrote the log" };
    format!("{}{clock}{}   {place}", parts.target, beside.unwrap_or_default())
}

/// The two transactions next to the stop, in columns.
fn boundaries(parts: &PlanParts, named: &Named) -> Vec<(&'static str, String)> {
    let cells = |boundary: &Option<BoundaryTransaction>, words: &Option<String>| {
        let boundary = boundary.as_ref()?;
        let name = match boundary.gtid() {
            Some(gtid) => gtid.to_string(),
            None => format!("{}:{}", boundary.name, boundary.at.start),
        };
        let what = words.clone().unwrap_or_else(|| kind(boundary.flags).to_owned());
        let time = Rfc3339(boundary.us(parts.clock));
        Some([name, time.to_string(), what])
    };
    let last = cells(&parts.last_applied, &named.last);
    let first = cells(&parts.first_excluded, &named.first);
    let width = |index: usize| {
        let of = |row: &Option<[String; 3]>| row.as_ref().map_or(0, |r| r[index].chars().count());
        of(&last).max(of(&first))
    };
    let widths = [width(0), width(1), width(2)];
    let row = |cells: &[String; 3], end: &str| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}   "));
        padded.collect::<String>() + end
    };
    let included = last.as_ref().map_or_else(|| "the base backup alone".to_owned(), |c| row(c, "last applied"));
    let excluded = first
        .as_ref()
        .map_or_else(|| "nothing: the archive holds no later transaction".to_owned(), |c| row(c, "first not applied"));
    vec![("Includes", included), ("Excludes", excluded)]
}

/// What a transaction is, where nobody could look into it.
fn kind(flags: TransactionFlags) -> &'static str {
    if flags.contains(TransactionFlags::DDL) {
        "a schema change"
    } else if flags
        .intersects(TransactionFlags::XA_PREPARE | TransactionFlags::XA_COMMIT | TransactionFlags::XA_ROLLBACK)
    {
        "part of an XA transaction"
    } else {
        "row changes"
    }
}

fn later(parts: &PlanParts) -> String {
    let share = format!("{} the stop's second", shares(parts.same_second));
    match &parts.target {
        RecoveryTarget::Time(_) => {
            let count = parts.later_before_target.count;
            let stand = if count == 1 { "stands" } else { "stand" };
            format!(
                "{} committed at or before the target {stand} after the stop in log order; {share}",
                count_of(count, "transaction")
            )
        }
        _ => share,
    }
}

fn shares(count: u64) -> String {
    if count == 1 { "1 shares".to_owned() } else { format!("{count} share") }
}

fn replay(parts: &PlanParts) -> String {
    let (Some(first), Some(stop)) = (parts.files.first(), &parts.stop) else {
        return "nothing: the base backup stands at the target".to_owned();
    };
    let segments: usize = parts.files.iter().map(|f| f.ranges.len()).sum();
    format!(
        "{}, {}, {} .. {} at position {} ({})",
        count_of(parts.transactions, "transaction"),
        binary_size(parts.bytes),
        first.name,
        stop.name,
        stop.offset,
        count_of(segments as u64, "segment")
    )
}

fn warning(warning: &PlanWarning) -> Option<String> {
    Some(match warning {
        PlanWarning::WholeSeconds => {
            "commit times are only known to the second: the target means that second".to_owned()
        }
        PlanWarning::TimesStepBack { by_us } => format!("commit times step back by {}ms at the stop", by_us / 1000),
        PlanWarning::XaTransactions => "XA transactions are replayed: some may stay prepared at the end".to_owned(),
        PlanWarning::Statements => {
            "statements are replayed as text: they may have another effect than they had".to_owned()
        }
        PlanWarning::NonTransactional => "tables of engines without rollback are written".to_owned(),
        PlanWarning::Skipped(set) => format!("{set} is left out: what depends on it may fail or differ"),
        PlanWarning::ProvenByServer { to_us } => {
            format!(
                "after the last applied transaction nothing was committed until {}, by the server's word",
                Rfc3339(*to_us)
            )
        }
        PlanWarning::Nearest { asked } => {
            format!("{asked} cannot be reached: this is the latest instant before it that can")
        }
        PlanWarning::AcrossGap { gap, missing } => format!(
            "{gap} is crossed: {} will be missing, and a row that does not fit stops the replay",
            gtid_set(missing)
        ),
        PlanWarning::OtherClock { clock, more, before } => other_clock(*clock, *more, *before),
        PlanWarning::BaseAlone => "no log continues the base backup: its own time is all there is".to_owned(),
    })
}

/// A time includes what was committed at it, and whoever looks for an accident often has its own time.
fn at_target(parts: &PlanParts) -> Option<String> {
    let RecoveryTarget::Time(us) = parts.target else { return None };
    let last = parts.last_applied.as_ref().filter(|last| last.us(parts.clock) == us)?;
    let gtid = last.gtid()?;
    Some(format!(
        "the last applied transaction was committed at the target itself: --before-gtid {gtid} stops before it"
    ))
}

/// Where the clock that did not decide would stop.
fn other_clock(clock: Clock, more: Option<i64>, before: Option<Gtid>) -> String {
    let Some(more) = more else {
        return format!("by --clock {clock} this time means another stop, or none");
    };
    let where_to = before.map_or("at the end of what is archived".to_owned(), |gtid| format!("before {gtid}"));
    let count = count_of(more.unsigned_abs(), "transaction");
    let than = if more < 0 { "earlier" } else { "later" };
    format!("by --clock {clock} this time means a stop {where_to}, {count} {than}")
}

/// A set in full, or its beginning and how many transactions it has.
pub fn gtid_set(set: &GtidSet) -> String {
    let text = set.to_string();
    if text.chars().count() <= SET_CHARACTERS_MAX {
        return if text.is_empty() { "empty".to_owned() } else { text };
    }
    let head: String = text.chars().take(SET_CHARACTERS_MAX - 40).collect();
    format!("{head}… ({} in all)", count_of(set.count(), "transaction"))
}

/// `…:1-83673813` where there is one source: it is named in the lines above.
fn short_set(set: &GtidSet) -> String {
    let text = gtid_set(set);
    match text.split_once(':') {
        Some((source, rest)) if source.len() == 36 && !text.contains(',') && !rest.contains(':') => format!("…:{rest}"),
        _ => text,
    }
}
