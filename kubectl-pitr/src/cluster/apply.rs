//! Server-side apply of raw JSON: a typed object would claim fields that we do not mean, such as an empty list of containers.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::Cluster;
use super::problem::{Call, is_absent, is_conflict};
use crate::failure::Failure;
use pitr_recovery::code;

/// Under this name the API server remembers which entries are ours.
pub const FIELD_MANAGER: &str = "kubectl-pitr";

/// The API server's reason where a field is another manager's: `metav1.CauseTypeFieldManagerConflict`.
const CAUSE_OTHER_MANAGER: &str = "FieldManagerConflict";

/// In a pod template: when its pods were last restarted by hand.
const ANNOTATION_RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// How a change is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Ask the API server to check and change nothing.
    pub dry_run: bool,
    /// Take over fields that another manager owns.
    pub force: bool,
}

impl Cluster {
    /// Applies our entries of a StatefulSet; what we applied before and do not name now goes away.
    pub async fn apply_stateful_set(
        &self,
        name: &str,
        patch: &Value,
        options: ApplyOptions,
    ) -> Result<StatefulSet, Failure> {
        let api: Api<StatefulSet> = self.api();
        let params =
            PatchParams { dry_run: options.dry_run, force: options.force, ..PatchParams::apply(FIELD_MANAGER) };
        let applied = api.patch(name, &params, &Patch::Apply(patch)).await;
        applied.map_err(|e| self.apply_failed(&e, ("statefulsets.apps", name), options.dry_run))
    }

    /// Applies a ConfigMap of ours, whoever else has changed fields of it.
    pub async fn apply_config_map(
        &self,
        name: &str,
        object: &Value,
        options: ApplyOptions,
    ) -> Result<ConfigMap, Failure> {
        let api: Api<ConfigMap> = self.api();
        let params = PatchParams { dry_run: options.dry_run, force: true, ..PatchParams::apply(FIELD_MANAGER) };
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .map_err(|e| self.apply_failed(&e, ("configmaps", name), options.dry_run))
    }

    /// Changes a ConfigMap of ours that nobody has changed since it was read: the patch names its `resourceVersion`.
    /// Gives it as it is then.
    pub async fn patch_config_map(&self, name: &str, patch: &Value, dry_run: bool) -> Result<ConfigMap, Failure> {
        let api: Api<ConfigMap> = self.api();
        let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let call = Call { verb: "patch", resource: "configmaps", name, namespace: self.namespace() };
        match api.patch(name, &params, &Patch::Merge(patch)).await {
            Err(error) if is_conflict(&error) => {
                let message = format!("configmap \"{name}\" was changed by somebody else a moment ago");
                Err(Failure::new(code::APPLY_CONFLICT, message)
                    .hint("nothing was changed")
                    .fix("the same command again"))
            }
            outcome => outcome.map_err(|e| call.failed(&e)),
        }
    }

    /// Deletes a ConfigMap of ours, if it is there.
    pub async fn delete_config_map(&self, name: &str) -> Result<(), Failure> {
        let api: Api<ConfigMap> = self.api();
        match api.delete(name, &DeleteParams::default()).await {
            Err(error) if !is_absent(&error) => {
                Err(Call { verb: "delete", resource: "configmaps", name, namespace: self.namespace() }.failed(&error))
            }
            _ => Ok(()),
        }
    }

    /// Deletes a StatefulSet of ours, if it is there; with `dry_run` the API server checks that and deletes nothing.
    pub async fn delete_stateful_set(&self, name: &str, dry_run: bool) -> Result<(), Failure> {
        let api: Api<StatefulSet> = self.api();
        match api.delete(name, &DeleteParams { dry_run, ..DeleteParams::default() }).await {
            Err(error) if !is_absent(&error) => {
                let call = Call { verb: "delete", resource: "statefulsets.apps", name, namespace: self.namespace() };
                Err(call.failed(&error))
            }
            _ => Ok(()),
        }
    }

    /// Changes only the update strategy's partition, if there is one to set, and annotations of the object: what a rollout has to remember
    /// stands there or goes in the same moment.
    pub async fn set_partition(&self, name: &str, partition: Option<i32>, annotations: Value) -> Result<(), Failure> {
        self.merge_stateful_set(name, &rollout_patch(partition, &annotations), false).await
    }

    /// Has every pod made anew, as `kubectl rollout restart` does it, and sets partition and annotations as [`Self::set_partition`] does.
    pub async fn restart_stateful_set(
        &self,
        name: &str,
        (partition, annotations): (Option<i32>, Value),
        (now, dry_run): (Timestamp, bool),
    ) -> Result<(), Failure> {
        let mut patch = rollout_patch(partition, &annotations);
        patch["spec"]["template"]["metadata"]["annotations"] = json!({ANNOTATION_RESTARTED: now.to_string()});
        self.merge_stateful_set(name, &patch, dry_run).await
    }

    async fn merge_stateful_set(&self, name: &str, patch: &Value, dry_run: bool) -> Result<(), Failure> {
        let api: Api<StatefulSet> = self.api();
        let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = api.patch(name, &params, &Patch::Merge(patch)).await;
        patched.map(|_| ()).map_err(|e| self.apply_failed(&e, ("statefulsets.apps", name), dry_run))
    }

    /// One pod, if it is there.
    pub async fn pod(&self, name: &str) -> Result<Option<Pod>, Failure> {
        let api: Api<Pod> = self.api();
        let call = Call { verb: "get", resource: "pods", name, namespace: self.namespace() };
        api.get_opt(name).await.map_err(|e| call.failed(&e))
    }

    fn apply_failed(&self, error: &kube::Error, (resource, name): (&str, &str), dry_run: bool) -> Failure {
        if let kube::Error::Api(status) = error
            && is_conflict(error)
        {
            let failure = Failure::new(code::APPLY_CONFLICT, status.message.clone());
            let failure = if dry_run { failure.hint("nothing was changed") } else { failure };
            let causes = status.details.iter().flat_map(|details| &details.causes);
            return match causes.into_iter().any(|cause| cause.reason == CAUSE_OTHER_MANAGER) {
                true => failure.fix("kubectl pitr inject takes those fields over with --force-conflicts"),
                false => failure.fix("the same command again"),
            };
        }
        Call { verb: "patch", resource, name, namespace: self.namespace() }.failed(error)
    }
}

/// A merge patch of the update strategy's partition, if there is one to set, and of annotations of the object.
fn rollout_patch(partition: Option<i32>, annotations: &Value) -> Value {
    let mut patch = json!({"metadata": {"annotations": annotations}});
    if let Some(partition) = partition {
        patch["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition.into();
    }
    patch
}
