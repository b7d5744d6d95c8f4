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
use super::pod::data_alone;
use super::{ANNOTATION_PLAN_HASH, LABEL_COMPONENT, LABEL_RESTORE, RESTORE_CONTAINER, labels};
use crate::inject::sidecar::LABEL_WORKLOAD;

/// On the Jobs that abort and finish a restore in place.
const COMPONENT: &str = "restore-ending";
/// On the ConfigMaps of steps.
const STEPS: &str = "restore-steps";
/// Keys of the ConfigMap.
const STATE: &str = "state.json";
const JOB: &str = "job.json";
/// Version of the state's form.
const SCHEMA_VERSION: u32 = 1;

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
    /// `abort`: the old data is back, and the workload is told to have pods again.
    ScalingBack,
    /// `abort` is done, and something of the restored data is kept.
    Aborted,
    /// `finish`: what is kept is being deleted, which nothing turns back.
    Finishing,
}

impl Step {
    /// How it stands, in a word or two.
    pub fn words(self) -> &'static str {
        match self {
            Self::ScalingDown => "scaling down",
            Self::Restoring => "restoring",
            Self::ScalingUp => "scaling up",
            Self::Done => "in use",
            Self::Aborting | Self::ScalingBack => "turning back",
            Self::Aborted => "turned back",
            Self::Finishing => "finishing",
        }
    }
}

/// What is kept on the volume until `finish` deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// The data from before the restore.
    Old,
    /// What was restored, once the old data was put back.
    Restored,
}

impl Kept {
    /// As the sidecar's program calls it.
    fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Restored => "restored",
        }
    }
}

/// Everything that whoever goes on with a restore in place must know: its ConfigMap is made before anything is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    schema_version: u32,
    /// Name of the restore.
    pub restore: String,
    /// Tells it from every other restore, also from those of its name and its plan.
    id: String,
    pub workload: String,
    /// How many pods the workload had.
    pub replicas: i32,
    /// How many it has after the restore.
    pub replicas_after: i32,
    /// Claim of the data, and the pod that mounts it.
    pub claim: String,
    pub pod: String,
    pub step: Step,
    /// How many pods it had when `abort` came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<i32>,
    /// `abort` came before any Job: the data is as it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untouched: bool,
    /// How many pods it has after `abort`, where that is not how many it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replicas_back: Option<i32>,
    /// Why `abort` put nothing back, although there should have been something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// `abort` has put the old data back, and keeps something of the restored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps: bool,
    /// What `finish` was confirmed to delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finishes: Option<Kept>,
}

impl Steps {
    /// A restore with its name and its `id`, of a workload.
    pub fn begin(
        (restore, id): (&str, &str),
        workload: &str,
        (replicas, replicas_after): (i32, i32),
        (claim, pod): (&str, &str),
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            restore: restore.to_owned(),
            id: id.to_owned(),
            workload: workload.to_owned(),
            replicas,
            replicas_after,
            claim: claim.to_owned(),
            pod: pod.to_owned(),
            step: Step::ScalingDown,
            found: None,
            untouched: false,
            replicas_back: None,
            missed: None,
            keeps: false,
            finishes: None,
        }
    }

    /// The same restore at another step, with what must be known of the step that it leaves.
    #[must_use]
    pub fn at(&self, step: Step) -> Self {
        let mut next = Self { step, ..self.clone() };
        match (self.step, step) {
            // A Job is made at the next step only, which is not noted any more.
            (Step::ScalingDown, Step::Aborting) => next.untouched = true,
            // The other replicas may be clones of what is withdrawn, and must not follow the old data.
            (Step::ScalingUp | Step::Done, Step::Aborting) => next.replicas_back = Some(self.replicas_after),
            (Step::Done, Step::Finishing) => next.finishes = Some(Kept::Old),
            (Step::Aborted, Step::Finishing) => next.finishes = Some(Kept::Restored),
            (Step::Finishing, Step::Done | Step::Aborted) => next.finishes = None,
            _ => {}
        }
        next
    }

    /// Whether `abort` came when the restored data was in its place.
    pub fn was_exchanged(&self) -> bool {
        self.replicas_back.is_some()
    }

    /// `abort` found nothing that it could put back: whatever the workload has for data, it had before.
    pub fn miss(&mut self, why: String) {
        (self.missed, self.replicas_back) = (Some(why), self.found.or(Some(0)));
    }

    /// The step before `finish`, which has deleted nothing.
    pub fn before_finishing(&self) -> Option<Step> {
        match self.finishes? {
            Kept::Old => Some(Step::Done),
            Kept::Restored => Some(Step::Aborted),
        }
    }

    /// How many pods the workload has after `abort`.
    pub fn back(&self) -> i32 {
        self.replicas_back.unwrap_or(self.replicas)
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
    let mut metadata = ObjectMeta { name: Some(steps_name(&steps.restore)), ..job.metadata.clone() };
    metadata.labels.get_or_insert_default().insert(LABEL_COMPONENT.to_owned(), STEPS.to_owned());
    Ok(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
}

/// The change of the ConfigMap that notes a step, if nobody has noted another since it was read at `version`.
pub fn steps_patch(steps: &Steps, version: Option<&str>) -> Result<Value, serde_json::Error> {
    let state = serde_json::to_string_pretty(steps)?;
    Ok(json!({"metadata": {"resourceVersion": version}, "data": {STATE: state}}))
}

/// Selects the ConfigMaps of steps.
pub fn all_steps() -> String {
    format!("{LABEL_COMPONENT}={STEPS}")
}

/// Selects the ConfigMaps of the steps of a workload's restores.
pub fn steps_of_workload(workload: &str) -> String {
    // The labels are made as those of the restore are: a long name is cut.
    let labels = labels(workload, STEPS);
    let words: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.join(",")
}

/// The restore in place whose steps a ConfigMap holds, of whatever version. `None` for other ConfigMaps.
pub fn restore_of_steps(map: &ConfigMap) -> Option<&str> {
    let labels = map.metadata.labels.as_ref()?;
    labels.get(LABEL_COMPONENT).filter(|component| *component == STEPS)?;
    labels.get(LABEL_RESTORE).map(String::as_str)
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
    /// What is kept, and only this, is deleted.
    Finish(Kept),
}

impl Ending {
    pub fn verb(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Finish(_) => "finish",
        }
    }
}

