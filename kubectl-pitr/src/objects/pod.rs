//! What the pods of all our Jobs have in common. Each passes Pod Security "restricted".

use std::path::{Component, Path};

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, LocalObjectReference, PersistentVolumeClaimVolumeSource,
    PodSecurityContext, PodSpec, SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, Volume, VolumeMount,
};
use pitr_recovery::code;

use super::RESTORE_CONTAINER;
use crate::failure::Failure;
use crate::inject::sidecar::CREDENTIALS_DIRECTORY;
use crate::inject::survey::Owner;

/// How the archive's store is reached from inside the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Store {
    pub url: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    /// `always` or `never`, where it is not left to the sidecar.
    pub path_style: Option<String>,
    /// Certificates to trust for the endpoint: a file of the Secret, where it is mounted.
    pub ca_file: Option<String>,
    /// Checksum of uploads, encryption by the store and storage class, as the sidecar's configuration has them.
    pub checksum: Option<String>,
    pub sse: Option<String>,
    pub storage_class: Option<String>,
    /// Public keys that payloads are encrypted to, joined by commas, and the key of hashes: a file of the Secret.
    pub age_recipients: Option<String>,
    pub hash_key_file: Option<String>,
    /// Secret with one file a key; without it the pod's ServiceAccount is the identity.
    pub secret: Option<String>,
    /// The claim that holds a `file://` archive, and the directory it is mounted at.
    pub claim: Option<(String, String)>,
}

impl Store {
    /// Refuses certificates and keys that a Job's pod would not find: of all that a workload mounts, it has the Secret only.
    pub fn refuse_unseen_files(&self) -> Result<(), Failure> {
        if self.url.starts_with("file://") {
            return Ok(());
        }
        let certificates = self.ca_file.as_deref().map(|file| ("certificates", file));
        let key = self.sse.as_deref().and_then(|sse| sse.strip_prefix("c:")).map(|file| ("key", file));
        for (what, file) in certificates.into_iter().chain(key) {
            if self.secret.is_some() && is_in_secret(file) {
                continue;
            }
            let message = format!("the Job cannot read {}: its pod does not have the {what} \"{file}\"", self.url);
            let only =
                format!("a Job has the files of the Secret alone, in {CREDENTIALS_DIRECTORY}; nothing was created");
            return Err(Failure::new(code::NO_STORE_IDENTITY, message).hint(only));
        }
        Ok(())
    }
}

impl Store {
    /// Refuses a backup that could not encrypt: the key of hashes must be in the Secret, too.
    pub fn refuse_unseen_hash_key(&self) -> Result<(), Failure> {
        let Some(file) = self.hash_key_file.as_deref() else { return Ok(()) };
        if self.secret.is_some() && is_in_secret(file) {
            return Ok(());
        }
        let message = format!("the Job cannot encrypt: its pod does not have the key of hashes \"{file}\"");
        Err(Failure::new(code::NO_STORE_IDENTITY, message)
            .hint(format!("a Job has the files of the Secret alone, in {CREDENTIALS_DIRECTORY}; nothing was created"))
            .fix(format!(
                "put it into the Secret as key hash-key, and encryption.hash_key_file={CREDENTIALS_DIRECTORY}/hash-key"
            )))
    }
}

/// Whether a path is a file of the Secret, where that is mounted.
fn is_in_secret(file: &str) -> bool {
    Path::new(file).strip_prefix(CREDENTIALS_DIRECTORY).is_ok_and(|name| {
        let mut parts = name.components();
        matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none()
    })
}

/// What a Job copies from the workload, so that it runs where and as the workload does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Server {
    pub image: String,
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    pub node_selector: Option<std::collections::BTreeMap<String, String>>,
    pub tolerations: Option<Vec<Toleration>>,
    pub runtime_class: Option<String>,
    pub service_account: Option<String>,
    pub owner: Option<Owner>,
}

/// The init container that brings the program.
const INSTALL: &str = "install";
/// Volumes of a restore that work on its data alone needs; plan and credentials stay away from whoever may enter its pod.
const DATA_VOLUMES: [&str; 3] = ["data", "staging", "pitr"];

pub(super) const PROGRAM: &str = "/pitr/pitr-sidecar";
const PROGRAM_VOLUME: &str = "pitr";
const CREDENTIALS_VOLUME: &str = "pitr-s3";
const ARCHIVE_VOLUME: &str = "pitr-archive";
/// Where the identity is mounted, and which key of its Secret it is.
const IDENTITY_DIRECTORY: &str = "/etc/pitr-identity";
const IDENTITY_KEY: &str = "identity";

/// The pod of a Job: `main` runs in the server's image, with our program put there by an init container.
pub(super) fn spec(main: Container, volumes: Vec<Volume>, server: &Server, (store, image): (&Store, &str)) -> PodSpec {
    let mut main = main;
    main.volume_mounts.get_or_insert_default().push(mount(PROGRAM_VOLUME, "/pitr", true));
    let install = Container {
        name: INSTALL.to_owned(),
        image: Some(image.to_owned()),
        args: Some(vec!["install-self".to_owned(), "/pitr".to_owned()]),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![mount(PROGRAM_VOLUME, "/pitr", false)]),
        ..Container::default()
    };
    let mut volumes = volumes;
    volumes.push(empty_dir(PROGRAM_VOLUME));
    PodSpec { init_containers: Some(vec![install]), ..bare_spec(main, volumes, server, store) }
}

