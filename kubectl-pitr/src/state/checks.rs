//! What `check` looks at: of the server, of the archive, of the cluster. Every finding of `status` is in it, and what is well besides.

use jiff::Timestamp;
use pitr_archive::document::{CycleDocument, StoreCheckDocument, StoreStep};
use pitr_recovery::code::{self, Code};

use super::{Finding, Heartbeat, Judged, Limits, WorkloadState};
use crate::render::{binary_size, count_of, duration, server_name, to_micros};

/// Base backups are expected to be younger than this.
const BASE_SECONDS_MAX: u64 = 26 * 3600;
/// Binlogs that are purged sooner leave little time to mend an archiver.
const EXPIRY_SECONDS_MIN: u64 = 86_400;

/// Retention refuses to work when the clocks differ by more.
const CLOCK_SECONDS_MAX: f64 = 60.0;

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    Server,
    Archive,
    Cluster,
}

impl Area {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Archive => "archive",
            Self::Cluster => "cluster",
        }
    }

    fn of(code: &Code) -> Self {
        match code.number {
            505..=510 | 518 => Self::Server,
            511 | 512 | 700..=799 => Self::Cluster,
            _ => Self::Archive,
        }
    }
}

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Good,
    Warning,
    Bad,
}

impl Mark {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub area: Area,
    pub mark: Mark,
    pub text: String,
    pub hint: Option<String>,
    pub code: Option<Code>,
}

/// Pods that a StatefulSet's update strategy holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBack {
    /// Those below this ordinal; 0 holds back none.
    pub partition: i32,
    /// An injection or restart of ours has not come to its end.
    pub rollout: bool,
}

/// What the objects in the cluster say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterFacts {
    pub plugin_version: String,
    /// Deleting the StatefulSet, or scaling it down, deletes volumes.
    pub volumes_go: bool,
    /// Pods that keep the template that they have.
    pub held_back: Option<HeldBack>,
    /// What the caller may do, and each right that is missing for the rest.
    pub rights: Vec<(String, Vec<String>)>,
    /// What a sidecar found when it tried the store; none when it was not to.
    pub store: Option<Result<StoreCheckDocument, String>>,
    /// What it archived when it was asked to do so at once; none when it was not to.
    pub cycle: Option<Result<CycleDocument, String>>,
}

/// All checks, by area.
pub fn checks(state: &WorkloadState, judged: &Judged, facts: &ClusterFacts, limits: Limits) -> Vec<Check> {
    let mut all: Vec<Check> = judged.findings.iter().map(of_finding).collect();
    let leading = state.leading().map(|(_, heartbeat)| heartbeat);
    all.extend(leading.into_iter().flat_map(server));
    all.extend(archive(state, judged, limits.now));
    all.extend(facts.store.iter().flat_map(store));
    all.extend(facts.cycle.iter().map(cycle));
    all.extend(cluster(state, facts));
    all.sort_by_key(|check| (check.area, std::cmp::Reverse(check.mark == Mark::Good)));
    all
}

fn of_finding(finding: &Finding) -> Check {
    Check {
        area: Area::of(&finding.code),
        mark: if finding.code.exit == 3 || finding.code.number / 100 == 6 { Mark::Bad } else { Mark::Warning },
        text: finding.text.clone(),
        hint: finding.fix.clone(),
        code: Some(finding.code),
    }
}

fn good(area: Area, text: String) -> Check {
    Check { area, mark: Mark::Good, text, hint: None, code: None }
}

fn warning(area: Area, text: String, hint: &str) -> Check {
    Check { area, mark: Mark::Warning, text, hint: Some(hint.to_owned()), code: None }
}

