//! A StatefulSet that stands on a restored volume: the workload's own with one replica, another name, other labels, and no sidecar.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, Service, ServicePort, ServiceSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::LABEL_RESTORE;
use crate::inject::sidecar::{CONTAINER, LABEL_MANAGED, MANAGER, VOLUMES};

/// By this label the Service finds the pod, and no older Service does.
pub const LABEL_NAME: &str = "kubectl-pitr/statefulset";
/// Written by tools about the object that was copied.
const FOREIGN_ANNOTATIONS: [&str; 5] =
    ["kubectl-pitr/", "kubectl.kubernetes.io/", "meta.helm.sh/", "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/"];
const MYSQL: i32 = 3306;

/// What is to stand where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand<'a> {
    pub name: &'a str,
    pub restore: &'a str,
    /// Volume of the pod template that holds the data.
    pub data_volume: &'a str,
    /// The restored claim.
    pub claim: &'a str,
}

/// The claim that the first pod of a StatefulSet adopts: the one of its template, or a name of its own where there is no template.
pub fn claim_name(object: &StatefulSet, data_volume: &str, name: &str) -> String {
    if has_template(object, data_volume) { format!("{data_volume}-{name}-0") } else { format!("data-{name}-0") }
}

fn has_template(object: &StatefulSet, volume: &str) -> bool {
    let templates = object.spec.as_ref().and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default();
    templates.iter().any(|template| template.metadata.name.as_deref() == Some(volume))
}

/// Further volumes that the copy gets new and empty.
pub fn empty_claims<'a>(object: &'a StatefulSet, data_volume: &str) -> Vec<&'a str> {
    let templates = object.spec.as_ref().and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default();
    templates.iter().filter_map(|t| t.metadata.name.as_deref()).filter(|name| *name != data_volume).collect()
}

/// Whether the data can be a restored claim: it has a template, or is a claim that the pod names.
pub fn has_claim(object: &StatefulSet, data_volume: &str) -> bool {
    has_template(object, data_volume)
        || volumes(object).any(|volume| volume.name == data_volume && volume.persistent_volume_claim.is_some())
}

/// Volumes beside the data that the copy would share with the workload, to write: claims that the pod names, and directories elsewhere.
pub fn shared<'a>(object: &'a StatefulSet, data_volume: &str) -> Vec<&'a str> {
    let pod = object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| pod.containers.iter().chain(pod.init_containers.iter().flatten()));
    let mounts =
        containers.filter(|container| container.name != CONTAINER).flat_map(|c| c.volume_mounts.iter().flatten());
    let written: BTreeSet<&str> =
        mounts.filter(|mount| mount.read_only != Some(true)).map(|mount| mount.name.as_str()).collect();
    let beside = volumes(object)
        .filter(|v| v.name != data_volume && !VOLUMES.contains(&v.name.as_str()) && written.contains(v.name.as_str()));
    let is_fresh = |volume: &Volume| {
        volume.empty_dir.is_some()
            || volume.ephemeral.is_some()
            || volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
            || volume.image.is_some()
    };
    beside.filter(|volume| !is_fresh(volume)).map(|volume| volume.name.as_str()).collect()
}

fn volumes(object: &StatefulSet) -> impl Iterator<Item = &Volume> {
    let pod = object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.into_iter().flat_map(|pod| pod.volumes.iter().flatten())
}

fn labels(stand: &Stand<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_NAME.to_owned(), stand.name.to_owned()),
        (LABEL_RESTORE.to_owned(), stand.restore.to_owned()),
        (LABEL_MANAGED.to_owned(), MANAGER.to_owned()),
    ])
}

fn selector(stand: &Stand<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL_NAME.to_owned(), stand.name.to_owned())])
}

