//! What `verify` and `prune` have in common: a Job of our image alone, followed to what it found out.

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use pitr_recovery::code;
use serde_json::Value;

use super::facts::{self, ArchiveFacts};
use super::restore::manifests;
use super::scheduling;
use super::watch::{Made, made};
use crate::args::{ArchiveArgs, DryRun, JobArgs, OutputFormat};
use crate::cluster::{Cluster, DryMode, JobEnd, Need, Watching, Workload, WorkloadName, require};
use crate::failure::Failure;
use crate::inject::sidecar::config_map_name;
use crate::objects::{Upkeep, UpkeepJob, job_name, overridden, upkeep_job};
use crate::render::job_failure;
use crate::session::Session;

/// What making and following such a Job takes.
pub(super) const NEEDS: [Need; 6] = [
    Need::of("get", "apps", "statefulsets"),
    Need::core("get", "configmaps"),
    Need::of("create", "batch", "jobs"),
    Need::of("get", "batch", "jobs"),
    Need::core("list", "pods"),
    Need::sub("get", "pods", "log"),
];

/// The workload that such a command is about, and the place that its Job works in.
pub(super) struct Place {
    pub(super) cluster: Cluster,
    pub(super) workload: Workload,
    facts: ArchiveFacts,
}

impl Place {
    pub(super) async fn find(
        session: &Session,
        upkeep: Upkeep,
        (name, job, scheduled): (Option<&str>, &JobArgs, bool),
    ) -> Result<Self> {
        let verb = upkeep.verb();
        let Some(name) = name else {
            return Err(Failure::new(code::WORKLOAD_MISSING, "name the workload")
                .hint("commands that write never guess")
                .fix(format!("kubectl pitr {verb} WORKLOAD, or --archive URL"))
                .into());
        };
        if job.server_image.is_some() {
            return Err(Failure::usage(format!("{verb} runs no server: --server-image does not go with it")).into());
        }
        let name: WorkloadName = name.parse()?;
        let cluster = session.cluster().await?;
        // Nothing is made by a dry run, so no right to make it is needed.
        if job.dry_run != DryRun::Client {
            require(&cluster, if scheduled { &scheduling::NEEDS } else { &NEEDS }, "backup").await?;
        }
        let workload = cluster.workload(&name).await?;
        let facts = facts::of_archive(&cluster, &workload, &job.pod).await?;
        refuse_directory(&facts.store.url, &format!("kubectl pitr {verb}"))?;
        Ok(Self { cluster, workload, facts })
    }

    /// `mysql -n shop`
    pub(super) fn words(&self) -> String {
        format!("{} -n {}", self.workload.name, self.workload.namespace)
    }

    /// The Job for one run now.
    pub(super) fn job(&self, session: &Session, upkeep: Upkeep, options: Vec<String>) -> UpkeepJob {
        let name = &self.workload.name;
        UpkeepJob {
            upkeep,
            name: job_name(upkeep.verb(), name, session.now()),
            namespace: self.workload.namespace.clone(),
            workload: name.clone(),
            options,
            policy: (upkeep == Upkeep::Prune).then(|| config_map_name(name)),
            identity_secret: None,
            image: self.facts.image.clone(),
            server: self.facts.server.clone(),
            store: self.facts.store.clone(),
        }
    }
}

/// Refuses an archive that no pod of ours could reach; `elsewhere` is what reads it where it is.
pub(super) fn refuse_directory(url: &str, elsewhere: &str) -> Result<(), Failure> {
    if !url.starts_with("file://") {
        return Ok(());
    }
    Err(Failure::new(code::NO_STORE_IDENTITY, format!("the Job cannot reach {url}"))
        .hint("a directory is not in the Job's pod; nothing was created")
        .fix(format!("{elsewhere} --archive {url}, where that directory is")))
}

/// With `--archive` the work is done here: what says how a Job is made does not go with it.
pub(super) fn refuse_job_flags(archive: &ArchiveArgs, job: &JobArgs, schedule: Option<&str>) -> Result<(), Failure> {
    if archive.archive.is_none() {
        return Ok(());
    }
    let given = [
        ("--image", job.pod.image.is_some()),
        ("--server-image", job.server_image.is_some()),
        ("--service-account", job.pod.service_account.is_some()),
        ("--secret", job.pod.secret.is_some()),
        ("--schedule", schedule.is_some()),
        ("--overrides", job.overrides.is_some()),
        ("--dry-run", job.dry_run != DryRun::None),
        ("--wait", !job.wait),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            Err(Failure::usage(format!("--archive works from here, without a Job: {flag} does not go with it")))
        }
        None => Ok(()),
    }
}

/// The Job as it is made.
pub(super) fn object(job: &UpkeepJob, args: &JobArgs) -> Result<Job> {
    overridden(upkeep_job(job), args.overrides.as_ref())
}

/// How far a command came.
pub(super) enum Carried {
    /// The exit code of a command that does not wait, or that was interrupted.
    Left(u8),
    Ended(Found),
}

/// What a Job left.
pub(super) struct Found {
    pub(super) document: Option<Value>,
    pub(super) failure: Option<Failure>,
}

/// With `--dry-run` the object is printed or checked, and the exit code is here.
pub(super) async fn dry_run(
    session: &Session,
    cluster: &Cluster,
    (job, dry_run, format): (&Job, DryRun, OutputFormat),
) -> Result<Option<u8>> {
    match dry_run {
        DryRun::None => Ok(None),
        DryRun::Client => {
            manifests(session, &[serde_json::to_value(job)?], format)?;
            Ok(Some(0))
        }
        DryRun::Server => {
            cluster.create_job(job, DryMode::Server).await?;
            session.tell("the API server would accept the Job; nothing was created");
            Ok(Some(0))
        }
    }
}

/// Makes the Job and follows it to its end.
pub(super) async fn carry_out(
    session: &Session,
    cluster: &Cluster,
    (job, args): (&UpkeepJob, &JobArgs),
) -> Result<Carried> {
    let (name, verb) = (&job.name, job.upkeep.verb());
    let attach = format!("kubectl pitr logs -n {} -f --job {name}", job.namespace);
    cluster.create_job(&object(job, args)?, DryMode::Real).await?;
    let watching = Watching { job: name, container: verb, limit: args.timeout };
    match made(session, cluster, &watching, (args.wait, &attach)).await? {
        Made::Left(code) => Ok(Carried::Left(code)),
        Made::Ended(end) => {
            let failure = failure(&end, (verb, &attach));
            let document = match end.document {
                Some(document) => Some(document),
                None => cluster.document_of(&watching).await,
            };
            if document.is_none() && failure.is_none() {
                session.tell(&format!("{verb} succeeded, but its report cannot be read: {attach}"));
            }
            Ok(Carried::Ended(Found { document, failure }))
        }
    }
}

/// Why the Job failed, in its own words if it left any.
fn failure(end: &JobEnd, (verb, attach): (&str, &str)) -> Option<Failure> {
    if end.succeeded {
        return None;
    }
    let told = end.verdict.as_deref().and_then(job_failure);
    Some(told.unwrap_or_else(|| {
        let reason = end.reason.clone().unwrap_or_else(|| "its Job ended without a verdict".to_owned());
        Failure::without_code(1, format!("{verb} failed: {reason}")).fix(attach)
    }))
}