fn server(heartbeat: &Heartbeat) -> Vec<Check> {
    let mut checks = Vec::new();
    let server = &heartbeat.server;
    if let (Some(flavour), Some(version)) = (&server.flavour, &server.version) {
        let role = server.role.as_ref().map_or_else(String::new, |role| format!(", {role}"));
        checks.push(good(Area::Server, format!("{}{role}", server_name(flavour, version))));
    }
    checks.push(match server.gtid_mode.as_deref() {
        Some(mode) if mode.eq_ignore_ascii_case("on") => good(Area::Server, "GTIDs on".to_owned()),
        Some(mode) => warning(
            Area::Server,
            format!("gtid_mode is {mode}"),
            "enable GTIDs: without them no history survives a failover",
        ),
        None => warning(
            Area::Server,
            "the server is not asked: its settings and when it purges are not known".to_owned(),
            "source.mysql gives the sidecar an account (REPLICATION CLIENT)",
        ),
    });
    match server.binlog_expire_seconds {
        Some(0) => checks.push(good(Area::Server, "binlogs are not purged by age".to_owned())),
        Some(seconds) if seconds < EXPIRY_SECONDS_MIN => checks.push(warning(
            Area::Server,
            format!("binlogs are kept for {}", duration(seconds)),
            "SET PERSIST binlog_expire_logs_seconds=259200: time to mend an archiver that stands still",
        )),
        Some(seconds) => checks.push(good(Area::Server, format!("binlogs are kept for {}", duration(seconds)))),
        None => {}
    }
    checks
}

fn archive(state: &WorkloadState, judged: &Judged, now: Timestamp) -> Vec<Check> {
    let mut checks = Vec::new();
    let found =
        |numbers: std::ops::RangeInclusive<u16>| judged.findings.iter().any(|f| numbers.contains(&f.code.number));
    if state.fresh().next().is_some() && !found(600..=699) {
        let url = state.archive_url.as_deref().unwrap_or("the store");
        checks.push(good(Area::Archive, format!("{url} answers, no error of it is open")));
    }
    if let Some((from, to)) = state.windows.first().and_then(super::WindowRow::span) {
        checks.push(good(Area::Archive, format!("recoverable {} .. {}", to_micros(from), to_micros(to))));
    }
    if let Some((id, Some(at))) = state.newest_backup() {
        let age = u64::try_from(now.as_second() - at.as_second()).unwrap_or(0);
        let text = format!("newest base backup {id}, {} old", duration(age));
        let name = &state.name;
        checks.push(if age > BASE_SECONDS_MAX {
            let hint = format!("kubectl pitr backup {name} -n {} --schedule '0 2 * * *'", state.namespace);
            warning(Area::Archive, text, &hint)
        } else {
            good(Area::Archive, text)
        });
    }
    let closed = state.gaps.iter().filter(|gap| !gap.is_open()).count();
    if closed > 0 {
        let hint = format!("kubectl pitr status {} -n {} --show-gaps", state.name, state.namespace);
        checks.push(warning(
            Area::Archive,
            format!("{}: instants inside cannot be restored", count_of(closed as u64, "closed gap")),
            &hint,
        ));
    }
    checks
}

/// How the store took a small object, call by call.
fn store(tried: &Result<StoreCheckDocument, String>) -> Vec<Check> {
    let document = match tried {
        Ok(document) => document,
        Err(reason) => {
            let hint = "pods/portforward get,create lets the plugin ask; --read-only leaves it out";
            return vec![warning(Area::Archive, format!("the store was not tried: {reason}"), hint)];
        }
    };
    let mut checks: Vec<Check> = document.steps.iter().filter(|step| !step.ok).map(failed).collect();
    if checks.is_empty() {
        let took = document.steps.iter().map(|step| step.took_milliseconds).sum::<u64>();
        checks.push(good(Area::Archive, format!("a small object was written, read, listed and deleted in {took} ms")));
    }
    if let Some(ahead) = document.clock_ahead_seconds.filter(|ahead| ahead.abs() > CLOCK_SECONDS_MAX) {
        let side = if ahead > 0.0 { "ahead of" } else { "behind" };
        let text = format!("the store's clock is {:.0}s {side} the sidecar's", ahead.abs());
        checks.push(warning(Area::Archive, text, "set the clocks: retention does not delete while they differ"));
    }
    checks
}

