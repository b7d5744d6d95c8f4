//! `restores abort` and `restores finish` of a restore in place.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use pitr_recovery::code;

use super::super::restores_state::jobs_of;
use super::super::watch::{DETACHED, Leaving, Watched, watch};
use super::drive::{Came, Run};
use super::gates::mounting;
use crate::cluster::{DryMode, JobEnd, Watching, finished, require};
use crate::failure::Failure;
use crate::job_line::Verdict;
use crate::objects::RESTORE_CONTAINER;
use crate::objects::in_place::{Ending, Step, ending_job, endings_of, steps_name};

const ONE_POD: &str = "ReadWriteOncePod";

impl Run<'_> {
    /// Puts the old data back and the workload to where it was.
    pub(in super::super) async fn abort(mut self, confirm: Option<&str>) -> Result<u8> {
        require(self.cluster, &super::NEEDS, "restorer-in-place").await?;
        let workload = self.steps.workload.clone();
        if self.steps.step == Step::Aborted {
            self.session.tell(&format!("the old data of {workload} is back already. {}", self.kept_words()));
            return Ok(0);
        }
        let what =
            format!("This stops statefulset/{workload} and gives it the data back that it had before the restore");
        self.session.confirm(&workload, confirm, &what)?;
        tokio::select! {
            came = self.turn_back() => self.left_or_done(&came?, Ending::Abort),
            _ = tokio::signal::ctrl_c() => self.left_or_done(&Came::Left, Ending::Abort),
        }
    }

    async fn turn_back(&mut self) -> Result<Came> {
        if self.steps.step == Step::ScalingDown {
            // No Job was made yet: its data is untouched.
            self.scale_up(self.steps.replicas).await?;
            self.forget().await?;
            return Ok(Came::Through);
        }
        self.set(Step::Aborting).await?;
        for job in jobs_of(self.cluster, &self.steps.restore).await? {
            if finished(&job).is_none() {
                let name = job.metadata.name.unwrap_or_default();
                self.cluster.delete_job(&name).await?;
                self.session.tell(&format!("job.batch/{name} deleted"));
            }
        }
        self.stand_still().await?;
        let Some(verdict) = self.end_by(Ending::Abort, None).await? else { return Ok(Came::Left) };
        self.session.tell(verdict.message.as_deref().unwrap_or("the old data is in its place again"));
        self.scale_up(self.steps.replicas).await?;
        if verdict.kept {
            self.set(Step::Aborted).await?;
            self.session.tell(&self.kept_words());
        } else {
            self.forget().await?;
        }
        Ok(Came::Through)
    }

    fn kept_words(&self) -> String {
        format!(
            "What was restored may have been written to, and is kept on {}. To delete it: {}",
            self.steps.claim,
            self.command("finish")
        )
    }

    /// Deletes what is kept on the volume, and everything that the restore left in the cluster.
    pub(in super::super) async fn finish(self, confirm: Option<&str>) -> Result<u8> {
        require(self.cluster, &super::NEEDS, "restorer-in-place").await?;
        let workload = self.steps.workload.clone();
        let what = match self.steps.step {
            Step::Done => format!("This deletes the data, and the binlogs, that {workload} had before the restore"),
            Step::Aborted => format!("This deletes what was restored to {workload} and may have been written to"),
            Step::ScalingDown | Step::Restoring | Step::ScalingUp | Step::Aborting => {
                let message = format!("restore \"{}\" in place has not ended", self.steps.restore);
                return Err(Failure::new(code::RESTORE_INCOMPLETE, message)
                    .hint("finish deletes the old data, which is still needed; nothing was deleted")
                    .fix(format!("{}, or abort", self.command("resume")))
                    .into());
            }
        };
        self.session.confirm(&workload, confirm, &what)?;
        tokio::select! {
            came = self.let_go() => self.left_or_done(&came?, Ending::Finish),
            _ = tokio::signal::ctrl_c() => self.left_or_done(&Came::Left, Ending::Finish),
        }
    }

    async fn let_go(&self) -> Result<Came> {
        let node = self.node().await?;
        let Some(verdict) = self.end_by(Ending::Finish, node.as_deref()).await? else { return Ok(Came::Left) };
        self.session.tell(verdict.message.as_deref().unwrap_or("what was kept is deleted"));
        self.forget().await?;
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
    async fn end_by(&self, ending: Ending, node: Option<&str>) -> Result<Option<Box<Verdict>>> {
        let (cluster, restore) = (self.cluster, self.steps.restore.as_str());
        let jobs = cluster.jobs(&endings_of(restore), false).await?;
        let stem = format!("{restore}-{}", ending.verb());
        let own: Vec<_> =
            jobs.iter().filter(|job| job.metadata.name.as_ref().is_some_and(|n| n.starts_with(&stem))).collect();
        let name = match own.iter().find(|job| finished(job).is_none()) {
            Some(job) => job.metadata.name.clone().unwrap_or_default(),
            None => {
                let job = ending_job(&self.job, (restore, own.len() + 1), ending, node)
                    .ok_or_else(|| Failure::without_code(1, "the restore's Job has a form that is not ours"))?;
                let made = cluster.create_job(&job, DryMode::Real).await?;
                made.metadata.name.unwrap_or_default()
            }
        };
        self.session.tell(&format!("job.batch/{name} created"));
        let watching = Watching { job: &name, container: RESTORE_CONTAINER, limit: self.limit };
        let again = self.command(ending.verb());
        match watch(self.session, cluster, &watching, Leaving { attach: &again }).await? {
            Watched::Detached => Ok(None),
            Watched::Ended(end) => self.judged(end, ending).map(Some),
        }
    }

    fn judged(&self, end: JobEnd, ending: Ending) -> Result<Box<Verdict>> {
        match end.verdict {
            Some(verdict) if end.succeeded => Ok(verdict),
            told => {
                let words = told.and_then(|verdict| verdict.message).or(end.reason);
                let words = words.unwrap_or_else(|| "its Job ended without a verdict".to_owned());
                let message = format!("{} failed: {words}", ending.verb());
                Err(Failure::new(code::RESTORE_FAILED, message)
                    .hint("old and restored data are both kept")
                    .fix(self.command(ending.verb()))
                    .into())
            }
        }
    }

    /// Everything that the restore made, the steps last: until then whoever comes next finds them.
    async fn forget(&self) -> Result<(), Failure> {
        let (cluster, restore) = (self.cluster, self.steps.restore.as_str());
        let mut jobs = jobs_of(cluster, restore).await?;
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
