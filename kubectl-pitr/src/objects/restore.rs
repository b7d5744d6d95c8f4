//! A restore onto a new volume: the volume's claim, the Job, and the plan that the Job carries out.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::job;
use super::pod::{self, PROGRAM, Server, Store, mount};
use super::{ANNOTATION_IN_PLACE, ANNOTATION_PLAN_HASH, ANNOTATION_STATEFUL_SET, ANNOTATION_TARGET, LABEL_RESTORE};

/// Above this the plan is stored compressed: a ConfigMap holds 1 MiB in all.
pub const PLAN_BYTES_PLAIN_MAX: usize = 512 << 10;
/// Name of the container that restores.
pub const CONTAINER: &str = "restore";

/// The new volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    pub size: String,
    pub storage_class: Option<String>,
}

/// Everything that makes up a restore.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreJob {
    /// Name of the Job and of the plan's ConfigMap.
    pub name: String,
    /// Name of the restore: that of its first Job and of its volume.
    pub restore: String,
    pub namespace: String,
    pub workload: String,
    /// As the user wrote it.
    pub target: String,
    pub plan_hash: String,
    /// Whether the plan is stored compressed.
    pub plan_compressed: bool,
    /// Image of our program.
    pub image: String,
    pub server: Server,
    pub store: Store,
    /// The data directory, and the mount of the volume that it lies on.
    pub datadir: String,
    pub mount_path: String,
    pub sub_path: Option<String>,
    /// Further options of the program.
    pub options: Vec<String>,
    /// Secret with the identity that opens an encrypted archive.
    pub identity_secret: Option<String>,
    /// The StatefulSet that will adopt the volume.
    pub stateful_set: Option<String>,
    /// For a restore in place: how the workload's pod mounts the volume.
    pub own_volume: Option<OwnVolume>,
}

/// The workload's own volume, whose files get no other group than the workload gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnVolume {
    pub fs_group: Option<i64>,
    pub fs_group_change_policy: Option<String>,
    /// Tells this restore from others onto the same volume.
    pub restore_id: String,
}

fn metadata(restore: &RestoreJob, name: &str) -> ObjectMeta {
    let mut metadata = job::metadata(name, &restore.namespace, (&restore.workload, "restore"));
    metadata.labels.get_or_insert_default().insert(LABEL_RESTORE.to_owned(), restore.restore.clone());
    let mut annotations = BTreeMap::from([
        (ANNOTATION_TARGET.to_owned(), restore.target.clone()),
        (ANNOTATION_PLAN_HASH.to_owned(), restore.plan_hash.clone()),
    ]);
    annotations.extend(restore.stateful_set.iter().map(|name| (ANNOTATION_STATEFUL_SET.to_owned(), name.clone())));
    annotations.extend(restore.own_volume.iter().map(|_| (ANNOTATION_IN_PLACE.to_owned(), "true".to_owned())));
    metadata.annotations = Some(annotations);
    metadata
}

/// The claim of the new volume. Nothing owns it: whatever deletes a Job must not delete data.
pub fn claim(job: &RestoreJob, claim: &Claim) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: metadata(job, &claim.name),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: claim.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(claim.size.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

/// The plan's ConfigMap. The Job's pod waits for it, so that it can be made after the Job and be owned by it.
pub fn plan_config_map(job: &RestoreJob, plan: &[u8]) -> ConfigMap {
    let (data, binary_data) = match (job.plan_compressed, std::str::from_utf8(plan)) {
        (false, Ok(text)) => (Some(BTreeMap::from([(plan_file(job), text.to_owned())])), None),
        _ => (None, Some(BTreeMap::from([(plan_file(job), ByteString(plan.to_vec()))]))),
    };
    ConfigMap { metadata: metadata(job, &job.name), immutable: Some(true), data, binary_data }
}

fn plan_file(job: &RestoreJob) -> String {
    if job.plan_compressed { "plan.json.gz".to_owned() } else { "plan.json".to_owned() }
}

/// The Job.
pub fn restore_job(job: &RestoreJob, claim_name: &str) -> Job {
    let mut command = vec![
        PROGRAM.to_owned(),
        "restore".to_owned(),
        format!("--archive={}", job.store.url),
        format!("--plan-file=/plan/{}", plan_file(job)),
        format!("--datadir={}", job.datadir),
        "--staging=/staging".to_owned(),
    ];
    let in_place = |own: &OwnVolume| ["--in-place".to_owned(), format!("--restore-id={}", own.restore_id)];
    command.extend(job.own_volume.iter().flat_map(in_place));
    command.extend_from_slice(&job.options);
    let mut main = Container {
        name: CONTAINER.to_owned(),
        image: Some(job.server.image.clone()),
        command: Some(command),
        env: Some(pod::environment(&job.store)),
        volume_mounts: Some(vec![
            VolumeMount { sub_path: job.sub_path.clone(), ..mount("data", &job.mount_path, false) },
            mount("plan", "/plan", true),
            mount("staging", "/staging", false),
        ]),
        ..Container::default()
    };
    let mut volumes = vec![
        Volume {
            name: "data".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name.to_owned(),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "plan".to_owned(),
            config_map: Some(ConfigMapVolumeSource { name: job.name.clone(), ..ConfigMapVolumeSource::default() }),
            ..Volume::default()
        },
        pod::empty_dir("staging"),
    ];
    if let Some(secret) = &job.identity_secret {
        pod::give_identity(&mut main, &mut volumes, secret);
    }
    let mut spec = pod::spec(main, volumes, &job.server, (&job.store, &job.image));
    if let (Some(own), Some(security)) = (&job.own_volume, &mut spec.security_context) {
        security.fs_group = own.fs_group;
        security.fs_group_change_policy.clone_from(&own.fs_group_change_policy);
    }
    job::job(metadata(job, &job.name), None, CONTAINER, spec)
}
