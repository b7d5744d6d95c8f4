//! `backup`: a base backup now, by a Job beside the workload.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod as KubePod;
use pitr_recovery::code;

use super::facts::{self, JobFacts};
use super::scheduling::{self, Schedule};
use super::source;
use super::upkeep;
use super::watch::{Telling, told};
use crate::args::{BackupArgs, DryRun, OutputFormat};
use crate::cluster::{DryMode, JobEnd, Need, Watching, Workload, WorkloadName, is_ready, require};
use crate::failure::Failure;
use crate::objects::{BACKUP_CONTAINER, BackupJob, Scratch, backup_job, job_name, overridden, sizing};
use crate::render::backup_verdict;
use crate::session::Session;
use crate::state::WorkloadState;

const MYSQL_PORT: u16 = 3306;
pub(super) const NEEDS: [Need; 6] = [
    Need::of("get", "apps", "statefulsets"),
    Need::core("get", "configmaps"),
    Need::of("create", "batch", "jobs"),
    Need::of("get", "batch", "jobs"),
    Need::core("list", "pods"),
    Need::sub("get", "pods", "log"),
];

/// Where the copy is taken from, and why there.
struct Origin {
    host: String,
    port: u16,
    shown: String,
}

pub async fn run(session: &Session, args: &BackupArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    let name: WorkloadName = match &args.workload {
        Some(name) => name.parse()?,
        None => {
            return Err(Failure::new(code::WORKLOAD_MISSING, "name the workload")
                .hint("commands that write never guess")
                .fix("kubectl pitr backup WORKLOAD")
                .into());
        }
    };
    if let Some(size) = &args.scratch_size {
        sizing::scratch_size(Some(size), None, None)?;
    }
    source::refuse_job(&args.state, "backup")?;
    let cluster = session.cluster().await?;
    match args.schedule {
        // Nothing is made, so no right to make it is needed.
        _ if args.job.dry_run == DryRun::Client => {}
        Some(_) => require(&cluster, &scheduling::NEEDS, "backup").await?,
        None => require(&cluster, &NEEDS, "backup").await?,
    }
    let workload = cluster.workload(&name).await?;
    let facts = facts::gather(&cluster, &workload, &args.job, None).await?;
    facts.store.refuse_unseen_hash_key()?;
    let state = source::observe(session, &cluster, &workload, (&args.state, false)).await;
    facts.refuse_unknown_server()?;
    let origin = match (&args.from, &facts.address) {
        (None, Some((host, port))) => Origin { host: host.clone(), port: *port, shown: format!("{host}:{port}") },
        _ => origin(args, &workload, &state)?,
    };
    let job = job(session, args, (&workload, &state), (facts, &origin))?;
    let object = overridden(backup_job(&job), args.job.overrides.as_ref())?;
    if let Some(schedule) = &args.schedule {
        let schedule = Schedule {
            cron: schedule,
            component: "backup",
            workload: &workload.name,
            dry_run: args.job.dry_run,
            format,
            what: format!("method {}, always from {}", job.method, origin.shown),
        };
        return scheduling::apply(session, &cluster, object, &schedule).await;
    }
    if let Some(code) = upkeep::dry_run(session, &cluster, (&object, args.job.dry_run, format)).await? {
        return Ok(code);
    }
    session.tell(&format!("{:<9}{} from {}; scratch {}", "Method", job.method, origin.shown, job.scratch));
    cluster.create_job(&object, DryMode::Real).await?;
    let (name, namespace) = (&job.name, cluster.namespace());
    let attach = format!("kubectl pitr logs -n {namespace} -f --job {name}");
    let again = format!("kubectl pitr backup {} -n {namespace}", workload.name);
    let watching = Watching { job: name, container: BACKUP_CONTAINER, limit: args.job.timeout };
    let telling = Telling { wait: args.job.wait, attach: &attach, format, document };
    told(session, &cluster, &watching, &telling, |end| conclude(end, &again)).await
}

