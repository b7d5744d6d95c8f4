//! What a restore in place leaves in the cluster beside its Job: the steps that are to be done, and the Jobs that end it.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMap, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::job::{job, metadata};
use super::{LABEL_RESTORE, RESTORE_CONTAINER};
use crate::inject::sidecar::LABEL_WORKLOAD;

/// On the Jobs that abort and finish a restore in place.
const COMPONENT: &str = "restore-ending";
/// Keys of the ConfigMap.
const STATE: &str = "state.json";
const JOB: &str = "job.json";
/// Version of the state's form.
const SCHEMA_VERSION: u32 = 1;
/// Volumes that the ending of a restore needs: it reads no archive.
const KEPT: [&str; 3] = ["data", "staging", "pitr"];

/// What is being done, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The workload is told to have no pod, and its pods end.
    ScalingDown,
    /// The Job restores beside the old data and exchanges the two.
    Restoring,
    /// The workload is told to have pods again.
    ScalingUp,
    /// The restored data is in use, the old data is kept.
    Done,
    /// `abort`: the workload has no pod, the old data goes back.
    Aborting,
    /// `abort` is done, and something of the restored data is kept.
    Aborted,
}

/// Everything that whoever goes on with a restore in place must know: its ConfigMap is made before anything is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    schema_version: u32,
    /// Name of the restore.
    pub restore: String,
    pub workload: String,
    /// How many pods the workload had, and has again after `abort`.
    pub replicas: i32,
    /// How many it has after the restore.
    pub replicas_after: i32,
    /// Claim of the data, and the pod that mounts it.
    pub claim: String,
    pub pod: String,
    pub step: Step,
}

impl Steps {
    pub fn begin(
        restore: &str,
        workload: &str,
        (replicas, replicas_after): (i32, i32),
        (claim, pod): (&str, &str),
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            restore: restore.to_owned(),
            workload: workload.to_owned(),
            replicas,
            replicas_after,
            claim: claim.to_owned(),
            pod: pod.to_owned(),
            step: Step::ScalingDown,
        }
    }
}

/// `NAME-steps`
pub fn steps_name(restore: &str) -> String {
    format!("{restore}-steps")
}

/// The ConfigMap of the steps. Nothing owns it: it goes when the restore is finished or aborted.
pub fn steps_map(steps: &Steps, job: &Job) -> Result<ConfigMap, serde_json::Error> {
    let data = BTreeMap::from([
        (STATE.to_owned(), serde_json::to_string_pretty(steps)?),
        (JOB.to_owned(), serde_json::to_string(job)?),
    ]);
    let metadata = ObjectMeta { name: Some(steps_name(&steps.restore)), annotations: None, ..job.metadata.clone() };
    Ok(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
}

/// The change of the ConfigMap that notes a step.
pub fn steps_patch(steps: &Steps) -> Result<Value, serde_json::Error> {
    Ok(json!({"data": {STATE: serde_json::to_string_pretty(steps)?}}))
}

/// What a ConfigMap of steps says: the steps, and the restore's first Job. `None` where it is not ours or of a later version.
pub fn read_steps(map: &ConfigMap) -> Option<(Steps, Job)> {
    let data = map.data.as_ref()?;
    let steps: Steps = serde_json::from_str(data.get(STATE)?).ok()?;
    let job = serde_json::from_str(data.get(JOB)?).ok()?;
    (steps.schema_version <= SCHEMA_VERSION).then_some((steps, job))
}

/// How a restore in place is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The old data goes back to its place.
    Abort,
    /// What is kept is deleted.
    Finish,
}

impl Ending {
    pub fn verb(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Finish => "finish",
        }
    }
}

