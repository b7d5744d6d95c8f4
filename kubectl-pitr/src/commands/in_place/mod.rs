//! `restore --in-place`: the workload stands still, its data is exchanged on its own volume, and it runs again. The steps are driven from
//! here and noted in a ConfigMap, so that `restores resume` goes on with them and `restores abort` turns them back, whoever calls it.

mod drive;
mod gates;
mod ground;
#[cfg(test)]
mod tests;
mod turning;

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use pitr_recovery::code;

use self::gates::{Confirmed, DataClaim, Ground};
use super::destination::{self, Destination};
use super::facts::{self, JobFacts};
use super::restore::{self, Planned};
use super::restores_state::{jobs_of, rows};
use crate::args::{DryRun, OutputFormat, ReplicasPlan, RestoreArgs, Safety};
use crate::cluster::{Cluster, DryMode, Need, Workload, require};
use crate::failure::Failure;
use crate::inject::survey::parse_owner;
use crate::objects::in_place::{Steps, read_steps, restore_of_steps, steps_map, steps_name, steps_of_workload};
use crate::objects::{LABEL_RESTORE, OwnVolume};
use crate::session::Session;

pub(super) use self::drive::Run;

const SCALE: (&str, &str) = ("apps", "statefulsets");
/// What each step of it takes, there and back.
pub(super) const NEEDS: [Need; 13] = [
    Need::sub_of("get", SCALE, "scale"),
    Need::sub_of("patch", SCALE, "scale"),
    Need::of("create", "batch", "jobs"),
    Need::of("get", "batch", "jobs"),
    Need::of("list", "batch", "jobs"),
    Need::of("delete", "batch", "jobs"),
    Need::core("create", "configmaps"),
    Need::core("list", "configmaps"),
    Need::core("patch", "configmaps"),
    Need::core("delete", "configmaps"),
    Need::core("list", "pods"),
    Need::sub("get", "pods", "log"),
    Need::core("get", "persistentvolumeclaims"),
];

/// Shows the gates, and goes through them if all are passed.
pub(super) async fn run(session: &Session, args: &RestoreArgs, format: OutputFormat, planned: &Planned) -> Result<u8> {
    refuse_unbuilt(args)?;
    let Some((cluster, workload)) = &planned.workload else {
        return Err(Failure::usage("--in-place exchanges the data of a workload: name it").into());
    };
    let owner = args.run_as_user.as_deref().map(parse_owner).transpose()?;
    let facts = facts::gather(cluster, workload, &args.job, owner).await?;
    let reading = ground::Reading {
        args,
        facts: &facts,
        plan: planned.document.plan(),
        confirmed: confirmed(session, args, workload),
        now: session.now(),
    };
    let ground = ground::read(cluster, workload, &reading).await?;
    let gates = gates::gates(&ground);
    let refusal = gates::refusal(&gates);
    if args.plan {
        restore::print_plan(session, format, planned, None)?;
        if format.is_text() {
            session.print(&(outline(&ground) + &gates::text(&gates)))?;
        }
        return refusal.map_or(Ok(0), |refusal| Err(refusal.into()));
    }
    let Some(claim) = &ground.claim else {
        return Err(refusal.unwrap_or_else(|| Failure::usage("the data is no volume claim")).into());
    };
    let made = Made::of(args, planned, (workload, facts), (claim, session.now()))?;
    if args.job.dry_run == DryRun::Client {
        return restore::manifests(session, &made.manifests()?, format).map(|()| 0);
    }
    require(cluster, &NEEDS, "restorer-in-place").await?;
    if format.is_text() {
        session.print(&(restore::text(session, planned, None, false) + &outline(&ground) + &gates::text(&gates)))?;
    }
    if let Some(refusal) = refusal {
        return Err(refusal.into());
    }
    refuse_unfinished(session, cluster, (&workload.name, &made.steps.restore)).await?;
    if args.job.dry_run == DryRun::Server {
        made.make(cluster, DryMode::Server).await?;
        session.tell("the API server would accept all objects; nothing was created or scaled");
        return Ok(0);
    }
    let what = format!("This stops statefulset/{0} until its data is exchanged", workload.name);
    session.confirm(&workload.name, args.in_place.confirm.as_deref(), &what).await?;
    refuse_another_scale(cluster, &made.steps).await?;
    let version = made.make(cluster, DryMode::Real).await?;
    if let Err(failure) = refuse_unfinished(session, cluster, (&workload.name, &made.steps.restore)).await {
        // Two were begun at once, and each sees the other's steps at the latest now.
        made.take_back(cluster).await?;
        return Err(failure.into());
    }
    let (restore, namespace) = (&made.steps.restore, cluster.namespace());
    session.tell(&format!(
        "configmap/{}, configmap/{restore} created. Ctrl-C is safe. Go on: kubectl pitr restores resume {restore} -n {namespace}; turn \
         back: kubectl pitr restores abort {restore} -n {namespace}",
        steps_name(restore)
    ));
    let run = Run { session, cluster, steps: made.steps, version, job: made.job, limit: args.job.timeout };
    run.forward(&[], format).await
}

