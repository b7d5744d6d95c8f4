//! What `check` looks at: of the server, of the archive, of the cluster. Every finding of `status` is in it, and what is well besides.

use jiff::Timestamp;
use pitr_recovery::code::Code;

use super::{Finding, Heartbeat, Judged, Limits, WorkloadState};
use crate::render::{count_of, duration, server_name, to_micros};

/// Base backups are expected to be younger than this.
const BASE_SECONDS_MAX: u64 = 26 * 3600;
/// Binlogs that are purged sooner leave little time to mend an archiver.
const EXPIRY_SECONDS_MIN: u64 = 86_400;

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
            505..=510 => Self::Server,
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

/// What the objects in the cluster say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterFacts {
    pub plugin_version: String,
    /// Deleting the StatefulSet, or scaling it down, deletes volumes.
    pub volumes_go: bool,
    /// Pods below this ordinal keep the template that they have.
    pub partition: i32,
    /// What the caller may do, and each right that is missing for the rest.
    pub rights: Vec<(String, Vec<String>)>,
}

/// All checks, by area.
pub fn checks(state: &WorkloadState, judged: &Judged, facts: &ClusterFacts, limits: Limits) -> Vec<Check> {
    let mut all: Vec<Check> = judged.findings.iter().map(of_finding).collect();
    let leading = state.leading().map(|(_, heartbeat)| heartbeat);
    all.extend(leading.into_iter().flat_map(server));
    all.extend(archive(state, judged, limits.now));
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
    if facts.partition > 0 {
        let text = format!("its update strategy holds back the pods below ordinal {}", facts.partition);
        checks.push(warning(Area::Cluster, text, "spec.updateStrategy.rollingUpdate.partition: 0"));
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