/// The Job that ends a restore: the restore's own pod with another command and no credentials. On `node`, where a server has the volume.
/// `None` where the restore's Job is not of the form that we make.
pub fn ending_job(restore: &Job, (name, number): (&str, usize), ending: Ending, node: Option<&str>) -> Option<Job> {
    let mut spec: PodSpec = restore.spec.as_ref()?.template.spec.clone()?;
    spec.service_account_name = None;
    spec.service_account = None;
    let is_kept = |name: &str| KEPT.contains(&name);
    spec.volumes.iter_mut().for_each(|volumes| volumes.retain(|volume| is_kept(&volume.name)));
    let main = spec.containers.first_mut()?;
    let datadir = main.command.iter().flatten().find(|word| word.starts_with("--datadir="))?.clone();
    let program = main.command.iter().flatten().next()?.clone();
    main.command = Some(vec![program, ending.verb().to_owned(), datadir]);
    main.env.iter_mut().for_each(|vars| vars.retain(|var| var.name == "TZ"));
    main.volume_mounts.iter_mut().for_each(|mounts| mounts.retain(|mount| is_kept(&mount.name)));
    if let Some(node) = node {
        spec.affinity = Some(on_node(node));
    }
    let workload = restore.metadata.labels.as_ref()?.get(LABEL_WORKLOAD)?;
    let namespace = restore.metadata.namespace.clone().unwrap_or_default();
    let full = match number {
        1 => format!("{name}-{}", ending.verb()),
        number => format!("{name}-{}-{number}", ending.verb()),
    };
    let mut about = metadata(&full, &namespace, (workload, COMPONENT));
    about.labels.get_or_insert_default().insert(LABEL_RESTORE.to_owned(), name.to_owned());
    Some(job(about, None, RESTORE_CONTAINER, spec))
}

/// Selects the Jobs that end a restore.
pub fn endings_of(restore: &str) -> String {
    format!("{}={COMPONENT},{LABEL_RESTORE}={restore}", super::LABEL_COMPONENT)
}

/// A volume that one node has is mounted there only.
fn on_node(node: &str) -> Affinity {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
        ..NodeSelectorTerm::default()
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector { node_selector_terms: vec![term] }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restore() -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": "back", "namespace": "shop", "labels": {"kubectl-pitr/workload": "mysql"}},
            "spec": {"template": {"metadata": {}, "spec": {"serviceAccountName": "reads-the-bucket",
                "initContainers": [{"name": "install", "volumeMounts": [{"name": "pitr", "mountPath": "/pitr"}]}],
                "containers": [{"name": "restore", "image": "mysql:9.7",
                    "command": ["/pitr/pitr-sidecar", "restore", "--archive=s3://b/p", "--datadir=/var/lib/mysql", "--in-place"],
                    "env": [{"name": "TZ", "value": "UTC"}, {"name": "PITR_CREDENTIALS_FROM", "value": "file:/etc/pitr-s3"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}, {"name": "plan", "mountPath": "/plan"},
                        {"name": "pitr-s3", "mountPath": "/etc/pitr-s3"}, {"name": "pitr", "mountPath": "/pitr"}]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-mysql-0"}}, {"name": "plan"},
                    {"name": "pitr", "emptyDir": {}}, {"name": "pitr-s3", "secret": {"secretName": "pitr-s3"}}]}}}}))
        .unwrap()
    }

    #[test]
    fn an_ending_has_the_volume_and_no_credentials() {
        let job = ending_job(&restore(), ("back", 1), Ending::Finish, Some("node-1")).unwrap();
        let job = serde_json::to_value(job).unwrap();
        let spec = &job["spec"]["template"]["spec"];
        assert!(!spec.to_string().contains("s3") && !spec.to_string().contains("bucket"), "{spec}");
        assert_eq!(
            spec["containers"][0]["command"],
            json!(["/pitr/pitr-sidecar", "finish", "--datadir=/var/lib/mysql"])
        );
        assert_eq!(
            spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"],
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}])
        );
        assert_eq!(job["metadata"]["name"], "back-finish");
        assert_eq!(job["metadata"]["labels"]["kubectl-pitr/component"], "restore-ending");
        let again = ending_job(&restore(), ("back", 2), Ending::Abort, None).unwrap();
        assert_eq!(again.metadata.name.as_deref(), Some("back-abort-2"));
    }

    #[test]
    fn steps_are_read_back_and_a_later_version_is_not() {
        let mut steps = Steps::begin("back", "mysql", (3, 1), ("data-mysql-0", "mysql-0"));
        let map = steps_map(&steps, &restore()).unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("back-steps"));
        assert_eq!(read_steps(&map), Some((steps.clone(), restore())));
        steps.schema_version = 2;
        assert_eq!(read_steps(&steps_map(&steps, &restore()).unwrap()), None);
        assert_eq!(read_steps(&ConfigMap::default()), None);
    }
}