/// What this version does not do is refused by its name.
fn refuse_unbuilt(args: &RestoreArgs) -> Result<(), Failure> {
    if args.in_place.safety == Safety::Snapshot {
        return Err(Failure::usage("--safety=snapshot is not built yet")
            .hint("the old data is kept by renaming it, which needs room for both on the volume")
            .fix("--safety=rename"));
    }
    if args.in_place.replicas_plan == Some(ReplicasPlan::Keep) {
        return Err(Failure::usage("--replicas-plan=keep is not built yet")
            .hint("the first replica is restored, and the others are made anew from it")
            .fix("--replicas-plan=reclone"));
    }
    if !args.job.wait {
        return Err(Failure::usage("--wait=false does not go with --in-place: its steps are driven from here")
            .hint("Ctrl-C is safe at any moment; \"restores resume\" goes on"));
    }
    Ok(())
}

fn confirmed(session: &Session, args: &RestoreArgs, workload: &Workload) -> Confirmed {
    let name = &workload.name;
    match &args.in_place.confirm {
        Some(given) if given == name => Confirmed::Given,
        Some(given) => Confirmed::No(format!("--confirm {given} does not name \"{name}\"")),
        None if args.plan || args.job.dry_run != DryRun::None || session.terminal.interactive => Confirmed::AskedLater,
        None => Confirmed::No(format!("--confirm {name} is required when stdin is not a terminal")),
    }
}

