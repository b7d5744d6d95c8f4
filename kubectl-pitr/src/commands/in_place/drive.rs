//! The way there: scale to 0, Job, scale up. Each step is noted before the next begins, and looks at what is there before it acts.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use pitr_recovery::code;
use tokio::time::{Instant, sleep};

use super::super::making::take_back;
use super::super::restore::{conclude, print_row};
use super::super::restores_state::{jobs_of, volume};
use super::super::watch::{DETACHED, Leaving, Watched, watch};
use super::gates::mounting;
use crate::args::OutputFormat;
use crate::cluster::{Cluster, DryMode, JobEnd, Watching, finished, is_ready, require};
use crate::failure::Failure;
use crate::objects::in_place::{Step, Steps, steps_name, steps_patch};
use crate::objects::{ANNOTATION_IN_PLACE, ANNOTATION_PLAN_HASH, RESTORE_CONTAINER, resume as again};
use crate::render::duration;
use crate::session::Session;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the first pod has to become ready before it is told about.
const READY_LIMIT: Duration = Duration::from_secs(600);

/// One restore in place, at work.
pub(in super::super) struct Run<'a> {
    pub(super) session: &'a Session,
    pub(super) cluster: &'a Cluster,
    pub(super) steps: Steps,
    /// The version of the steps' ConfigMap that they were read at.
    pub(super) version: Option<String>,
    /// The restore's Job, as it was or will be made first.
    pub(super) job: Job,
    pub(super) limit: Duration,
}

/// How a step ended.
pub(super) enum Came {
    /// To its end.
    Through,
    /// Ctrl-C.
    Left,
}