/// What was archived for the asking.
fn cycle(tried: &Result<CycleDocument, String>) -> Check {
    let (document, hint) = match tried {
        Ok(document) => (document, "kubectl pitr status has the cause; kubectl pitr logs has more"),
        Err(reason) => {
            let text = format!("nothing was archived for this check: {reason}");
            return warning(Area::Archive, text, "--read-only leaves it out");
        }
    };
    if document.complete {
        let closed = document.closed.as_ref().map(|closed| format!("closed binlogs to {}", closed.binlog));
        let active = document.active.as_ref();
        let active = active.map(|active| format!("{} to position {}", active.binlog, active.shipped_bytes));
        let to: Vec<String> = closed.into_iter().chain(active).collect();
        let took = document.took_milliseconds;
        let what = if document.active.is_some() { "everything" } else { "all closed binlogs" };
        return good(Area::Archive, format!("a cycle archived {what} in {took} ms: {}", to.join(", ")));
    }
    let text = match (document.unarchived_binlogs, document.unarchived_bytes) {
        (Some(binlogs), Some(bytes)) if binlogs > 0 => {
            format!("a cycle left {} behind, {}", count_of(binlogs, "closed binlog"), binary_size(bytes))
        }
        _ => "a cycle did not archive everything".to_owned(),
    };
    warning(Area::Archive, text, hint)
}

fn failed(step: &StoreStep) -> Check {
    let reason = step.reason.clone().unwrap_or_else(|| format!("{} failed", step.action));
    // Without deletes nothing is lost: small objects stay.
    let mark = if step.operation == "delete" { Mark::Warning } else { Mark::Bad };
    let place = if step.operation == "delete" { "tail/ and catalog/ of the prefix" } else { "the prefix" };
    let hint = if step.denied {
        format!("grant {} on {place}", step.action)
    } else {
        "the sidecar's log has more: kubectl pitr logs".to_owned()
    };
    let code = if step.denied { code::STORE_DENIES } else { code::STORE_UNREACHABLE };
    Check { area: Area::Archive, mark, text: reason, hint: Some(hint), code: Some(code) }
}

fn cluster(state: &WorkloadState, facts: &ClusterFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    let archiving = state.archiving();
    if archiving == state.replicas && archiving > 0 {
        checks.push(good(Area::Cluster, format!("archiving {archiving}/{}", state.replicas)));
    }
    let mut others: Vec<&str> = state.fresh().filter_map(|(_, h)| h.version.as_deref()).collect();
    others.retain(|version| *version != facts.plugin_version);
    others.dedup();
    if !others.is_empty() {
        let text = format!("sidecar {}, plugin {}", others.join(", "), facts.plugin_version);
        checks.push(warning(Area::Cluster, text, "kubectl pitr inject again brings the sidecar of this version"));
    }
    if facts.volumes_go {
        checks.push(warning(
            Area::Cluster,
            "its volumes are deleted with it, or when it is scaled down".to_owned(),
            "persistentVolumeClaimRetentionPolicy: Retain",
        ));
    }
    match facts.held_back {
        None => {}
        // To lower it by hand would let every pod have what none has proven.
        Some(HeldBack { partition, rollout: true }) => {
            let held = if partition > 0 { format!(": the pods below ordinal {partition} wait") } else { String::new() };
            let text = format!("an injection or restart of ours has not come to its end{held}");
            checks.push(warning(Area::Cluster, text, "the same command again; or kubectl pitr uninject --live"));
        }
        Some(HeldBack { partition, rollout: false }) => {
            let text = format!("its update strategy holds back the pods below ordinal {partition}");
            checks.push(warning(Area::Cluster, text, "spec.updateStrategy.rollingUpdate.partition: 0"));
        }
    }
    for (what, missing) in &facts.rights {
        checks.push(if missing.is_empty() {
            good(Area::Cluster, format!("you may: {what}"))
        } else {
            warning(Area::Cluster, format!("you may not: {what}"), &format!("missing: {}", missing.join(", ")))
        });
    }
    checks
}
