//! What is wrong with a workload, each with its code.

use jiff::Timestamp;
use pitr_recovery::code::{self, Code};

use super::{Heartbeat, Pod, WorkloadState};
use crate::failure::parse_code;
use crate::render::{binary_size, count_of, duration, seconds_down, to_micros};

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Ok,
    Degraded,
    Never,
    Unknown,
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Degraded => "DEGRADED",
            Self::Never => "NEVER",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub code: Code,
    pub text: String,
    pub fix: Option<String>,
}

/// A workload's health and its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub health: Health,
    pub findings: Vec<Finding>,
    /// Age of the recoverable end.
    pub end_age_seconds: Option<u64>,
}

/// What is still well.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub now: Timestamp,
    pub max_lag_seconds: u64,
}

/// A purge within this time is near.
pub const PURGE_SECONDS: f64 = 6.0 * 3600.0;

/// Judges a workload.
pub fn judge(state: &WorkloadState, limits: Limits) -> Judged {
    let heard = !state.unread && (state.offline || state.fresh().next().is_some());
    let end_age_seconds = state.end().map(|end| u64::try_from(limits.now.as_second() - end.as_second()).unwrap_or(0));
    let mut findings = Vec::new();
    if heard {
        archive_findings(state, end_age_seconds, limits, &mut findings);
    }
    if state.offline {
        proof_findings(state, &mut findings);
    } else {
        pod_findings(state, &mut findings);
        findings.extend(split(state));
    }
    told_findings(state, &mut findings);
    let degraded = findings.iter().any(|f| f.code.exit != 0);
    let health = match () {
        () if !heard => Health::Unknown,
        () if state.windows.is_empty() && !is_undecided(state) => Health::Never,
        () if degraded => Health::Degraded,
        () => Health::Ok,
    };
    Judged { health, findings, end_age_seconds }
}

/// Whether a sidecar tells of several histories of which none is known to go on: then it claims no window, though there are some.
fn is_undecided(state: &WorkloadState) -> bool {
    let says_so = |told: &String| parse_code(told) == Some(code::SEVERAL_BRANCHES.number);
    state.fresh().any(|(_, heartbeat)| heartbeat.codes.iter().any(says_so))
}

fn archive_findings(state: &WorkloadState, end_age: Option<u64>, limits: Limits, findings: &mut Vec<Finding>) {
    let again = |verb: &str| Some(format!("kubectl pitr {verb} {} -n {}", state.name, state.namespace));
    if state.windows.is_empty() && is_undecided(state) {
        let text =
            "several branches, and none is known to be the one that goes on: a restore names its --branch".to_owned();
        findings.push(Finding { code: code::SEVERAL_BRANCHES, text, fix: again("timeline") });
        return;
    }
    if state.windows.is_empty() {
        let binlogs = state.archiving() > 0 || state.offline;
        let (code, text, fix) = if binlogs && state.usable_backups() == Some(0) {
            let text = "no base backup: binlogs alone restore nothing".to_owned();
            (code::BASE_BACKUP_MISSING, text, again("backup"))
        } else {
            (code::NEVER_ARCHIVED, "no binlog and no base backup reached the archive".to_owned(), None)
        };
        findings.push(Finding { code, text, fix });
        return;
    }
    if let Some(age) = end_age.filter(|age| *age > limits.max_lag_seconds) {
        let mut text = format!("the end is {} old (limit {})", duration(age), duration(limits.max_lag_seconds));
        if state.offline {
            text.push_str("; the archive alone does not tell a server that is idle from one that is not archived");
        }
        findings.push(Finding { code: code::END_TOO_OLD, text, fix: None });
    }
    for gap in state.gaps.iter().filter(|g| g.is_open()) {
        let after = gap.from.map_or_else(|| "its beginning".to_owned(), |t| to_micros(seconds_down(t)));
        let text = format!("nothing after {after} is reachable: {} is open", gap.id);
        findings.push(Finding { code: code::OPEN_GAP, text, fix: again("backup") });
    }
    if let Some((_, h)) = state.leading()
        && let Some(until) = h.seconds_until_purge.filter(|s| *s < PURGE_SECONDS)
        && h.unarchived_binlogs.unwrap_or(0) > 0
    {
        let text = format!(
            "{}, {} not archived; the oldest is purged in {}",
            count_of(h.unarchived_binlogs.unwrap_or(0), "binlog"),
            binary_size(h.unarchived_bytes.unwrap_or(0)),
            duration(until.max(0.0) as u64)
        );
        findings.push(Finding { code: code::PURGE_IS_NEAR, text, fix: None });
    }
}

