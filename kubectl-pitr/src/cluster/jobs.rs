//! Jobs, and the volume and the plan that belong to them.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Call, is_absent, is_conflict};
use super::{Cluster, FIELD_MANAGER, Selection};
use crate::failure::Failure;
use pitr_recovery::code;

/// How the names of our Jobs begin that are no restores.
const OURS: &str = "pitr-";

/// Whether objects are really made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryMode {
    /// They are made.
    Real,
    /// The API server checks them and makes nothing.
    Server,
}

impl Cluster {
    /// Creates a Job and gives it back with the uid that its ConfigMap refers to.
    pub async fn create_job(&self, job: &Job, mode: DryMode) -> Result<Job, Failure> {
        self.create(job, "jobs.batch", mode).await
    }

    /// Creates a pod.
    pub async fn create_pod(&self, pod: &Pod, mode: DryMode) -> Result<Pod, Failure> {
        self.create(pod, "pods", mode).await
    }

    /// Deletes a pod.
    pub async fn delete_pod(&self, name: &str) -> Result<(), Failure> {
        let api: Api<Pod> = self.api();
        let call = Call { verb: "delete", resource: "pods", name, namespace: self.namespace() };
        api.delete(name, &DeleteParams::default()).await.map(|_| ()).or_else(|e| gone(&e, &call))
    }

    /// Deletes this very pod: another one that has its name by now stays.
    pub async fn delete_this_pod(&self, pod: &Pod) -> Result<(), Failure> {
        let api: Api<Pod> = self.api();
        let name = &pod.name_any();
        let call = Call { verb: "delete", resource: "pods", name, namespace: self.namespace() };
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(name, &params).await {
            Ok(_) => Ok(()),
            Err(error) if is_conflict(&error) => Ok(()),
            Err(error) => gone(&error, &call),
        }
    }

    /// Makes a CronJob what it is to be, whether it is there or not.
    pub async fn apply_cron_job(&self, object: &Value, dry_run: bool) -> Result<(), Failure> {
        let api: Api<CronJob> = self.api();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let params = PatchParams { dry_run, force: true, ..PatchParams::apply(FIELD_MANAGER) };
        let call = Call { verb: "patch", resource: "cronjobs.batch", name, namespace: self.namespace() };
        api.patch(name, &params, &Patch::Apply(object)).await.map(|_| ()).map_err(|e| call.failed(&e))
    }

    /// Creates a volume claim.
    pub async fn create_claim(
        &self,
        claim: &PersistentVolumeClaim,
        mode: DryMode,
    ) -> Result<PersistentVolumeClaim, Failure> {
        self.create(claim, "persistentvolumeclaims", mode).await
    }

    /// Creates a ConfigMap that goes when its Job goes.
    pub async fn create_config_map(&self, map: &ConfigMap, owner: &Job, mode: DryMode) -> Result<ConfigMap, Failure> {
        let mut map = map.clone();
        if let Some(uid) = owner.uid().filter(|_| mode == DryMode::Real) {
            map.metadata.owner_references = Some(vec![OwnerReference {
                api_version: "batch/v1".to_owned(),
                kind: "Job".to_owned(),
                name: owner.name_any(),
                uid,
                controller: Some(false),
                block_owner_deletion: Some(false),
            }]);
        }
        self.create(&map, "configmaps", mode).await
    }

    /// Creates a ConfigMap that stays until it is deleted.
    pub async fn create_own_config_map(&self, map: &ConfigMap, mode: DryMode) -> Result<ConfigMap, Failure> {
        self.create(map, "configmaps", mode).await
    }

    async fn create<K>(&self, object: &K, resource: &str, mode: DryMode) -> Result<K, Failure>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let params = PostParams { dry_run: mode == DryMode::Server, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let name = object.name_any();
        self.api::<K>().create(&params, object).await.map_err(|error| {
            if is_conflict(&error) {
                let kind = resource.split('.').next().unwrap_or(resource).trim_end_matches('s');
                return exists(kind, &name, self.namespace());
            }
            Call { verb: "create", resource, name: &name, namespace: self.namespace() }.failed(&error)
        })
    }