/// The headless Service that gives the pod its name, with the ports of its containers.
pub fn service(object: &StatefulSet, stand: &Stand<'_>) -> Service {
    let containers = object.spec.iter().filter_map(|s| s.template.spec.as_ref()).flat_map(|pod| &pod.containers);
    let mut ports: Vec<ServicePort> = containers
        .filter(|container| container.name != CONTAINER)
        .flat_map(|container| container.ports.iter().flatten())
        .map(|port| ServicePort {
            name: Some(port.name.clone().unwrap_or_else(|| format!("port-{}", port.container_port))),
            port: port.container_port,
            ..ServicePort::default()
        })
        .collect();
    if ports.is_empty() {
        ports.push(ServicePort { name: Some("mysql".to_owned()), port: MYSQL, ..ServicePort::default() });
    }
    Service {
        metadata: metadata(object, stand),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(selector(stand)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn metadata(object: &StatefulSet, stand: &Stand<'_>) -> ObjectMeta {
    ObjectMeta {
        name: Some(stand.name.to_owned()),
        namespace: object.metadata.namespace.clone(),
        labels: Some(labels(stand)),
        ..ObjectMeta::default()
    }
}

/// The StatefulSet; none of an object without a pod template.
pub fn stateful_set(object: &StatefulSet, stand: &Stand<'_>) -> Option<StatefulSet> {
    let old = object.spec.as_ref()?;
    let pod = without_sidecar(old.template.spec.clone()?);
    let adopts = has_template(object, stand.data_volume);
    let pod = if adopts { pod } else { on_claim(pod, stand) };
    let templates = old.volume_claim_templates.clone().map(|mut templates| {
        for template in &mut templates {
            template.metadata = ObjectMeta { name: template.metadata.name.clone(), ..ObjectMeta::default() };
            template.status = None;
        }
        templates
    });
    let keep = || Some("Retain".to_owned());
    Some(StatefulSet {
        metadata: metadata(object, stand),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(stand.name.to_owned()),
            selector: LabelSelector { match_labels: Some(selector(stand)), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(stand)),
                    annotations: annotations(old.template.metadata.as_ref()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            volume_claim_templates: templates,
            min_ready_seconds: old.min_ready_seconds,
            pod_management_policy: old.pod_management_policy.clone(),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: keep(),
                when_scaled: keep(),
            }),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

fn annotations(metadata: Option<&ObjectMeta>) -> Option<BTreeMap<String, String>> {
    let mut kept = metadata?.annotations.clone()?;
    kept.retain(|key, _| !FOREIGN_ANNOTATIONS.iter().any(|foreign| key.starts_with(foreign)));
    (!kept.is_empty()).then_some(kept)
}

/// The archive holds another history than this server will write: its sidecar stays behind.
fn without_sidecar(pod: PodSpec) -> PodSpec {
    let mut pod = pod;
    pod.containers.retain(|container| container.name != CONTAINER);
    if let Some(containers) = &mut pod.init_containers {
        containers.retain(|container| container.name != CONTAINER);
    }
    pod.init_containers = pod.init_containers.filter(|containers| !containers.is_empty());
    if let Some(volumes) = &mut pod.volumes {
        volumes.retain(|volume| !VOLUMES.contains(&volume.name.as_str()));
    }
    pod.volumes = pod.volumes.filter(|volumes| !volumes.is_empty());
    pod.node_name = None;
    pod.hostname = None;
    pod
}

/// A workload without a template for its data names its claim in the pod.
fn on_claim(pod: PodSpec, stand: &Stand<'_>) -> PodSpec {
    let mut pod = pod;
    for volume in pod.volumes.iter_mut().flatten().filter(|volume| volume.name == stand.data_volume) {
        if let Some(claim) = &mut volume.persistent_volume_claim {
            stand.claim.clone_into(&mut claim.claim_name);
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(templates: &serde_json::Value) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "mysql", "namespace": "shop", "uid": "u", "labels": {"app": "mysql"}, "ownerReferences": [],
                "annotations": {"meta.helm.sh/release-name": "shop"}},
            "spec": {"replicas": 3, "serviceName": "mysql", "selector": {"matchLabels": {"app": "mysql"}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
                "template": {"metadata": {"labels": {"app": "mysql", "kubectl-pitr/workload": "mysql"},
                        "annotations": {"kubectl-pitr/config-hash": "9c41", "team": "shop"}},
                    "spec": {"initContainers": [{"name": "pitr", "restartPolicy": "Always"}],
                        "containers": [{"name": "mysql", "image": "mysql:9.7", "ports": [{"containerPort": 3306}],
                            "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}]}],
                        "volumes": [{"name": "pitr-config"}, {"name": "pitr-s3"},
                            {"name": "data", "persistentVolumeClaim": {"claimName": "old"}}]}},
                "volumeClaimTemplates": templates},
            "status": {"replicas": 3}}))
        .unwrap()
    }

    fn stand<'a>(claim: &'a str) -> Stand<'a> {
        Stand { name: "rescued", restore: "rescue", data_volume: "data", claim }
    }

    #[test]
    fn it_adopts_the_restored_claim_by_its_name() {
        let template = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}, "status": {}},
            {"metadata": {"name": "logs"}}]);
        let object = workload(&template);
        let claim = claim_name(&object, "data", "rescued");
        assert_eq!((claim.as_str(), empty_claims(&object, "data")), ("data-rescued-0", vec!["logs"]));
        let copy = stateful_set(&object, &stand(&claim)).unwrap();
        let text = serde_json::to_string(&copy).unwrap();
        for absent in
            ["\"pitr\"", "pitr-s3", "pitr-config", "config-hash", "helm", "partition", "\"app\"", "Delete\"", "\"uid\""]
        {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        let spec = copy.spec.unwrap();
        assert_eq!((spec.replicas, spec.service_name.as_deref()), (Some(1), Some("rescued")));
        let labels = spec.template.metadata.as_ref().unwrap().labels.clone().unwrap();
        assert!(spec.selector.match_labels.unwrap().iter().all(|pair| labels.get(pair.0) == Some(pair.1)));
        assert_eq!(spec.template.metadata.unwrap().annotations.unwrap().len(), 1, "the team's own stays");
    }

    #[test]
    fn a_claim_that_the_pod_names_is_named_anew() {
        let object = workload(&json!(null));
        let claim = claim_name(&object, "data", "rescued");
        let copy = serde_json::to_value(stateful_set(&object, &stand(&claim)).unwrap()).unwrap();
        let volumes = copy["spec"]["template"]["spec"]["volumes"].clone();
        assert_eq!(volumes, json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-rescued-0"}}]));
    }

    #[test]
    fn it_shares_nothing_with_the_workload_unsaid() {
        let mut object = workload(&json!(null));
        assert!(has_claim(&object, "data") && shared(&object, "data").is_empty());
        let volumes = json!([{"name": "data", "nfs": {"server": "s", "path": "/data"}},
            {"name": "binlogs", "persistentVolumeClaim": {"claimName": "mysql-binlogs"}},
            {"name": "host", "hostPath": {"path": "/var/lib/mysql"}},
            {"name": "zone", "hostPath": {"path": "/etc/localtime"}}, {"name": "tmp", "emptyDir": {}},
            {"name": "conf", "configMap": {"name": "conf"}}, {"name": "pitr-s3", "secret": {}}]);
        let pod = object.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
        pod.volumes = serde_json::from_value(volumes).unwrap();
        let mounts = json!([{"name": "binlogs", "mountPath": "/b"}, {"name": "host", "mountPath": "/h"},
            {"name": "zone", "mountPath": "/etc/localtime", "readOnly": true}, {"name": "conf", "mountPath": "/c"},
            {"name": "tmp", "mountPath": "/t"}, {"name": "pitr-s3", "mountPath": "/s"}]);
        pod.containers[0].volume_mounts = serde_json::from_value(mounts).unwrap();
        assert!(!has_claim(&object, "data"));
        assert_eq!(shared(&object, "data"), ["binlogs", "host"]);
        assert!(has_claim(&workload(&json!([{"metadata": {"name": "data"}}])), "data"));
    }

    #[test]
    fn its_service_finds_it_alone() {
        let service = serde_json::to_value(service(&workload(&json!(null)), &stand("c"))).unwrap();
        assert_eq!(service["spec"]["clusterIP"], "None");
        assert_eq!(service["spec"]["selector"], json!({"kubectl-pitr/statefulset": "rescued"}));
        assert_eq!(service["spec"]["ports"], json!([{"name": "port-3306", "port": 3306}]));
    }
}
