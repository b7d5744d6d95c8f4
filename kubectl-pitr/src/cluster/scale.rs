//! The number of pods of a StatefulSet, and who else sets it or holds its volumes.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::problem::{Call, short};
use super::{Cluster, FIELD_MANAGER};
use crate::failure::Failure;

/// KEDA names its object on the autoscaler that it makes.
const LABEL_KEDA: &str = "scaledobject.keda.sh/name";

impl Cluster {
    /// How many pods a StatefulSet is told to have.
    pub async fn scale(&self, name: &str) -> Result<i32, Failure> {
        let api: Api<StatefulSet> = self.api();
        let call = Call { verb: "get", resource: "statefulsets.apps/scale", name, namespace: self.namespace() };
        let scale = api.get_scale(name).await.map_err(|e| call.failed(&e))?;
        Ok(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))
    }

    /// Tells it another number.
    pub async fn set_scale(&self, name: &str, replicas: i32) -> Result<(), Failure> {
        let api: Api<StatefulSet> = self.api();
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let call = Call { verb: "patch", resource: "statefulsets.apps/scale", name, namespace: self.namespace() };
        let patch = json!({"spec": {"replicas": replicas}});
        api.patch_scale(name, &params, &Patch::Merge(&patch)).await.map(|_| ()).map_err(|e| call.failed(&e))
    }

    /// What scales a StatefulSet by itself: `HorizontalPodAutoscaler "mysql"`, `KEDA ScaledObject "mysql"`. An error is a reason in words.
    pub async fn autoscalers(&self, name: &str) -> Result<Vec<String>, String> {
        let api: Api<HorizontalPodAutoscaler> = self.api();
        let all = api.list(&ListParams::default()).await.map_err(|e| short(&e))?;
        let scales = |scaler: &&HorizontalPodAutoscaler| {
            let target = scaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
            target.is_some_and(|target| target.kind == "StatefulSet" && target.name == name)
        };
        let words = |scaler: &HorizontalPodAutoscaler| match scaler.labels().get(LABEL_KEDA) {
            Some(object) => format!("KEDA ScaledObject \"{object}\""),
            None => format!("HorizontalPodAutoscaler \"{}\"", scaler.name_any()),
        };
        Ok(all.items.iter().filter(scales).map(words).collect())
    }

    /// The nodes that a volume is attached to. An error is a reason in words: few may list what belongs to the whole cluster.
    pub async fn attachments(&self, volume: &str) -> Result<Vec<String>, String> {
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        let all = api.list(&ListParams::default()).await.map_err(|e| short(&e))?;
        let of_volume = |found: &&VolumeAttachment| {
            let attached = found.status.as_ref().is_some_and(|status| status.attached);
            attached && found.spec.source.persistent_volume_name.as_deref() == Some(volume)
        };
        Ok(all.items.iter().filter(of_volume).map(|found| found.spec.node_name.clone()).collect())
    }
}