fn pod_findings(state: &WorkloadState, findings: &mut Vec<Finding>) {
    for pod in &state.pods {
        let text = match &pod.beat {
            None if !pod.carries_sidecar => {
                format!("{}: no archiver, the pod is older than the injection", pod.name)
            }
            None => format!("{}: no answer. {}", pod.name, pod.silences.join("; ")),
            Some(beat) if !beat.is_fresh() => {
                let age = beat.age_seconds.map_or_else(|| "unknown".to_owned(), duration);
                format!("{}: silent, its last heartbeat is {age} old", pod.name)
            }
            Some(_) => continue,
        };
        let code = match &pod.beat {
            None if pod.carries_sidecar => code::SOURCE_SILENT,
            _ => code::NO_ARCHIVER,
        };
        findings.push(Finding { code, text, fix: None });
    }
    if state.pods.is_empty() && state.replicas > 0 {
        let text = "no pod of it is there".to_owned();
        findings.push(Finding { code: code::NO_ARCHIVER, text, fix: None });
    }
}

/// What verification and drills left in the archive; where there are sidecars, they tell it.
fn proof_findings(state: &WorkloadState, findings: &mut Vec<Finding>) {
    let place = match state.archive_flags.is_empty() {
        true => format!(" {} -n {}", state.name, state.namespace),
        false => state.archive_flags.clone(),
    };
    let again = |verb: &str| Some(format!("kubectl pitr {verb}{place}"));
    if let Some(objects) = state.verify.damaged_objects.filter(|objects| *objects > 0) {
        let text = format!("{} damaged or gone when it was last verified", count_of(objects, "object"));
        findings.push(Finding { code: code::CHECKSUM_MISMATCH, text, fix: again("verify") });
    }
    if state.verify.drill_failed_at.is_some() {
        let code = state.verify.drill_failed_code.as_deref().unwrap_or("no code");
        let text = format!("the last restore drill failed with {code}");
        findings.push(Finding { code: code::DRILL_FAILED, text, fix: None });
    }
}

/// What sidecars found themselves and is not said yet.
fn told_findings(state: &WorkloadState, findings: &mut Vec<Finding>) {
    for (pod, heartbeat) in state.fresh() {
        let store = heartbeat.store.last_error_code.iter();
        for told in heartbeat.codes.iter().chain(store) {
            let Some(code) = parse_code(told).and_then(code::find) else { continue };
            if findings.iter().any(|f| f.code.number == code.number) {
                continue;
            }
            // What only delays is not what the workload is: the archive's own state decides over that.
            let already = matches!(code.number, 501..=504) && state.windows.is_empty();
            // The lists are newer than a heartbeat of some seconds ago. Another history's windows and base backups are no comfort.
            let outdated = code.number == 504
                && state.backups.is_some()
                && state.usable_backups() > Some(0)
                && state.windows.iter().any(|window| window.live);
            if already || outdated {
                continue;
            }
            if code.number == 504 && !state.windows.is_empty() && !state.windows.iter().any(|window| window.live) {
                findings.push(without_base(state, &pod.name, *code));
                continue;
            }
            let mut text = format!("{}: {}", pod.name, code.when);
            if let Some(errors) = heartbeat.store.errors_1h.filter(|_| code.number / 100 == 6) {
                text.push_str(&format!(", {} within 1h", count_of(errors, "error")));
            }
            if let Some(retry) = heartbeat.store.retry_in_seconds.filter(|_| code.number / 100 == 6) {
                text.push_str(&format!(", next try in {}", duration(retry.max(0.0) as u64)));
            }
            findings.push(Finding { code: *code, text, fix: None });
        }
    }
}

/// The server goes on with a history that no base backup belongs to, as after a restore in place or a reset: the windows are those of
/// another one.
fn without_base(state: &WorkloadState, pod: &str, code: Code) -> Finding {
    let text = format!(
        "{pod}: its history is a new one (a restore in place, a reset) without a base backup: nothing of it is recoverable until there is one"
    );
    Finding { code, text, fix: Some(format!("kubectl pitr backup {} -n {}", state.name, state.namespace)) }
}

/// Two servers that both take writes, and neither has what the other one has.
fn split(state: &WorkloadState) -> Option<Finding> {
    let writers = state.fresh().filter(|(_, heartbeat)| heartbeat.server.role.as_deref() == Some("primary"));
    let on = |(pod, heartbeat): (&Pod, &Heartbeat)| Some((pod.name.clone(), heartbeat.archive.branch.clone()?));
    let writers: Vec<(String, String)> = writers.filter_map(on).collect();
    let (one, branch) = writers.first()?;
    let (other, elsewhere) = writers.iter().find(|(_, of)| of != branch)?;
    let text = format!("{one} writes on branch {branch}, {other} on {elsewhere}: only one of them can be gone on with");
    let fix = format!("kubectl pitr timeline {} -n {}", state.name, state.namespace);
    Some(Finding { code: code::SERVER_ON_ANOTHER_BRANCH, text, fix: Some(fix) })
}