/// The pod of a Job that is one container and nothing else.
pub(super) fn bare_spec(main: Container, volumes: Vec<Volume>, server: &Server, store: &Store) -> PodSpec {
    let mut main = main;
    let mounts = main.volume_mounts.get_or_insert_default();
    if store.secret.is_some() {
        mounts.push(mount(CREDENTIALS_VOLUME, CREDENTIALS_DIRECTORY, true));
    }
    if let Some((_, directory)) = &store.claim {
        mounts.push(mount(ARCHIVE_VOLUME, directory, true));
    }
    main.security_context = Some(restricted());
    main.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    let mut all = volumes;
    all.extend(store.secret.as_deref().map(|name| secret(CREDENTIALS_VOLUME, name)));
    all.extend(store.claim.as_ref().map(|(name, _)| Volume {
        name: ARCHIVE_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name.clone(),
            read_only: Some(true),
        }),
        ..Volume::default()
    }));
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(server.owner)),
        containers: vec![main],
        volumes: Some(all),
        image_pull_secrets: server.image_pull_secrets.clone(),
        node_selector: server.node_selector.clone(),
        tolerations: server.tolerations.clone(),
        runtime_class_name: server.runtime_class.clone(),
        service_account_name: server.service_account.clone(),
        ..PodSpec::default()
    }
}

/// Leaves of a restore's pod what works on its data: its container, and what brings the program. Credentials go, and so does whatever was
/// laid over the Job and may know some. Gives the container; none where it is not a pod of ours.
pub(super) fn data_alone(spec: &mut PodSpec) -> Option<&mut Container> {
    let is_kept = |name: &str| DATA_VOLUMES.contains(&name);
    spec.volumes.iter_mut().for_each(|volumes| volumes.retain(|volume| is_kept(&volume.name)));
    spec.init_containers.iter_mut().for_each(|containers| containers.retain(|container| container.name == INSTALL));
    spec.containers.retain(|container| container.name == RESTORE_CONTAINER);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        container.env_from = None;
        container.env.iter_mut().for_each(|vars| vars.retain(|var| var.name == "TZ"));
        container.volume_mounts.iter_mut().for_each(|mounts| mounts.retain(|mount| is_kept(&mount.name)));
    }
    spec.containers.first_mut()
}

/// Lets the main container open an encrypted archive.
pub(super) fn give_identity(main: &mut Container, volumes: &mut Vec<Volume>, secret_name: &str) {
    let file = format!("{IDENTITY_DIRECTORY}/{IDENTITY_KEY}");
    let variable = EnvVar { name: "PITR_IDENTITY_FILE".to_owned(), value: Some(file), ..EnvVar::default() };
    main.env.get_or_insert_default().push(variable);
    main.volume_mounts.get_or_insert_default().push(mount("identity", IDENTITY_DIRECTORY, true));
    volumes.push(secret("identity", secret_name));
}

/// What every Job of ours is told about the store, never the credentials themselves.
pub(super) fn environment(store: &Store) -> Vec<EnvVar> {
    let var =
        |name: &str, value: &str| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() };
    let mut vars = vec![var("TZ", "UTC")];
    if store.secret.is_some() {
        vars.push(var("PITR_CREDENTIALS_FROM", &format!("file:{CREDENTIALS_DIRECTORY}")));
    }
    for (name, value) in [
        ("PITR_S3_REGION", &store.region),
        ("PITR_S3_ENDPOINT", &store.endpoint),
        ("PITR_S3_PATH_STYLE", &store.path_style),
        ("PITR_S3_CA_FILE", &store.ca_file),
        ("PITR_S3_CHECKSUM", &store.checksum),
        ("PITR_S3_SSE", &store.sse),
        ("PITR_S3_STORAGE_CLASS", &store.storage_class),
        ("PITR_ENCRYPTION_AGE_RECIPIENTS", &store.age_recipients),
        ("PITR_ENCRYPTION_HASH_KEY_FILE", &store.hash_key_file),
    ] {
        vars.extend(value.as_deref().map(|v| var(name, v)));
    }
    vars
}

/// A drained pod goes on elsewhere; a plan or a volume that cannot work does not become better by another try.
pub(super) fn failure_policy(container: &str) -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                    type_: "DisruptionTarget".to_owned(),
                    status: "True".to_owned(),
                }]),
                ..PodFailurePolicyRule::default()
            },
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                    container_name: Some(container.to_owned()),
                    operator: "In".to_owned(),
                    values: vec![64, 65, 66],
                }),
                ..PodFailurePolicyRule::default()
            },
        ],
    }
}

fn pod_security(owner: Option<Owner>) -> PodSecurityContext {
    let group = owner.map(|o| o.gid.unwrap_or(o.uid));
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: owner.map(|o| o.uid),
        run_as_group: group,
        // The new volume is ours, so its group may be set; a workload's volume never gets one from us.
        fs_group: group,
        fs_group_change_policy: group.map(|_| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

pub(super) fn empty_dir(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

pub(super) fn secret(name: &str, secret: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource { secret_name: Some(secret.to_owned()), ..SecretVolumeSource::default() }),
        ..Volume::default()
    }
}
