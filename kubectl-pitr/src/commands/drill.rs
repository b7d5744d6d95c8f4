//! `drill`: a restore to scratch by a Job beside the workload, now or by a schedule. What it proved stays in the archive.

use anyhow::Result;
use pitr_recovery::code;
use serde_json::json;

use super::facts::{self, JobFacts};
use super::scheduling::{self, Schedule};
use super::upkeep;
use super::watch::{Telling, told};
use crate::args::{DrillArgs, DryRun, OutputFormat};
use crate::cluster::{DryMode, JobEnd, Watching, Workload, WorkloadName, require};
use crate::failure::Failure;
use crate::objects::{DRILL_COMPONENT, DrillJob, Scratch, drill_job, job_name, overridden, sizing};
use crate::render::drill_verdict;
use crate::session::Session;
use crate::target;

pub async fn run(session: &Session, args: &DrillArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    let Some(name) = &args.workload else {
        return Err(Failure::new(code::WORKLOAD_MISSING, "name the workload")
            .hint("commands that write never guess")
            .fix("kubectl pitr drill WORKLOAD")
            .into());
    };
    let name: WorkloadName = name.parse()?;
    if let Some(time) = &args.to {
        target::instant("--to", time, &session.reader())?;
    }
    let cluster = session.cluster().await?;
    // Nothing is made by a dry run, so no right to make it is needed.
    if args.job.dry_run != DryRun::Client {
        let needs = if args.schedule.is_some() { &scheduling::NEEDS } else { &upkeep::NEEDS };
        require(&cluster, needs, "backup").await?;
    }
    let workload = cluster.workload(&name).await?;
    let facts = facts::gather(&cluster, &workload, &args.job, None).await?;
    facts.refuse_unknown_server()?;
    upkeep::refuse_directory(&facts.store.url, "pitr-sidecar drill --scratch DIR")?;
    let job = job(session, args, &workload, facts)?;
    let object = overridden(drill_job(&job), args.job.overrides.as_ref())?;
    if let Some(cron) = &args.schedule {
        let schedule = Schedule {
            cron,
            component: DRILL_COMPONENT,
            workload: &workload.name,
            dry_run: args.job.dry_run,
            format,
            what: format!("to the end of what is archived each time; scratch {}", job.scratch),
        };
        return scheduling::apply(session, &cluster, object, &schedule).await;
    }
    if let Some(code) = upkeep::dry_run(session, &cluster, (&object, args.job.dry_run, format)).await? {
        return Ok(code);
    }
    session.tell(&format!("Scratch  {}", job.scratch));
    cluster.create_job(&object, DryMode::Real).await?;
    let attach = format!("kubectl pitr logs -n {} -f --job {}", job.namespace, job.name);
    let watching = Watching { job: &job.name, container: DRILL_COMPONENT, limit: args.job.timeout };
    let telling = Telling { wait: args.job.wait, attach: &attach, format, document };
    told(session, &cluster, &watching, &telling, conclude).await
}

/// The Job's facts, all of them known before it is made.
fn job(session: &Session, args: &DrillArgs, workload: &Workload, facts: JobFacts) -> Result<DrillJob, Failure> {
    if facts.store.age_recipients.is_some() && args.identity_secret.is_none() {
        let message = format!("{} is encrypted, and no identity was given", facts.store.url);
        return Err(Failure::new(code::IDENTITY_MISSING, message)
            .hint("the sidecar holds public keys only; nothing was created")
            .fix("kubectl create secret generic NAME --from-file=identity=FILE, then --identity-secret NAME"));
    }
    let scratch = if args.scratch_class.as_deref() == Some("emptydir") {
        Scratch::Node
    } else {
        Scratch::Volume {
            size: sizing::drill_size(args.scratch_size.as_deref(), facts.volume_bytes)?,
            storage_class: args.scratch_class.clone().or(facts.storage_class),
        }
    };
    Ok(DrillJob {
        name: job_name(DRILL_COMPONENT, &workload.name, session.now()),
        namespace: workload.namespace.clone(),
        workload: workload.name.clone(),
        options: args.options(),
        scratch,
        image: facts.image,
        server: facts.server,
        store: facts.store,
        identity_secret: args.identity_secret.clone(),
    })
}

fn document(end: &JobEnd) -> serde_json::Value {
    let verdict = end.verdict.as_ref();
    json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "Drill",
        "result": verdict.map(|v| v.result.clone()),
        "gtidSet": verdict.and_then(|v| v.gtid_set.clone()),
        "transactions": verdict.and_then(|v| v.transactions),
        "durationSeconds": verdict.and_then(|v| v.duration_seconds),
        "replaySeconds": verdict.and_then(|v| v.replay_seconds),
    })
}

/// The verdict in words. The Job's own state goes before what its log says.
fn conclude(end: &JobEnd) -> Result<String, Failure> {
    if let Some(verdict) = &end.verdict
        && (end.succeeded || verdict.result != "verified")
    {
        return drill_verdict(verdict);
    }
    let reason = end.reason.clone().unwrap_or_else(|| "its Job ended without a verdict".to_owned());
    Err(Failure::new(code::RESTORE_FAILED, format!("the drill failed: {reason}"))
        .hint("it left nothing in the archive"))
}