/// The number of the next Job that ends a restore in this way, beside those of these names.
pub fn next_ending(names: &[String], restore: &str, ending: Ending) -> usize {
    let first = format!("{restore}-{}", ending.verb());
    let number = |name: &String| match name.strip_prefix(&first)? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse().ok(),
    };
    names.iter().filter_map(number).max().map_or(1, |last: usize| last + 1)
}

/// The Job that ends a restore, and no other that its volume may hold since: the restore's own pod with another command and without
/// the archive's Secret. It keeps the service account, which may bring the right to its user or to its image. On `node`, where a server
/// has the volume.
/// `None` where the restore's Job is not of the form that we make.
pub fn ending_job(restore: &Job, (name, number): (&str, usize), ending: Ending, node: Option<&str>) -> Option<Job> {
    let mut spec: PodSpec = restore.spec.as_ref()?.template.spec.clone()?;
    let main = data_alone(&mut spec)?;
    let word = |start: &str| main.command.iter().flatten().find(|word| word.starts_with(start)).cloned();
    let (datadir, id) = (word("--datadir=")?, word("--restore-id=")?);
    let program = main.command.iter().flatten().next()?.clone();
    let hash = restore.metadata.annotations.as_ref()?.get(ANNOTATION_PLAN_HASH)?;
    let mut command = vec![program, ending.verb().to_owned(), datadir, format!("--plan-hash={hash}"), id];
    if let Ending::Finish(kept) = ending {
        command.push(format!("--kept={}", kept.word()));
    }
    main.command = Some(command);
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
    format!("{LABEL_COMPONENT}={COMPONENT},{LABEL_RESTORE}={restore}")
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
            "metadata": {"name": "back", "namespace": "shop",
                "labels": {"kubectl-pitr/workload": "mysql", "kubectl-pitr/restore": "back"},
                "annotations": {"kubectl-pitr/plan-hash": "sha256:77ab"}},
            "spec": {"template": {"metadata": {}, "spec": {"serviceAccountName": "runs-as-999",
                "initContainers": [{"name": "install", "volumeMounts": [{"name": "pitr", "mountPath": "/pitr"}]}],
                "containers": [{"name": "restore", "image": "mysql:9.7",
                    "command": ["/pitr/pitr-sidecar", "restore", "--archive=s3://b/p", "--datadir=/var/lib/mysql", "--in-place", "--restore-id=back-1"],
                    "env": [{"name": "TZ", "value": "UTC"}, {"name": "PITR_CREDENTIALS_FROM", "value": "file:/etc/pitr-s3"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}, {"name": "plan", "mountPath": "/plan"},
                        {"name": "pitr-s3", "mountPath": "/etc/pitr-s3"}, {"name": "pitr", "mountPath": "/pitr"}]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-mysql-0"}}, {"name": "plan"},
                    {"name": "pitr", "emptyDir": {}}, {"name": "pitr-s3", "secret": {"secretName": "pitr-s3"}}]}}}}))
        .unwrap()
    }

    #[test]
    fn an_ending_has_the_volume_and_not_the_archive() {
        let job = ending_job(&restore(), ("back", 1), Ending::Finish(Kept::Old), Some("node-1")).unwrap();
        let job = serde_json::to_value(job).unwrap();
        let spec = &job["spec"]["template"]["spec"];
        assert!(!spec.to_string().contains("s3"), "{spec}");
        assert_eq!(spec["serviceAccountName"], "runs-as-999", "without it the pod may not be made");
        assert_eq!(
            spec["containers"][0]["command"],
            json!([
                "/pitr/pitr-sidecar",
                "finish",
                "--datadir=/var/lib/mysql",
                "--plan-hash=sha256:77ab",
                "--restore-id=back-1",
                "--kept=old"
            ])
        );
        assert_eq!(
            spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"],
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}])
        );
        assert_eq!(job["metadata"]["name"], "back-finish");
        assert_eq!(job["metadata"]["labels"]["kubectl-pitr/component"], "restore-ending");
        let again = ending_job(&restore(), ("back", 2), Ending::Abort, None).unwrap();
        assert_eq!(again.metadata.name.as_deref(), Some("back-abort-2"));
        let mut unknown = restore();
        unknown.metadata.annotations = None;
        assert_eq!(ending_job(&unknown, ("back", 1), Ending::Abort, None), None, "it would end any restore");
    }

    #[test]
    fn a_jobs_number_is_after_the_last_one_and_not_their_count() {
        let next = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            next_ending(&names, "back", Ending::Abort)
        };
        assert_eq!(next(&[]), 1);
        assert_eq!(next(&["back-abort", "back-finish-7", "back-abortive"]), 2);
        assert_eq!(next(&["back-abort-3", "back-abort-10"]), 11, "the first ones were deleted");
    }

    #[test]
    fn a_step_says_what_must_be_known_of_the_one_before() {
        let begun = Steps::begin(("back", "back-1"), "mysql", (3, 1), ("data-mysql-0", "mysql-0"));
        assert_eq!(begun.at(Step::Restoring).at(Step::Aborting).back(), 3, "nobody has used what was restored");
        let done = begun.at(Step::Restoring).at(Step::ScalingUp).at(Step::Done);
        let aborting = done.at(Step::Aborting);
        assert_eq!((aborting.back(), aborting.at(Step::Aborting).at(Step::Aborted).back()), (1, 1));
        assert!(begun.at(Step::Aborting).at(Step::Aborting).untouched && !aborting.untouched);
        let finishing = done.at(Step::Finishing);
        assert_eq!((finishing.finishes, finishing.before_finishing()), (Some(Kept::Old), Some(Step::Done)));
        assert_eq!(finishing.at(Step::Done), done);
        let aborted = aborting.at(Step::Aborted).at(Step::Finishing);
        assert_eq!(aborted.at(Step::Finishing).finishes, Some(Kept::Restored));
    }

    #[test]
    fn the_steps_of_a_workload_are_found_by_the_labels_that_they_have() {
        let name = "w".repeat(70);
        let restore = Job { metadata: metadata("back", "shop", (&name, "restore")), ..restore() };
        let steps = Steps::begin(("back", "back-1"), &name, (1, 1), ("data-w-0", "w-0"));
        let made = steps_map(&steps, &restore).unwrap().metadata.labels.unwrap();
        for word in format!("{},{}", steps_of_workload(&name), all_steps()).split(',') {
            let (key, value) = word.split_once('=').unwrap();
            assert_eq!(made.get(key).map(String::as_str), Some(value));
        }
    }

    #[test]
    fn steps_are_read_back_and_a_later_version_is_not() {
        let mut steps = Steps::begin(("back", "back-1"), "mysql", (3, 1), ("data-mysql-0", "mysql-0"));
        let map = steps_map(&steps, &restore()).unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("back-steps"));
        assert_eq!(read_steps(&map), Some((steps.clone(), restore())));
        assert_eq!(restore_of_steps(&map), Some("back"));
        let plan = ConfigMap { metadata: restore().metadata, ..map };
        assert_eq!(restore_of_steps(&plan), None, "a plan is none");
        steps.schema_version = 2;
        let later = steps_map(&steps, &restore()).unwrap();
        assert_eq!((read_steps(&later), restore_of_steps(&later)), (None, Some("back")));
        assert_eq!(read_steps(&ConfigMap::default()), None);
    }
}