/// The Job's facts, all of them known before it is made.
fn job(
    session: &Session,
    args: &BackupArgs,
    (workload, state): (&Workload, &WorkloadState),
    (facts, origin): (JobFacts, &Origin),
) -> Result<BackupJob, Failure> {
    let Some(mysql_secret) = args.mysql_secret.clone().or(facts.mysql_secret) else {
        return Err(Failure::usage("no MySQL account for the backup is known")
            .hint("neither --mysql-secret here nor at inject; the Secret holds a client option file under \"my.cnf\"")
            .fix("--mysql-secret NAME"));
    };
    let free = state.leading().and_then(|(_, h)| h.volume_free_bytes);
    let scratch = if args.scratch_class.as_deref() == Some("emptydir") {
        Scratch::Node
    } else {
        Scratch::Volume {
            size: sizing::scratch_size(args.scratch_size.as_deref(), facts.volume_bytes, free)?,
            storage_class: args.scratch_class.clone().or(facts.storage_class),
        }
    };
    Ok(BackupJob {
        name: job_name(BACKUP_CONTAINER, &workload.name, session.now()),
        namespace: workload.namespace.clone(),
        workload: workload.name.clone(),
        archive_of: facts.archive_of,
        method: args.method.as_str().to_owned(),
        host: origin.host.clone(),
        port: args.mysql_port.unwrap_or(origin.port),
        mysql_secret,
        scratch,
        image: facts.image,
        server: facts.server,
        store: facts.store,
    })
}

/// `--from`, else a replica that keeps up, else the primary.
fn origin(args: &BackupArgs, workload: &Workload, state: &WorkloadState) -> Result<Origin, Failure> {
    if let Some(from) = &args.from {
        return Ok(match workload.pods.iter().find(|p| p.metadata.name.as_ref() == Some(from)) {
            Some(pod) => Origin { host: host(workload, pod)?, port: MYSQL_PORT, shown: from.clone() },
            // Not a pod of it: a Service, which resolves by its own name.
            None => Origin { host: from.clone(), port: MYSQL_PORT, shown: format!("service {from}") },
        });
    }
    let ready: Vec<&KubePod> = workload.pods.iter().filter(|p| is_ready(p)).collect();
    let name = |pod: &KubePod| pod.metadata.name.clone().unwrap_or_default();
    let role =
        |pod: &KubePod| state.fresh().find(|(p, _)| p.name == name(pod)).and_then(|(_, h)| h.server.role.clone());
    let replica = ready.iter().rev().find(|p| role(p).as_deref() == Some("replica"));
    let primary = ready.iter().find(|p| role(p).as_deref() == Some("primary"));
    let (pod, what) = match (replica, primary, ready.as_slice()) {
        (Some(pod), ..) => (*pod, " (replica)"),
        (None, Some(pod), _) => (*pod, " (primary: no replica keeps up)"),
        (None, None, [only]) => (*only, ""),
        // By convention the first is the primary, and the last is a replica.
        (None, None, [.., last]) => (*last, " (the last one; its role is not known: --from POD chooses)"),
        (None, None, []) => {
            return Err(Failure::new(code::NOT_REACHABLE, format!("no pod of statefulset/{} is ready", workload.name))
                .fix("--from POD|SERVICE"));
        }
    };
    Ok(Origin { host: host(workload, pod)?, port: MYSQL_PORT, shown: format!("{}{what}", name(pod)) })
}

/// The pod's stable name through the headless Service, else its address.
fn host(workload: &Workload, pod: &KubePod) -> Result<String, Failure> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let service = workload.object.spec.as_ref().and_then(|s| s.service_name.clone()).filter(|s| !s.is_empty());
    match (service, pod.status.as_ref().and_then(|s| s.pod_ip.clone())) {
        (Some(service), _) => Ok(format!("{name}.{service}.{}", workload.namespace)),
        (None, Some(address)) => Ok(address),
        (None, None) => Err(Failure::new(code::NOT_REACHABLE, format!("pod \"{name}\" has no address yet"))),
    }
}

fn document(end: &JobEnd) -> serde_json::Value {
    let verdict = end.verdict.as_ref();
    serde_json::json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "BackupList",
        "items": [{
            "id": verdict.and_then(|v| v.id.clone()),
            "method": verdict.and_then(|v| v.method.clone()),
            "gtidSet": verdict.and_then(|v| v.gtid_set.clone()),
            "consistentAt": verdict.and_then(|v| v.snapshot_at.clone()),
            "rawBytes": verdict.and_then(|v| v.raw_bytes),
            "storedBytes": verdict.and_then(|v| v.stored_bytes),
        }],
    })
}

/// The verdict in words. The Job's own state goes before what its log says.
fn conclude(end: &JobEnd, again: &str) -> Result<String, Failure> {
    if let Some(verdict) = &end.verdict
        && (end.succeeded || verdict.result != "stored")
    {
        return backup_verdict(verdict, again);
    }
    let reason = end.reason.clone().unwrap_or_else(|| "its Job ended without a verdict".to_owned());
    Err(Failure::new(code::BACKUP_FAILED, format!("backup failed: {reason}"))
        .hint("nothing partial is listed")
        .fix(again.to_owned()))
}
