//! `restores abort` and `restores finish` of a restore in place.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use pitr_recovery::code;

use super::super::watch::{DETACHED, Leaving, Watched, watch};
use super::drive::{Came, Run};
use super::gates::mounting;
use crate::cluster::{DryMode, JobEnd, Watching, finished, require};
use crate::failure::Failure;
use crate::job_line::Verdict;
use crate::objects::RESTORE_CONTAINER;
use crate::objects::in_place::{Ending, Kept, Step, ending_job, endings_of, next_ending, steps_name};

/// Where a Job of ours cannot do it.
const BY_HAND: &str = "if it cannot run: docs/restore-runbook.md, \"Ending a restore in place by hand\"";
const ONE_POD: &str = "ReadWriteOncePod";
/// The result of an ending that found no restore in place.
const NOTHING: &str = "nothing";
/// The result of one that was refused before anything was changed.
const REFUSED: &str = "refused";

/// How the Job of an ending ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It did what it is for.
    Done(Box<Verdict>),
    /// The volume holds no restore in place: nothing was changed.
    Nothing(String),
    /// The volume holds another restore: nothing was changed.
    Another(String),
    /// The volume holds it at another point: nothing was changed.
    Elsewhere(String),
    /// Anything else, in words.
    Failed(String),
}

/// How an abort came along with the data.
enum PutBack {
    /// The old data is in its place.
    Whole {
        /// Something of the restored data is kept.
        kept: bool,
    },
    /// It is not there to be put back, in words.
    Missed(String),
    /// Ctrl-C.
    Left,
}

/// What a Job's end means. Only one that says that the old data is back lets the workload be scaled up.
pub(super) fn outcome(end: JobEnd) -> Outcome {
    let JobEnd { succeeded, verdict, reason, .. } = end;
    let unspoken = || reason.clone().unwrap_or_else(|| "its Job ended without a verdict".to_owned());
    let Some(verdict) = verdict else { return Outcome::Failed(unspoken()) };
    let words = verdict.message.clone().unwrap_or_else(unspoken);
    let is = |code: code::Code| verdict.code.as_deref() == Some(code.to_string().as_str());
    match (succeeded, verdict.result.as_str()) {
        (true, NOTHING) => Outcome::Nothing(words),
        (true, _) => Outcome::Done(verdict),
        (false, _) if is(code::NOT_THIS_RESTORE) => Outcome::Another(words),
        (false, REFUSED) if is(code::RESTORE_INCOMPLETE) => Outcome::Elsewhere(words),
        (false, _) => Outcome::Failed(words),
    }
}

