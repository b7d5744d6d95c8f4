//! `restore`: a plan, its objects, and the Job followed to its verdict.

use std::time::Duration;

use anyhow::{Context, Result};
use pitr_archive::document::PlanDocument;
use pitr_archive::{ArchiveUrl, PlanKeys, S3Options};
use pitr_recovery::{PlanRequest, RecoveryTarget, code};

use super::asking::Asking;
use super::destination::{self, Destination};
use super::making::RestoreObjects;
use super::watch::{DETACHED, Leaving, Watched, watch};
use super::{facts, in_place, restores_state, source, standing};
use crate::archive_view::ArchiveView;
use crate::args::{DryRun, OutputFormat, RestoreArgs, Via};
use crate::cluster::{Cluster, JobEnd, Need, Notes, Watching, Workload, WorkloadName, require};
use crate::failure::{self, Failure};
use crate::inject::sidecar::LABEL_WORKLOAD;
use crate::inject::survey::parse_owner;
use crate::inject::tree;
use crate::objects::{RESTORE_CONTAINER, copied};
use crate::render::{Named, PlanFacts, asks_for_identity, instead, plan_text, restore_verdict, restores_document};
use crate::session::Session;
use crate::target;

/// What making and following a restore takes.
pub(super) const NEEDS: [Need; 7] = [
    Need::core("create", "persistentvolumeclaims"),
    Need::of("create", "batch", "jobs"),
    Need::of("get", "batch", "jobs"),
    Need::core("create", "configmaps"),
    Need::core("list", "pods"),
    Need::sub("get", "pods", "log"),
    Need::core("get", "persistentvolumeclaims"),
];
/// A plan reads indices from the store.
const PLAN_LIMIT: Duration = Duration::from_secs(60);
/// What finding the workload and asking its sidecar takes.
pub(super) const ASKING: [Need; 2] = [Need::of("get", "apps", "statefulsets"), Need::core("get", "configmaps")];
pub(super) const FORWARDING: [Need; 2] =
    [Need::sub("get", "pods", "portforward"), Need::sub("create", "pods", "portforward")];
const EXECUTING: [Need; 2] = [Need::sub("get", "pods", "exec"), Need::sub("create", "pods", "exec")];

/// The words of the command line, understood before anything is asked of anybody.
struct Wanted {
    format: OutputFormat,
    archive: Option<(ArchiveUrl, S3Options)>,
    workload: Option<WorkloadName>,
    /// None when the plan is made already.
    request: Option<PlanRequest>,
    file: Option<PlanDocument>,
}

/// A plan and where it came from.
pub(super) struct Planned {
    pub(super) document: PlanDocument,
    pub(super) named: Named,
    pub(super) workload: Option<(Cluster, Workload)>,
}

pub async fn run(session: &Session, args: &RestoreArgs) -> Result<u8> {
    let wanted = understand(session, args)?;
    let planned = plan(session, args, &wanted).await?;
    if args.in_place.in_place {
        return in_place::run(session, args, wanted.format, &planned).await;
    }
    if args.plan {
        let destination = destination(session, args, &planned).await.ok();
        let code = print_plan(session, wanted.format, &planned, destination.as_ref())?;
        if let (Some((cluster, _)), Some(destination)) = (&planned.workload, &destination) {
            warn_of_taken(session, cluster, destination).await;
        }
        return Ok(code);
    }
    if args.job.dry_run == DryRun::Client {
        // Nothing is made, so no right to make it is needed.
        let objects = destination(session, args, &planned).await?.objects(&planned.document)?;
        return manifests(session, &objects.manifests()?, wanted.format).map(|()| 0);
    }
    let cluster = match &planned.workload {
        Some((cluster, _)) => cluster.clone(),
        None => session.cluster().await?,
    };
    require(&cluster, &NEEDS, "restorer").await?;
    let destination = destination(session, args, &planned).await?;
    destination.refuse_without_identity(planned.document.plan(), &planned.named.keys)?;
    if let Some(name) = &args.statefulset {
        standing::refuse_taken(&cluster, name).await?;
    }
    let objects = destination.objects(&planned.document)?;
    if args.job.dry_run == DryRun::Server {
        objects.check(&cluster).await?;
    }
    if wanted.format.is_text() {
        session.print(&text(session, &planned, Some(&destination), false))?;
    }
    if args.job.dry_run == DryRun::Server {
        session.tell("the API server would accept all objects; nothing was created");
        return Ok(0);
    }
    create(session, args, &cluster, (&destination, &objects)).await?;
    if wanted.format == OutputFormat::Name {
        session.print(&format!("job.batch/{}\n", destination.name))?;
    }
    let code = match args.job.wait {
        true => follow(session, &cluster, (&destination.name, &destination.name), args.job.timeout)
            .await
            .map_err(|error| with_other_keys(error, &planned.named.keys))?,
        false => 0,
    };
    if code == 0 {
        print_row(session, &cluster, &destination.name, wanted.format).await?;
    }
    Ok(code)
}