impl Run<'_> {
    /// Goes on after an interruption. What would stop a workload that runs is asked for.
    pub(in super::super) async fn resume(
        mut self,
        confirm: Option<&str>,
        changed: &[String],
        format: OutputFormat,
    ) -> Result<u8> {
        require(self.cluster, &super::NEEDS, "restorer-in-place").await?;
        let workload = self.steps.workload.clone();
        let stops = matches!(self.steps.step, Step::ScalingDown | Step::Restoring);
        if stops && self.cluster.scale(&workload).await? != 0 {
            let what = format!("This stops statefulset/{workload} until its data is exchanged");
            self.session.confirm(&workload, confirm, &what).await?;
            self.read_again().await?;
        }
        self.forward(changed, format).await
    }

    /// Follows the Job to its end, and changes nothing.
    pub(in super::super) async fn follow(mut self, format: OutputFormat) -> Result<u8> {
        let (cluster, session) = (self.cluster, self.session);
        let restore = self.steps.restore.clone();
        let jobs = self.jobs().await?;
        if self.steps.step == Step::Restoring
            && let Some(name) = jobs.last().and_then(|job| job.metadata.name.as_deref())
        {
            let watching = Watching { job: name, container: RESTORE_CONTAINER, limit: self.limit };
            let attach = self.command("attach");
            match watch(session, cluster, &watching, Leaving { attach: &attach }).await? {
                Watched::Detached => return Ok(DETACHED),
                Watched::Ended(end) => self.tell_end(&end)?,
            }
            // Whoever drives it has gone on meanwhile, or nobody does.
            if let Some(found) = super::steps_of(cluster, &restore).await? {
                self.steps = found.steps;
            }
        }
        session.tell(&self.standing());
        print_row(session, cluster, &restore, format).await?;
        Ok(0)
    }

    /// Goes on to the end, or until Ctrl-C. `changed` are options for another attempt of a Job that failed.
    pub(super) async fn forward(mut self, changed: &[String], format: OutputFormat) -> Result<u8> {
        let session = self.session;
        let came = tokio::select! {
            came = self.all_steps(changed) => came?,
            () = session.interrupted() => Came::Left,
        };
        if matches!(came, Came::Left) {
            self.session.tell(&format!("left: {}", self.standing()));
            return Ok(DETACHED);
        }
        print_row(self.session, self.cluster, &self.steps.restore, format).await?;
        Ok(0)
    }

    async fn all_steps(&mut self, changed: &[String]) -> Result<Came> {
        loop {
            match self.steps.step {
                Step::ScalingDown => {
                    // Nothing is stopped for a Job that could not be made.
                    self.plan().await?;
                    self.stop().await?;
                    self.set(Step::Restoring).await?;
                }
                Step::Restoring => {
                    if let Came::Left = self.restore(changed).await? {
                        return Ok(Came::Left);
                    }
                    self.set(Step::ScalingUp).await?;
                }
                Step::ScalingUp => {
                    self.scale_up(self.steps.replicas_after).await?;
                    self.set(Step::Done).await?;
                }
                Step::Done => {
                    if self.cluster.scale(&self.steps.workload).await? != 0 {
                        self.wait_until_ready().await?;
                    }
                    self.session.tell(&self.after());
                    return Ok(Came::Through);
                }
                Step::Aborting | Step::ScalingBack | Step::Aborted => {
                    let restore = &self.steps.restore;
                    return Err(Failure::usage(format!("restore \"{restore}\" is being turned back, or was"))
                        .fix(self.command("abort"))
                        .into());
                }
                Step::Finishing => {
                    let restore = &self.steps.restore;
                    return Err(Failure::usage(format!("restore \"{restore}\" is being finished"))
                        .fix(self.command("finish"))
                        .into());
                }
            }
        }
    }

    pub(super) fn command(&self, verb: &str) -> String {
        format!("kubectl pitr restores {verb} {} -n {}", self.steps.restore, self.cluster.namespace())
    }

    /// Notes a step where whoever goes on finds it, unless somebody has noted another one: then this run stops.
    pub(super) async fn set(&mut self, step: Step) -> Result<()> {
        let steps = self.steps.at(step);
        let patch = steps_patch(&steps, self.version.as_deref())?;
        let patched = self.cluster.patch_config_map(&steps_name(&steps.restore), &patch, false).await;
        let patched = patched.map_err(|failure| match failure.number() {
            // Whoever has ended it has forgotten it.
            Some(number) if [code::APPLY_CONFLICT.number, code::NOT_REACHABLE.number].contains(&number) => {
                self.overtaken()
            }
            _ => failure,
        })?;
        self.version = patched.metadata.resource_version;
        self.steps = steps;
        Ok(())
    }

    /// Reads the steps once more after the user was asked: what was confirmed must still be what is done.
    pub(super) async fn read_again(&mut self) -> Result<(), Failure> {
        match super::steps_of(self.cluster, &self.steps.restore).await? {
            Some(found) if found.steps == self.steps => {
                self.version = found.version;
                Ok(())
            }
            _ => Err(self.overtaken()),
        }
    }

    /// Another terminal goes on with this restore, or somebody has changed its steps.
    fn overtaken(&self) -> Failure {
        let (restore, namespace) = (&self.steps.restore, self.cluster.namespace());
        let message = format!("restore \"{restore}\" was gone on with by somebody else meanwhile");
        Failure::new(code::APPLY_CONFLICT, message)
            .hint("this command has stopped where it was; what was begun stays")
            .fix(format!("kubectl pitr restores attach {restore} -n {namespace}, to see how it stands"))
    }

    /// The Jobs of this very restore, the newest last: not those of another one that had its name.
    pub(super) async fn jobs(&self) -> Result<Vec<Job>, Failure> {
        let hash = |job: &Job| job.metadata.annotations.as_ref()?.get(ANNOTATION_PLAN_HASH).cloned();
        let is_own = |job: &Job| {
            let in_place =
                job.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(ANNOTATION_IN_PLACE));
            in_place && hash(job) == hash(&self.job) && volume(job).as_ref() == Some(&self.steps.claim)
        };
        Ok(jobs_of(self.cluster, &self.steps.restore).await?.into_iter().filter(is_own).collect())
    }

    /// Takes a Job back that was made while somebody else turned to something else.
    async fn refuse_a_job_too_late(&self, job: &str) -> Result<(), Failure> {
        let found = super::steps_of(self.cluster, &self.steps.restore).await?;
        if found.is_some_and(|found| found.version == self.version) {
            return Ok(());
        }
        self.cluster.delete_job(job).await?;
        Err(self.overtaken())
    }

    /// Stops the workload, unless somebody has turned to something else since the steps were read.
    async fn stop(&mut self) -> Result<()> {
        if self.cluster.scale(&self.steps.workload).await? != 0 {
            self.set(self.steps.step).await?;
        }
        Ok(self.stand_still().await?)
    }

    /// Scales to 0, and waits until nobody has the volume.
    pub(super) async fn stand_still(&self) -> Result<(), Failure> {
        let (cluster, workload, claim) = (self.cluster, &self.steps.workload, &self.steps.claim);
        let had = cluster.scale(workload).await?;
        if had != 0 {
            cluster.set_scale(workload, 0).await?;
            self.session.tell(&format!("statefulset/{workload} scaled to 0 (it had {had})"));
        }
        let deadline = Instant::now() + self.limit;
        loop {
            let pods = cluster.pods(None).await?;
            let owned = pods.iter().filter(|pod| is_of(pod, workload)).filter_map(|pod| pod.metadata.name.as_deref());
            let Some(pod) = owned.chain(mounting(&pods, claim)).next() else { return Ok(()) };
            let now = cluster.scale(workload).await?;
            if now != 0 {
                let message = format!("refusing --in-place: somebody scaled statefulset/{workload} to {now} meanwhile");
                return Err(Failure::new(code::IN_PLACE_REFUSED, message)
                    .hint("its data was not touched since")
                    .fix(format!("stop what scales it, then: {}", self.command("resume")))
                    .fix(self.command("abort")));
            }
            if Instant::now() >= deadline {
                let message = format!("pod \"{pod}\" has not ended after {}", duration(self.limit.as_secs()));
                return Err(Failure::new(code::WAIT_TIMED_OUT, message)
                    .hint(format!("statefulset/{workload} stays scaled to 0"))
                    .fix(self.command("resume"))
                    .fix(self.command("abort")));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn restore(&mut self, changed: &[String]) -> Result<Came> {
        let cluster = self.cluster;
        let jobs = self.jobs().await?;
        let name = match jobs.last() {
            Some(job) if finished(job) == Some(true) => return Ok(Came::Through),
            Some(job) if finished(job).is_none() => job.metadata.name.clone().unwrap_or_default(),
            failed => {
                self.stop().await?;
                let made = match failed {
                    None => self.first_job().await?,
                    Some(old) => self.next_job(old, &jobs, changed).await?,
                };
                self.refuse_a_job_too_late(&made).await?;
                made
            }
        };
        let watching = Watching { job: &name, container: RESTORE_CONTAINER, limit: self.limit };
        let resume = self.command("resume");
        let end = match watch(self.session, cluster, &watching, Leaving { attach: &resume }).await? {
            Watched::Detached => return Ok(Came::Left),
            Watched::Ended(end) => end,
        };
        self.tell_end(&end)?;
        Ok(Came::Through)
    }

    async fn plan(&self) -> Result<ConfigMap, Failure> {
        let restore = self.steps.restore.as_str();
        self.cluster.config_map(restore).await?.ok_or_else(|| {
            Failure::new(code::NOT_REACHABLE, format!("the plan of restore \"{restore}\" is not there"))
                .hint(format!("it belongs in configmap/{restore}"))
                .fix(self.command("abort"))
        })
    }

    async fn first_job(&self) -> Result<String, Failure> {
        let made = self.cluster.create_job(&self.job, DryMode::Real).await?;
        let name = made.metadata.name.unwrap_or_default();
        self.session.tell(&format!("job.batch/{name} created"));
        Ok(name)
    }

    /// The same again on the same volume, which goes on where the last one ended.
    async fn next_job(&self, old: &Job, jobs: &[Job], changed: &[String]) -> Result<String> {
        let (cluster, restore) = (self.cluster, self.steps.restore.as_str());
        let plan = self.plan().await?;
        let names: Vec<String> = jobs.iter().filter_map(|job| job.metadata.name.clone()).collect();
        let next = again::next_name(restore, &names);
        let made = cluster.create_job(&again::job(old, &next, changed), DryMode::Real).await?;
        if let Err(failure) = cluster.create_config_map(&again::plan(&plan, &next), &made, DryMode::Real).await {
            return Err(take_back(cluster, failure, Some(&next), None).await.into());
        }
        self.session.tell(&format!("job.batch/{next}, configmap/{next} created"));
        Ok(next)
    }

    fn tell_end(&self, end: &JobEnd) -> Result<(), Failure> {
        let place = (self.steps.restore.as_str(), self.steps.workload.as_str(), self.cluster.namespace());
        let text = conclude(end, &self.steps.claim, place).map_err(|failure| {
            let workload = &self.steps.workload;
            failure
                .hint(format!("statefulset/{workload} stays scaled to 0; its old data is whole"))
                .fix(format!("turn back: {}", self.command("abort")))
        })?;
        // What follows a restore onto a new volume does not follow this one.
        self.session.tell(&text.lines().filter(|line| !line.starts_with("Next:")).collect::<Vec<_>>().join("\n"));
        Ok(())
    }

    /// Tells the workload how many pods to have, unless somebody did so already.
    pub(super) async fn scale_up(&self, replicas: i32) -> Result<(), Failure> {
        let workload = &self.steps.workload;
        match self.cluster.scale(workload).await? {
            0 if replicas == 0 => {}
            0 => {
                self.cluster.set_scale(workload, replicas).await?;
                self.session.tell(&format!("statefulset/{workload} scaled to {replicas}"));
            }
            now => self.session.tell(&format!("statefulset/{workload} has {now} replicas already: left as it is")),
        }
        Ok(())
    }

    /// Waits for the first pod. One that does not become ready changes nothing about what was done.
    pub(super) async fn wait_until_ready(&self) -> Result<(), Failure> {
        let (pod, limit) = (self.steps.pod.as_str(), READY_LIMIT.min(self.limit));
        let deadline = Instant::now() + limit;
        loop {
            let pods = self.cluster.pods(None).await?;
            let found = pods.iter().find(|found| found.metadata.name.as_deref() == Some(pod));
            if found.is_some_and(is_ready) {
                self.session.tell(&format!("pod/{pod} is ready"));
                return Ok(());
            }
            if Instant::now() >= deadline {
                let reason = match found {
                    Some(found) => self.cluster.hindrance(found).await,
                    None => None,
                };
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let message =
                    format!("pod \"{pod}\" is not ready {} after it was scaled up{reason}", duration(limit.as_secs()));
                return Err(Failure::new(code::WAIT_TIMED_OUT, message)
                    .hint("the data is exchanged; look at the pod before anything else")
                    .fix(format!("kubectl describe pod {pod} -n {}", self.cluster.namespace()))
                    .fix(format!("turn back: {}", self.command("abort"))));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// What is true now, and what the user has to do.
    fn after(&self) -> String {
        let Steps { workload, claim, .. } = &self.steps;
        let namespace = self.cluster.namespace();
        let mut lines = vec![
            format!("statefulset/{workload} runs on the restored data, as a new server with a history of its own."),
            format!(
                "Now:       kubectl pitr backup {workload} -n {namespace} (until then nothing after the restore is recoverable)"
            ),
        ];
        lines.extend(self.others(self.steps.replicas_after));
        lines.push(format!("Kept:      the old data, on {claim}. Turn back: {}", self.command("abort")));
        lines.push(format!("When done: {} (deletes the old data)", self.command("finish")));
        lines.join("\n")
    }

    /// What becomes of the other replicas where the workload has fewer than it had.
    pub(super) fn others(&self, has: i32) -> Option<String> {
        let Steps { workload, replicas, .. } = &self.steps;
        let namespace = self.cluster.namespace();
        let had = self.steps.found.unwrap_or(0).max(*replicas);
        (had > has).then(|| {
            format!(
                "Replicas:  it had {had} and has {has}. The volumes of the others may hold another history: delete their claims, \
                 then kubectl scale statefulset {workload} -n {namespace} --replicas={had}, and let them clone the first"
            )
        })
    }

    /// How it stands, and what goes on with it.
    fn standing(&self) -> String {
        let (resume, abort, finish) = (self.command("resume"), self.command("abort"), self.command("finish"));
        let next = match self.steps.step {
            Step::ScalingDown | Step::Restoring | Step::ScalingUp => format!("Go on: {resume}; turn back: {abort}"),
            Step::Done => format!("Turn back: {abort}; when done: {finish}"),
            Step::Aborting | Step::ScalingBack => format!("Go on: {abort}"),
            Step::Aborted | Step::Finishing => format!("Go on: {finish}"),
        };
        let state = match self.steps.step {
            Step::ScalingDown => "the workload is being scaled to 0, its data is untouched",
            Step::Restoring => "the workload stands still, its Job restores",
            Step::ScalingUp => "the data is exchanged, the workload is being scaled up",
            Step::Done => "the workload has the restored data",
            Step::Aborting => "the old data is being put back",
            Step::ScalingBack => "the old data is back, the workload is being scaled up",
            Step::Aborted => "the old data is back",
            Step::Finishing => "what is kept is being deleted",
        };
        format!("{state}. {next}")
    }
}

fn is_of(pod: &Pod, workload: &str) -> bool {
    pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "StatefulSet" && owner.name == workload)
}