impl Run<'_> {
    /// Puts the old data back and the workload to where it was.
    pub(in super::super) async fn abort(mut self, confirm: Option<&str>) -> Result<u8> {
        require(self.cluster, &super::NEEDS, "restorer-in-place").await?;
        let workload = self.steps.workload.clone();
        if self.steps.step == Step::Aborted {
            self.session.tell(&format!("the old data of {workload} is back already. {}", self.kept_words()));
            return Ok(0);
        }
        self.refuse_turning_a_finish_back()?;
        // What is left to do at this step stops nothing.
        if self.steps.step != Step::ScalingBack {
            let what =
                format!("This stops statefulset/{workload} and gives it the data back that it had before the restore");
            self.session.confirm(&workload, confirm, &what).await?;
            self.read_again().await?;
        }
        let session = self.session;
        tokio::select! {
            came = self.turn_back() => self.left_or_done(&came?, Ending::Abort),
            () = session.interrupted() => self.left_or_done(&Came::Left, Ending::Abort),
        }
    }

    fn refuse_turning_a_finish_back(&self) -> Result<(), Failure> {
        if self.steps.step != Step::Finishing {
            return Ok(());
        }
        let message = format!("restore \"{}\" is being finished: what was kept is being deleted", self.steps.restore);
        Err(Failure::new(code::RESTORE_INCOMPLETE, message)
            .hint("it cannot be turned back any more; nothing was changed")
            .fix(self.command("finish")))
    }

    async fn turn_back(&mut self) -> Result<Came> {
        if self.steps.step != Step::ScalingBack {
            if self.steps.step != Step::Aborting {
                self.steps.found = Some(self.cluster.scale(&self.steps.workload).await?);
            }
            // From here on nobody else goes on with it, nor makes a Job that stays.
            self.set(Step::Aborting).await?;
            match self.put_back().await? {
                PutBack::Whole { kept } => self.steps.keeps = kept,
                PutBack::Missed(why) => self.steps.miss(why),
                PutBack::Left => return Ok(Came::Left),
            }
            // Before the workload has pods again, which an abort that begins anew would stop.
            self.set(Step::ScalingBack).await?;
        }
        self.scale_up(self.steps.back()).await?;
        if let Some(words) = self.others(self.steps.back()) {
            self.session.tell(&words);
        }
        if self.steps.keeps {
            self.set(Step::Aborted).await?;
            self.session.tell(&self.kept_words());
            return Ok(Came::Through);
        }
        self.forget().await?;
        match &self.steps.missed {
            None => Ok(Came::Through),
            Some(why) => Err(self.changed_nothing(Ending::Abort, why).await?.into()),
        }
    }

    /// Until the old data is in its place, nobody having the volume meanwhile.
    async fn put_back(&self) -> Result<PutBack> {
        let jobs = self.jobs().await?;
        if self.steps.untouched && jobs.is_empty() {
            return Ok(PutBack::Whole { kept: false });
        }
        // Then the volume must say so.
        let exchanged = self.steps.was_exchanged() || jobs.iter().any(|job| finished(job) == Some(true));
        for job in jobs {
            if finished(&job).is_none() {
                let name = job.metadata.name.unwrap_or_default();
                self.cluster.delete_job(&name).await?;
                self.session.tell(&format!("job.batch/{name} deleted"));
            }
        }
        self.stand_still().await?;
        match self.end_by(Ending::Abort, None).await? {
            None => Ok(PutBack::Left),
            // No Job of it came so far as to note anything on the volume, or an abort has ended before that nobody saw the end of.
            Some(Outcome::Nothing(words)) if !exchanged => {
                self.session.tell(&words);
                Ok(PutBack::Whole { kept: false })
            }
            Some(Outcome::Nothing(words) | Outcome::Another(words)) => Ok(PutBack::Missed(words)),
            Some(Outcome::Done(verdict)) => {
                self.session.tell(verdict.message.as_deref().unwrap_or("the old data is in its place again"));
                Ok(PutBack::Whole { kept: verdict.kept })
            }
            Some(Outcome::Elsewhere(words) | Outcome::Failed(words)) => Err(self.failed(Ending::Abort, &words).into()),
        }
    }

    fn kept_words(&self) -> String {
        format!(
            "What was restored may have been written to, and is kept on {}. To delete it: {}",
            self.steps.claim,
            self.command("finish")
        )
    }

    /// Deletes what is kept on the volume, and everything that the restore left in the cluster.
    pub(in super::super) async fn finish(mut self, confirm: Option<&str>) -> Result<u8> {
        require(self.cluster, &super::NEEDS, "restorer-in-place").await?;
        let workload = self.steps.workload.clone();
        let Some(kept) = self.steps.at(Step::Finishing).finishes else {
            let message = format!("restore \"{}\" in place has not ended", self.steps.restore);
            return Err(Failure::new(code::RESTORE_INCOMPLETE, message)
                .hint("finish deletes the old data, which is still needed; nothing was deleted")
                .fix(format!("{}, or abort", self.command("resume")))
                .into());
        };
        let what = match kept {
            Kept::Old => format!("This deletes the data, and the binlogs, that {workload} had before the restore"),
            Kept::Restored => format!("This deletes what was restored to {workload} and may have been written to"),
        };
        let ending = Ending::Finish(kept);
        self.session.confirm(&workload, confirm, &what).await?;
        self.read_again().await?;
        let session = self.session;
        tokio::select! {
            came = self.let_go(ending) => self.left_or_done(&came?, ending),
            () = session.interrupted() => self.left_or_done(&Came::Left, ending),
        }
    }

    async fn let_go(&mut self, ending: Ending) -> Result<Came> {
        let node = self.node().await?;
        // Nothing turns it back from here on.
        self.set(Step::Finishing).await?;
        let Some(outcome) = self.end_by(ending, node.as_deref()).await? else { return Ok(Came::Left) };
        match outcome {
            Outcome::Done(verdict) => {
                self.session.tell(verdict.message.as_deref().unwrap_or("what was kept is deleted"));
                self.forget().await?;
            }
            Outcome::Nothing(words) => {
                self.session.tell(&words);
                self.forget().await?;
            }
            Outcome::Another(words) => {
                // What this restore left in the cluster is of no more use: its data is not there.
                self.forget().await?;
                return Err(self.changed_nothing(ending, &words).await?.into());
            }
            Outcome::Elsewhere(words) => {
                // So it can be turned back still.
                if let Some(step) = self.steps.before_finishing() {
                    self.set(step).await?;
                }
                return Err(self.failed(ending, &words).into());
            }
            Outcome::Failed(words) => return Err(self.failed(ending, &words).into()),
        }
        Ok(Came::Through)
    }

    /// The node where a server has the volume: only there another pod can mount it, if any can.
    async fn node(&self) -> Result<Option<String>, Failure> {
        let pods = self.cluster.pods(None).await?;
        let Some(name) = mounting(&pods, &self.steps.claim).first().map(|name| (*name).to_owned()) else {
            return Ok(None);
        };
        let claim = self.cluster.claim(&self.steps.claim).await?;
        let modes = claim.and_then(|claim| claim.spec?.access_modes).unwrap_or_default();
        if modes.iter().any(|mode| mode == ONE_POD) {
            let (workload, namespace) = (&self.steps.workload, self.cluster.namespace());
            return Err(Failure::usage(format!("{} is {ONE_POD}, and pod {name} has it", self.steps.claim))
                .hint("what is kept can be deleted while no other pod mounts the volume")
                .fix(format!(
                    "kubectl scale statefulset {workload} -n {namespace} --replicas=0, then again, then scale back"
                )));
        }
        let found = pods.iter().find(|pod: &&Pod| pod.metadata.name.as_deref() == Some(name.as_str()));
        Ok(found.and_then(|pod| pod.spec.as_ref()?.node_name.clone()))
    }

    /// Lets a Job end it on the volume, or follows one that does already. `None`: Ctrl-C.
    async fn end_by(&self, ending: Ending, node: Option<&str>) -> Result<Option<Outcome>> {
        let (cluster, restore) = (self.cluster, self.steps.restore.as_str());
        let jobs = cluster.jobs(&endings_of(restore), false).await?;
        let stem = format!("{restore}-{}", ending.verb());
        let own: Vec<_> =
            jobs.iter().filter(|job| job.metadata.name.as_ref().is_some_and(|n| n.starts_with(&stem))).collect();
        let name = match own.iter().find(|job| finished(job).is_none()) {
            Some(job) => {
                let name = job.metadata.name.clone().unwrap_or_default();
                self.session.tell(&format!("job.batch/{name} is at it already"));
                name
            }
            None => {
                let names: Vec<String> = own.iter().filter_map(|job| job.metadata.name.clone()).collect();
                let job = ending_job(&self.job, (restore, next_ending(&names, restore, ending)), ending, node)
                    .ok_or_else(|| Failure::without_code(1, "the restore's Job has a form that is not ours"))?;
                let name = cluster.create_job(&job, DryMode::Real).await?.metadata.name.unwrap_or_default();
                self.session.tell(&format!("job.batch/{name} created"));
                name
            }
        };
        let watching = Watching { job: &name, container: RESTORE_CONTAINER, limit: self.limit };
        let again = self.command(ending.verb());
        let watched = watch(self.session, cluster, &watching, Leaving { attach: &again }).await;
        match watched.map_err(|failure| failure.fix(BY_HAND))? {
            Watched::Detached => Ok(None),
            Watched::Ended(end) => Ok(Some(outcome(end))),
        }
    }

    /// There was nothing to end, or another restore: whatever data the workload has, it had before this command.
    async fn changed_nothing(&self, ending: Ending, why: &str) -> Result<Failure, Failure> {
        let (workload, replicas, namespace) = (&self.steps.workload, self.steps.replicas, self.cluster.namespace());
        let now = self.cluster.scale(workload).await?;
        Ok(Failure::new(code::NOT_THIS_RESTORE, format!("{} changed nothing: {why}", ending.verb()))
            .hint(format!("statefulset/{workload} has {now} replicas, as before this command; before the restore it had {replicas}"))
            .fix(format!("when its data is what you want: kubectl scale statefulset {workload} -n {namespace} --replicas=N"))
            .fix(format!("kubectl pitr restores -n {namespace}")))
    }

    fn failed(&self, ending: Ending, why: &str) -> Failure {
        Failure::new(code::RESTORE_FAILED, format!("{} failed: {why}", ending.verb()))
            .hint("old and restored data are both kept, as far as they were")
            .fix(self.command(ending.verb()))
    }

    /// Everything that the restore made, the steps last: until then whoever comes next finds them.
    async fn forget(&self) -> Result<(), Failure> {
        let (cluster, restore) = (self.cluster, self.steps.restore.as_str());
        let mut jobs = self.jobs().await?;
        jobs.extend(cluster.jobs(&endings_of(restore), false).await?);
        for job in jobs {
            let name = job.metadata.name.unwrap_or_default();
            cluster.delete_job(&name).await?;
            self.session.tell(&format!("job.batch/{name} deleted"));
        }
        cluster.delete_config_map(restore).await?;
        cluster.delete_config_map(&steps_name(restore)).await?;
        self.session.tell(&format!("configmap/{restore}, configmap/{} deleted", steps_name(restore)));
        Ok(())
    }

    fn left_or_done(&self, came: &Came, ending: Ending) -> Result<u8> {
        match came {
            Came::Through => Ok(0),
            Came::Left => {
                self.session.tell(&format!("left; what was begun goes on with: {}", self.command(ending.verb())));
                Ok(DETACHED)
            }
        }
    }
}