/// A plan can be made whatever has its name; the restore itself could not.
async fn warn_of_taken(session: &Session, cluster: &Cluster, destination: &Destination) {
    if let Some(taken) = cluster.taken(&destination.name, destination.claim()).await {
        let way_on = taken.way_out().unwrap_or_default();
        session.tell(&format!("warning[PITR0401]: {taken}: this restore would be refused. {way_on}"));
    }
}

/// Where no identity opens what the Job reads: the base backups with which others do.
fn with_other_keys(error: anyhow::Error, keys: &PlanKeys) -> anyhow::Error {
    let failure = failure::of(&error);
    if !asks_for_identity(&failure) {
        return error;
    }
    let again = keys.others.iter().map(|other| format!("the same command with --new-name NAME {}", instead(other)));
    again.fold(failure, Failure::fix).into()
}

/// What is known of a restore, where a document is wanted.
pub(super) async fn print_row(session: &Session, cluster: &Cluster, name: &str, format: OutputFormat) -> Result<()> {
    if !matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        return Ok(());
    }
    let rows = restores_state::rows(cluster, false, session.now()).await?;
    let rows: Vec<_> = rows.into_iter().filter(|r| r.name == name).collect();
    session.print_document(&restores_document(&rows), format)
}

/// Objects that were not made: as they are applied, or in the form that is wanted.
pub(super) fn manifests(session: &Session, objects: &[serde_json::Value], format: OutputFormat) -> Result<()> {
    let text = |value: &serde_json::Value, field: &str| value[field].as_str().unwrap_or_default().to_lowercase();
    match format {
        OutputFormat::Json => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
            session.print_document(if let [one] = objects { one } else { &list }, format)
        }
        OutputFormat::Name => {
            let line = |object: &serde_json::Value| {
                format!("{}/{}\n", text(object, "kind"), text(&object["metadata"], "name"))
            };
            session.print(&objects.iter().map(line).collect::<String>())
        }
        OutputFormat::Yaml | OutputFormat::Table | OutputFormat::Wide => {
            let texts: Result<Vec<_>> = objects.iter().map(tree::emit).collect();
            session.print(&texts?.join("---\n"))
        }
    }
}

async fn create(
    session: &Session,
    args: &RestoreArgs,
    cluster: &Cluster,
    (destination, objects): (&Destination, &RestoreObjects),
) -> Result<()> {
    objects.check(cluster).await?;
    objects.make(session, cluster).await?;
    if args.job.wait {
        session.tell(&format!(
            "Ctrl-C is safe, the Job continues. Re-attach: {}",
            attach(&destination.name, &destination.namespace)
        ));
    }
    Ok(())
}

fn understand(session: &Session, args: &RestoreArgs) -> Result<Wanted, Failure> {
    let format = session.output(OutputFormat::Table)?;
    let archive = source::archive(&args.archive, &args.state)?;
    let workload = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    args.run_as_user.as_deref().map(parse_owner).transpose()?;
    for name in args.new_name.iter().chain(&args.statefulset) {
        destination::check_name(name)?;
    }
    if workload.is_none() && archive.is_none() {
        return Err(Failure::new(code::WORKLOAD_MISSING, "name the workload")
            .hint("commands that write never guess")
            .fix("kubectl pitr restore WORKLOAD …, or --archive URL"));
    }
    let file = args.plan_file.as_deref().map(read_plan).transpose()?;
    let request = match file {
        Some(_) => None,
        None => Some(target::request(&args.target, &session.reader())?),
    };
    Ok(Wanted { format, archive, workload, request, file })
}

