//! Objects into the cluster: all checked by the API server before the first one is made, and taken back if one fails.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};

use crate::cluster::{Cluster, DryMode};
use crate::failure::Failure;
use crate::session::Session;

/// What a restore is made of, in the order in which it is made.
pub(super) struct RestoreObjects {
    pub(super) claim: PersistentVolumeClaim,
    pub(super) job: Job,
    pub(super) plan: ConfigMap,
}

impl RestoreObjects {
    fn names(&self) -> (&str, &str, &str) {
        (
            self.claim.metadata.name.as_deref().unwrap_or_default(),
            self.job.metadata.name.as_deref().unwrap_or_default(),
            self.plan.metadata.name.as_deref().unwrap_or_default(),
        )
    }

    /// All of them as manifests, in the order in which they are applied.
    pub(super) fn manifests(&self) -> anyhow::Result<[serde_json::Value; 3]> {
        let mut claim = serde_json::to_value(&self.claim)?;
        let mut job = serde_json::to_value(&self.job)?;
        let mut plan = serde_json::to_value(&self.plan)?;
        for (object, version, kind) in
            [(&mut claim, "v1", "PersistentVolumeClaim"), (&mut job, "batch/v1", "Job"), (&mut plan, "v1", "ConfigMap")]
        {
            object["apiVersion"] = version.into();
            object["kind"] = kind.into();
        }
        Ok([claim, job, plan])
    }

    /// Lets the API server check all of them: names, quotas, policies. Nothing is made.
    pub(super) async fn check(&self, cluster: &Cluster) -> Result<(), Failure> {
        cluster.create_claim(&self.claim, DryMode::Server).await?;
        let job = cluster.create_job(&self.job, DryMode::Server).await?;
        cluster.create_config_map(&self.plan, &job, DryMode::Server).await?;
        Ok(())
    }

    /// Makes them. What was made before a failure is taken back, and it is said how that went.
    pub(super) async fn make(&self, session: &Session, cluster: &Cluster) -> Result<(), Failure> {
        let (claim, job, plan) = self.names();
        cluster.create_claim(&self.claim, DryMode::Real).await?;
        let made = match cluster.create_job(&self.job, DryMode::Real).await {
            Ok(made) => made,
            Err(failure) => return Err(take_back(cluster, failure, None, Some(claim)).await),
        };
        if let Err(failure) = cluster.create_config_map(&self.plan, &made, DryMode::Real).await {
            return Err(take_back(cluster, failure, Some(job), Some(claim)).await);
        }
        session.tell(&format!("persistentvolumeclaim/{claim}, job.batch/{job}, configmap/{plan} created"));
        Ok(())
    }
}

/// Deletes what was made before something failed.
pub(super) async fn take_back(cluster: &Cluster, failure: Failure, job: Option<&str>, claim: Option<&str>) -> Failure {
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    if let Some(name) = job {
        let outcome = cluster.delete_job(name).await;
        if outcome.is_ok() { gone.push(format!("job {name}")) } else { left.push(format!("job {name}")) }
    }
    if let Some(name) = claim {
        let outcome = cluster.delete_claim(name).await;
        let words = format!("persistentvolumeclaim {name}");
        if outcome.is_ok() { gone.push(words) } else { left.push(words) }
    }
    let failure = if gone.is_empty() { failure } else { failure.hint(format!("taken back: {}", gone.join(", "))) };
    left.into_iter().fold(failure, |failure, what| {
        failure
            .hint(format!("could not be taken back: {what}"))
            .fix(format!("kubectl delete {what} -n {}", cluster.namespace()))
    })
}