    /// A Job, if it is there.
    pub async fn job(&self, name: &str) -> Result<Option<Job>, Failure> {
        let api: Api<Job> = self.api();
        let call = Call { verb: "get", resource: "jobs.batch", name, namespace: self.namespace() };
        api.get_opt(name).await.map_err(|e| call.failed(&e))
    }

    /// What a restore of this name onto this claim would meet, as far as it may be looked at.
    pub async fn taken(&self, restore: &str, claim: &str) -> Option<Failure> {
        if let Ok(Some(_)) = self.claim(claim).await {
            return Some(exists("persistentvolumeclaim", claim, self.namespace()));
        }
        let job = self.job(restore).await.ok().flatten();
        job.map(|_| exists("job", restore, self.namespace()))
    }

    /// Our Jobs with these labels.
    pub async fn jobs(&self, selector: &str, all: bool) -> Result<Vec<Job>, Failure> {
        self.selected_jobs(Selection { all, labels: Some(selector), fields: None }).await
    }

    /// The Jobs that are selected.
    pub async fn selected_jobs(&self, selection: Selection<'_>) -> Result<Vec<Job>, Failure> {
        let api: Api<Job> = if selection.all { Api::all(self.client.clone()) } else { self.api() };
        let call = Call { verb: "list", resource: "jobs.batch", name: "", namespace: self.namespace() };
        api.list(&selection.params()).await.map(|l| l.items).map_err(|e| call.failed(&e))
    }

    /// Our volume claims with these labels.
    pub async fn claims(&self, selector: &str, all: bool) -> Result<Vec<PersistentVolumeClaim>, Failure> {
        let api: Api<PersistentVolumeClaim> = if all { Api::all(self.client.clone()) } else { self.api() };
        let call = Call { verb: "list", resource: "persistentvolumeclaims", name: "", namespace: self.namespace() };
        api.list(&ListParams::default().labels(selector)).await.map(|l| l.items).map_err(|e| call.failed(&e))
    }

    /// Deletes a Job and its pods; what is not owned by it stays.
    pub async fn delete_job(&self, name: &str) -> Result<(), Failure> {
        let api: Api<Job> = self.api();
        let call = Call { verb: "delete", resource: "jobs.batch", name, namespace: self.namespace() };
        api.delete(name, &DeleteParams::background()).await.map(|_| ()).or_else(|e| gone(&e, &call))
    }

    /// Deletes a volume claim, and with it usually the data.
    pub async fn delete_claim(&self, name: &str) -> Result<(), Failure> {
        let api: Api<PersistentVolumeClaim> = self.api();
        let call = Call { verb: "delete", resource: "persistentvolumeclaims", name, namespace: self.namespace() };
        api.delete(name, &DeleteParams::default()).await.map(|_| ()).or_else(|e| gone(&e, &call))
    }

    /// The pods of a Job, the newest last.
    pub async fn pods_of_job(&self, job: &str) -> Result<Vec<Pod>, Failure> {
        let api: Api<Pod> = self.api();
        let selector = format!("batch.kubernetes.io/job-name={job}");
        let call = Call { verb: "list", resource: "pods", name: "", namespace: self.namespace() };
        let list = api.list(&ListParams::default().labels(&selector)).await.map_err(|e| call.failed(&e))?;
        let mut pods = list.items;
        pods.sort_by_key(|p| p.metadata.creation_timestamp.as_ref().map(|t| t.0));
        Ok(pods)
    }
}

/// An object of ours has this name already.
fn exists(kind: &str, name: &str, namespace: &str) -> Failure {
    let way_on = match name.starts_with(OURS) {
        true => format!("kubectl pitr logs -n {namespace} --job {name} -f"),
        false => format!("kubectl pitr restores attach {name} -n {namespace}, or --new-name NAME"),
    };
    Failure::new(code::RESTORE_EXISTS, format!("{kind} \"{name}\" exists")).fix(way_on)
}

fn gone(error: &kube::Error, call: &Call<'_>) -> Result<(), Failure> {
    if is_absent(error) { Ok(()) } else { Err(call.failed(error)) }
}