fn read_plan(path: &std::path::Path) -> Result<PlanDocument, Failure> {
    let bad = |reason: String| Failure::usage(format!("\"{}\" is not a plan: {reason}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    PlanDocument::parse(&bytes).map_err(|e| bad(e.to_string()).fix("kubectl pitr restore … --plan -o json > plan.json"))
}

async fn plan(session: &Session, args: &RestoreArgs, wanted: &Wanted) -> Result<Planned> {
    if let (Some(location), Some(request)) = (&wanted.archive, &wanted.request) {
        let view = ArchiveView::open(location, session.clock()).await?;
        let (view, document) = view.plan(request, session.now()).await?;
        let stop = view.describe_stop(document.plan()).await;
        let estimate = Some(view.estimate(document.plan()).await);
        let keys = view.keys(request, document.plan()).await;
        let named = Named { last: stop.last_applied, first: stop.first_excluded, estimate, keys };
        return Ok(Planned { document, named, workload: None });
    }
    let workload = match (&wanted.archive, &wanted.workload) {
        (None, Some(name)) => {
            let cluster = session.cluster().await?;
            let workload = cluster.workload(name).await?;
            if !workload.is_archived() {
                return Err(source::not_injected(&workload).into());
            }
            Some((cluster, workload))
        }
        _ => None,
    };
    if let Some(document) = wanted.file.clone() {
        return Ok(Planned { document, named: Named::default(), workload });
    }
    let (Some((cluster, workload)), Some(request)) = (workload, &wanted.request) else {
        return Err(Failure::usage("name the workload, or give --archive URL").into());
    };
    let (document, notes) = ask_for_plan(session, args, (&cluster, &workload), request).await?;
    let Notes { last_applied: last, first_excluded: first, estimate, keys } = notes;
    let named = Named { last, first, estimate, keys };
    Ok(Planned { document, named, workload: Some((cluster, workload)) })
}

async fn ask_for_plan(
    session: &Session,
    args: &RestoreArgs,
    (cluster, workload): (&Cluster, &Workload),
    request: &PlanRequest,
) -> Result<(PlanDocument, Notes), Failure> {
    let body = target::body(request);
    let asking = Asking::of(session, cluster, workload, &args.state).await.with_pod(&args.job.pod).patient(PLAN_LIMIT);
    let reply = match asking.plan(&body).await {
        Ok(reply) => reply,
        // Nobody could be asked: if rights are missing, all of them are said at once.
        Err(failure) if failure.number() == Some(code::NOT_REACHABLE.number) && !asking.is_by_job() => {
            let way = if args.state.via == Via::Exec { EXECUTING } else { FORWARDING };
            let mut needs = [ASKING, way].concat();
            if !args.plan {
                needs.extend(NEEDS);
            }
            require(cluster, &needs, "restorer").await?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let document = PlanDocument::parse(&reply.body).map_err(|e| {
        Failure::new(code::SCHEMA_TOO_NEW, format!("the sidecar's plan is not understood: {e}"))
            .fix("upgrade the plugin")
    })?;
    Ok((document, reply.notes))
}

async fn destination(session: &Session, args: &RestoreArgs, planned: &Planned) -> Result<Destination> {
    let plan = planned.document.plan();
    let owner = args.run_as_user.as_deref().map(parse_owner).transpose()?;
    let destination = match &planned.workload {
        Some((cluster, workload)) => {
            let facts = facts::gather(cluster, workload, &args.job, owner).await?;
            destination::beside(args, workload, facts, plan)?
        }
        None => {
            // Planning alone needs no cluster, not even a kubeconfig.
            let namespace = match session.namespace_here() {
                Ok(namespace) => namespace,
                // In a pod the cluster's own files say it.
                Err(_) => session.cluster().await?.namespace().to_owned(),
            };
            destination::from_archive(args, &namespace, owner, plan)?
        }
    };
    copied::refuse_unfit_server(&destination.server.image, &plan.base().server_version)?;
    Ok(destination)
}

/// The plan in words.
pub(super) fn text(session: &Session, planned: &Planned, destination: Option<&Destination>, plan_only: bool) -> String {
    let facts = PlanFacts {
        hash: planned.document.hash(),
        now: session.now(),
        zone: session.zone.clone(),
        named: planned.named.clone(),
        creates: destination.map(Destination::creates),
        plan_only,
    };
    plan_text(planned.document.plan(), &facts)
}

/// Prints a plan, and nothing else is done.
pub(super) fn print_plan(
    session: &Session,
    format: OutputFormat,
    planned: &Planned,
    destination: Option<&Destination>,
) -> Result<u8> {
    match format {
        // The exact bytes: their hash is the plan's, and --plan-file takes them back.
        OutputFormat::Json if !session.has_template() => session.print_bytes(planned.document.bytes())?,
        OutputFormat::Json | OutputFormat::Yaml => {
            let value: serde_json::Value =
                serde_json::from_slice(planned.document.bytes()).context("read the plan document")?;
            session.print_document(&value, format)?;
        }
        OutputFormat::Name => session.print(&format!("{}\n", planned.document.hash()))?,
        OutputFormat::Table | OutputFormat::Wide => session.print(&text(session, planned, destination, true))?,
    }
    Ok(0)
}

pub(super) fn attach(name: &str, namespace: &str) -> String {
    format!("kubectl pitr restores attach {name} -n {namespace}")
}

/// Follows a restore's Job to its verdict: the exit code, or the error that the verdict is.
pub(super) async fn follow(
    session: &Session,
    cluster: &Cluster,
    (job, restore): (&str, &str),
    limit: Duration,
) -> Result<u8> {
    let again = attach(restore, cluster.namespace());
    let watching = Watching { job, container: RESTORE_CONTAINER, limit };
    match watch(session, cluster, &watching, Leaving { attach: &again }).await? {
        Watched::Detached => Ok(DETACHED),
        Watched::Ended(end) => {
            let made = cluster.job(job).await.ok().flatten();
            let volume = made.as_ref().and_then(restores_state::volume).unwrap_or_else(|| restore.to_owned());
            let labels = made.as_ref().and_then(|made| made.metadata.labels.as_ref());
            let workload = labels.and_then(|labels| labels.get(LABEL_WORKLOAD)).map_or("WORKLOAD", String::as_str);
            let text = conclude(&end, &volume, (restore, workload, cluster.namespace()))?;
            session.tell(&text);
            if let Some(next) = made.as_ref().and_then(|made| standing::next(made, (restore, cluster.namespace()))) {
                session.tell(&next);
            }
            Ok(0)
        }
    }
}

/// The verdict in words. The Job's own state goes before what its log says.
pub(super) fn conclude(
    end: &JobEnd,
    volume: &str,
    (restore, workload, namespace): (&str, &str, &str),
) -> Result<String, Failure> {
    if let Some(verdict) = &end.verdict
        && (end.succeeded || verdict.result != "verified")
    {
        return restore_verdict(verdict, volume, (restore, workload, namespace));
    }
    let reason = end.reason.clone().unwrap_or_else(|| "its Job ended without a verdict".to_owned());
    Err(Failure::new(code::RESTORE_FAILED, format!("restore failed: {reason}"))
        .fix(format!("kubectl pitr restores resume {restore} -n {namespace}")))
}

/// The instant that a restore's name is made from: the target's, else the last transaction's, else the base's.
pub(super) fn named_after(plan: &pitr_recovery::RestorePlan) -> i64 {
    let parts = plan.parts();
    match parts.target {
        RecoveryTarget::Time(us) => us,
        _ => parts.last_applied.as_ref().map_or(parts.base.snapshot_us, pitr_recovery::BoundaryTransaction::commit_us),
    }
}