/// What will be done, in the lines of a plan.
fn outline(ground: &Ground) -> String {
    let (name, replicas) = (&ground.name, ground.object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
    let volume = ground.claim.as_ref().map_or("its volume", |claim| claim.name.as_str());
    format!(
        "{:<12}statefulset/{name} is scaled from {replicas} to 0, its data on {volume} exchanged for the restored, and it is scaled to {}\n\
         {:<12}the old data stays in place until the restored is verified, then aside on {volume} until \"restores finish\"\n",
        "In place",
        after(replicas),
        "Keeps"
    )
}

/// How many replicas it comes back with.
fn after(replicas: i32) -> i32 {
    replicas.min(1)
}

/// What the plan and the gates said of the replicas must still be so.
async fn refuse_another_scale(cluster: &Cluster, steps: &Steps) -> Result<(), Failure> {
    let (workload, had) = (&steps.workload, steps.replicas);
    let now = cluster.scale(workload).await?;
    if now == had {
        return Ok(());
    }
    let message = format!("refusing --in-place: somebody scaled statefulset/{workload} from {had} to {now} meanwhile");
    Err(Failure::new(code::IN_PLACE_REFUSED, message).hint("nothing was touched").fix("the same command again"))
}

/// One workload, one restore in place: until it is finished, its volume holds the old data. Its steps tell of it, and its Jobs should
/// the steps be lost. And one name, one restore: a Job of the name that was there before is not taken for this one's.
async fn refuse_unfinished(
    session: &Session,
    cluster: &Cluster,
    (workload, restore): (&str, &str),
) -> Result<(), Failure> {
    let namespace = cluster.namespace();
    if let Some(job) = jobs_of(cluster, restore).await?.pop() {
        let message = format!("job \"{}\" of a restore \"{restore}\" exists", job.metadata.name.unwrap_or_default());
        return Err(Failure::new(code::RESTORE_EXISTS, message).fix("--new-name NAME").fix(format!(
            "kubectl delete job -n {namespace} -l {LABEL_RESTORE}={restore}, when nothing of it is needed"
        )));
    }
    let maps = cluster.config_maps(&steps_of_workload(workload), false).await?;
    let rows = rows(cluster, false, session.now()).await?;
    let of_jobs = rows.iter().filter(|row| row.in_place && row.workload == workload).map(|row| row.name.as_str());
    let mut found = maps.iter().filter_map(restore_of_steps).chain(of_jobs);
    let Some(name) = found.find(|name| *name != restore) else { return Ok(()) };
    Err(Failure::new(code::RESTORE_EXISTS, format!("restore \"{name}\" of {workload} in place is not finished"))
        .hint("its volume holds the data from before it; nothing was touched")
        .fix(format!("kubectl pitr restores finish {name} -n {namespace}, or abort")))
}

/// The objects of a restore in place, in the order in which they are made: the Job comes when the workload stands still.
struct Made {
    steps: Steps,
    job: Job,
    plan: ConfigMap,
}

impl Made {
    fn of(
        args: &RestoreArgs,
        planned: &Planned,
        (workload, facts): (&Workload, JobFacts),
        (claim, now): (&DataClaim, Timestamp),
    ) -> Result<Self> {
        let destination: Destination = destination::beside(args, workload, facts, planned.document.plan())?;
        let id = format!("{}-{}", destination.name, now.as_microsecond());
        let destination = destination.in_place(&claim.name, own_volume(workload, &id));
        destination.refuse_without_identity(planned.document.plan(), &planned.named.keys)?;
        let replicas = workload.replicas();
        let counts = (replicas, after(replicas));
        let steps = Steps::begin((&destination.name, &id), &workload.name, counts, (&claim.name, &claim.pod));
        let objects = destination.objects(&planned.document)?;
        Ok(Self { steps, job: objects.job, plan: objects.plan })
    }

    fn manifests(&self) -> Result<[serde_json::Value; 3]> {
        let mut steps = serde_json::to_value(steps_map(&self.steps, &self.job)?)?;
        let mut plan = serde_json::to_value(&self.plan)?;
        let mut job = serde_json::to_value(&self.job)?;
        for (object, version, kind) in
            [(&mut steps, "v1", "ConfigMap"), (&mut plan, "v1", "ConfigMap"), (&mut job, "batch/v1", "Job")]
        {
            object["apiVersion"] = version.into();
            object["kind"] = kind.into();
        }
        Ok([steps, plan, job])
    }

    /// The steps first: whatever else is there, somebody finds what it is for. Gives the version of their ConfigMap.
    async fn make(&self, cluster: &Cluster, mode: DryMode) -> Result<Option<String>> {
        cluster.create_job(&self.job, DryMode::Server).await?;
        let steps = steps_map(&self.steps, &self.job)?;
        let made = cluster.create_own_config_map(&steps, mode).await?;
        if let Err(failure) = cluster.create_own_config_map(&self.plan, mode).await {
            if mode == DryMode::Real {
                cluster.delete_config_map(&steps_name(&self.steps.restore)).await?;
            }
            return Err(failure.into());
        }
        Ok(made.metadata.resource_version)
    }

    /// Before anything of the workload was touched.
    async fn take_back(&self, cluster: &Cluster) -> Result<(), Failure> {
        cluster.delete_config_map(&self.steps.restore).await?;
        cluster.delete_config_map(&steps_name(&self.steps.restore)).await
    }
}

/// The volume's files keep the group that the workload's pods give them.
fn own_volume(workload: &Workload, restore_id: &str) -> OwnVolume {
    let pod = workload.object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let security = pod.and_then(|pod| pod.security_context.clone()).unwrap_or_default();
    OwnVolume {
        fs_group: security.fs_group,
        fs_group_change_policy: security.fs_group_change_policy,
        restore_id: restore_id.to_owned(),
    }
}

/// The steps of a restore as they are in the cluster.
struct Found {
    steps: Steps,
    job: Job,
    /// The version of their ConfigMap.
    version: Option<String>,
}

async fn steps_of(cluster: &Cluster, restore: &str) -> Result<Option<Found>, Failure> {
    let Some(map) = cluster.config_map(&steps_name(restore)).await? else { return Ok(None) };
    let (steps, job) = read_steps(&map).ok_or_else(|| {
        Failure::new(code::SCHEMA_TOO_NEW, format!("the steps of restore \"{restore}\" are not understood"))
            .hint(format!("they are in configmap/{}", steps_name(restore)))
            .fix("upgrade the plugin")
    })?;
    Ok(Some(Found { steps, job, version: map.metadata.resource_version }))
}

/// A restore in place that was begun, by its name.
pub(super) async fn find<'a>(
    session: &'a Session,
    cluster: &'a Cluster,
    restore: &str,
    limit: Duration,
) -> Result<Option<Run<'a>>, Failure> {
    let found = steps_of(cluster, restore).await?;
    Ok(found.map(|Found { steps, job, version }| Run { session, cluster, steps, version, job, limit }))
}

/// What is done with a restore on a volume of its own, and not with one in place.
pub(super) fn refuse_verb(verb: &str, restore: &str, namespace: &str) -> Failure {
    Failure::usage(format!("restores {verb} is for restores on a volume of their own: \"{restore}\" is in place"))
        .hint("its data is the workload's, which serves it itself")
        .fix(format!("kubectl pitr restores finish {restore} -n {namespace}, or abort"))
}
