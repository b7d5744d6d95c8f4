//! `check`: everything that archiving and restoring depend on, looked at once.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use k8s_openapi::api::apps::v1::StatefulSet;
use pitr_archive::document::{CycleDocument, StoreCheckDocument};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::asking::Asking;
use super::rollout::Rollout;
use super::{check_pre, source};
use crate::args::{CheckArgs, Threshold, Via};
use crate::cluster::{Cluster, Need, Workload, WorkloadName, missing};
use crate::inject::attach;
use crate::render::{check_document, check_text};
use crate::session::Session;
use crate::state::{Check, ClusterFacts, HeldBack, Limits, Mark, checks, judge};

/// Something is not well.
const EXIT_DEGRADED: u8 = 3;
/// Between two looks of --wait.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The sidecar gives its store, and a cycle, less.
const TRIAL_LIMIT: Duration = Duration::from_secs(25);
/// Older ends of the window are late, as for `status`.
const LAG_SECONDS_MAX: u64 = 300;

/// The shapes of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    Table,
    Short,
    Json,
    Yaml,
}

/// What people want to do, and what each needs.
const RIGHTS: [(&str, &[Need]); 5] = [
    ("windows, base backups, timeline, plans", &super::restore::FORWARDING),
    ("backup", &super::backup::NEEDS),
    ("restore", &super::restore::NEEDS),
    ("verify, prune", &super::upkeep::NEEDS),
    ("inject --live", &super::inject::LIVE_NEEDS),
];

pub async fn run(session: &Session, args: &CheckArgs) -> Result<u8> {
    let format = session.output(CheckFormat::Table)?;
    source::refuse_job(&args.state, "check")?;
    let cluster = session.cluster().await?;
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    let limit = match args.failure_threshold {
        Threshold::Warning => Mark::Warning,
        Threshold::Error => Mark::Bad,
    };
    if let (true, Some(name)) = (args.pre, &name) {
        let workload = cluster.workload(name).await?;
        let found =
            check_pre::checks(&cluster, &workload, (args.secret.as_deref(), args.mysql_secret.as_deref())).await?;
        return conclude(session, &workload, &found, (format, limit));
    }
    let workload = source::one_workload(&cluster, name.as_ref()).await?;
    let cluster = cluster.in_namespace(&workload.namespace);
    let mut facts = facts(&cluster, &workload).await;
    if !args.read_only && args.state.via != Via::Log {
        let store = asked::<StoreCheckDocument>(session, &cluster, &workload, ("/v1/check", args)).await;
        // Who cannot be asked the one cannot be asked the other.
        if store.is_ok() {
            facts.cycle = Some(asked::<CycleDocument>(session, &cluster, &workload, ("/v1/archive", args)).await);
        }
        facts.store = Some(store);
    }
    let deadline = Instant::now() + args.wait.unwrap_or_default();
    let found = loop {
        let found = look(session, &cluster, (&workload, &facts), args).await;
        if worst(&found) < limit || Instant::now() >= deadline {
            break found;
        }
        sleep(LOOK_EVERY).await;
    };
    conclude(session, &workload, &found, (format, limit))
}

/// Prints the report, and tells the exit code.
fn conclude(
    session: &Session,
    workload: &Workload,
    found: &[Check],
    (format, limit): (CheckFormat, Mark),
) -> Result<u8> {
    let document = || check_document(&workload.namespace, &workload.name, found);
    match format {
        CheckFormat::Table | CheckFormat::Short => {
            session.print(&check_text(found, format == CheckFormat::Short, session.terminal))?;
        }
        CheckFormat::Json => session.print_document(&document(), crate::args::OutputFormat::Json)?,
        CheckFormat::Yaml => session.print_document(&document(), crate::args::OutputFormat::Yaml)?,
    }
    Ok(if worst(found) >= limit { EXIT_DEGRADED } else { 0 })
}

fn worst(checks: &[Check]) -> Mark {
    checks.iter().map(|check| check.mark).max().unwrap_or(Mark::Good)
}

async fn look(
    session: &Session,
    cluster: &Cluster,
    (workload, facts): (&Workload, &ClusterFacts),
    args: &CheckArgs,
) -> Vec<Check> {
    let state = source::observe(session, cluster, workload, (&args.state, true)).await;
    let limits = Limits { now: session.now(), max_lag_seconds: LAG_SECONDS_MAX };
    checks(&state, &judge(&state, limits), facts, limits)
}

/// Lets the sidecar that leads do something and tell of it. `Err`: why it did not.
async fn asked<T: DeserializeOwned>(
    session: &Session,
    cluster: &Cluster,
    workload: &Workload,
    (path, args): (&str, &CheckArgs),
) -> Result<T, String> {
    let asking = Asking::of(session, cluster, workload, &args.state).await.without_offer().patient(TRIAL_LIMIT);
    let reply = asking.reply(path, Some("{}")).await.map_err(|e| e.to_string())?;
    match serde_json::from_slice::<T>(&reply.body) {
        Ok(document) if reply.ok => Ok(document),
        _ if serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok() => {
            Err(source::told(&reply, &workload.place()).to_string())
        }
        _ => Err("the sidecar is older than this plugin".to_owned()),
    }
}

async fn facts(cluster: &Cluster, workload: &Workload) -> ClusterFacts {
    let mut rights = Vec::new();
    for (what, needs) in RIGHTS {
        // Who cannot ask is not told.
        if let Ok(missing) = missing(cluster, needs).await {
            rights.push((what.to_owned(), missing));
        }
    }
    ClusterFacts {
        plugin_version: env!("CARGO_PKG_VERSION").to_owned(),
        // The spool of an archiver of ours is to go with it.
        volumes_go: volumes_go(&workload.object) && !attach::is_archiver(&workload.object),
        held_back: held_back(&workload.object),
        rights,
        store: None,
        cycle: None,
    }
}

fn volumes_go(object: &StatefulSet) -> bool {
    let policy = object.spec.as_ref().and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    policy.is_some_and(|p| [&p.when_deleted, &p.when_scaled].iter().any(|when| when.as_deref() == Some("Delete")))
}

/// Which pods keep the template that they have, and what that is for.
fn held_back(object: &StatefulSet) -> Option<HeldBack> {
    let strategy = object.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let partition = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0);
    let rollout = Rollout::of(object, false).is_unfinished();
    (partition > 0 || rollout).then_some(HeldBack { partition, rollout })
}
