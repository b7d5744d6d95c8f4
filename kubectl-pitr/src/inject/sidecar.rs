//! The objects that make up the sidecar: container, volumes, ConfigMap.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::settings::Settings;
use super::survey::{Owner, Survey};

/// Name of the sidecar's container, by which it is found again.
pub const CONTAINER: &str = "pitr";
/// Names of the volumes that belong to it.
pub const VOLUMES: [&str; 2] = ["pitr-config", "pitr-s3"];
pub const LABEL_WORKLOAD: &str = "kubectl-pitr/workload";
pub const LABEL_MANAGED: &str = "app.kubernetes.io/managed-by";
pub const MANAGER: &str = "kubectl-pitr";
pub const ANNOTATION_CONFIG: &str = "kubectl-pitr/config-hash";
/// On the ConfigMap: the Secret that base backups take their account from.
pub const ANNOTATION_MYSQL_SECRET: &str = "kubectl-pitr/mysql-secret";
/// On a StatefulSet whose rollout is held back: the partition that it had before, and gets again.
pub const ANNOTATION_PARTITION: &str = "kubectl-pitr/partition-before";
/// On a StatefulSet with an injection that no pod has proven yet: what that took the place of.
pub const ANNOTATION_BEFORE: &str = "kubectl-pitr/injection-before";
/// How the sidecar is told where its configuration is.
pub const CONFIG_FLAG: &str = "--config=/etc/pitr/config.yaml";
/// Where credentials are mounted, one file a key.
pub const CREDENTIALS_DIRECTORY: &str = "/etc/pitr-s3";
/// Where the account is mounted that reads a server over a connection.
pub const MYSQL_DIRECTORY: &str = "/etc/pitr-mysql";
const MYSQL_VOLUME: &str = "pitr-mysql";

/// Everything that goes into a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    pub workload: String,
    pub container: Value,
    pub native: bool,
    pub volumes: Vec<Value>,
    pub config_hash: String,
    pub config_map: Value,
}

impl Injection {
    /// The list of the pod spec that the container goes into.
    pub fn list(&self) -> &'static str {
        if self.native { "initContainers" } else { "containers" }
    }

    /// Our own entries only: what is applied with our field manager, and what `-o patch` prints.
    pub fn patch(&self, kind_and_name: &Value) -> Value {
        let mut patch = kind_and_name.clone();
        let mut spec = json!({"volumes": self.volumes});
        spec[self.list()] = json!([self.container]);
        patch["spec"]["template"] = json!({
            "metadata": {
                "labels": {LABEL_WORKLOAD: self.workload},
                "annotations": {ANNOTATION_CONFIG: self.config_hash},
            },
            "spec": spec,
        });
        patch
    }
}

/// Builds the objects of one workload.
pub fn injection(
    name: &str,
    namespace: Option<&str>,
    survey: &Survey,
    owner: Owner,
    settings: &Settings,
) -> Result<Injection> {
    let config = settings.config(name, namespace, survey)?;
    let config_hash = hash(&config)?;
    let config = super::tree::emit(&config)?;
    Ok(Injection {
        workload: name.to_owned(),
        container: serde_json::to_value(container(survey, owner, settings)).context("write the container")?,
        native: settings.native,
        volumes: volumes(name, settings).context("write the volumes")?,
        config_hash,
        config_map: config_map(name, namespace, config, settings)?,
    })
}

/// The SHA-256 of the configuration but for its pins. In the pod template the hash restarts the pods whenever anything else in it changes:
/// some keys only a start takes.
fn hash(config: &Value) -> Result<String> {
    let mut config = config.clone();
    if let Some(retention) = config["retention"].as_object_mut() {
        retention.remove("pins");
    }
    Ok(Sha256::digest(super::tree::emit(&config)?).iter().map(|b| format!("{b:02x}")).collect())
}

/// The name of the ConfigMap of a workload's sidecars.
pub fn config_map_name(workload: &str) -> String {
    format!("pitr-{workload}")
}

fn config_map(name: &str, namespace: Option<&str>, config: String, settings: &Settings) -> Result<Value> {
    let labels =
        BTreeMap::from([(LABEL_MANAGED.to_owned(), MANAGER.to_owned()), (LABEL_WORKLOAD.to_owned(), name.to_owned())]);
    let annotations =
        settings.mysql_secret.as_ref().map(|s| BTreeMap::from([(ANNOTATION_MYSQL_SECRET.to_owned(), s.clone())]));
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(config_map_name(name)),
            namespace: namespace.map(str::to_owned),
            labels: Some(labels),
            annotations,
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("config.yaml".to_owned(), config)])),
        ..ConfigMap::default()
    };
    serde_json::to_value(object).context("write the ConfigMap")
}

fn volumes(name: &str, settings: &Settings) -> Result<Vec<Value>, serde_json::Error> {
    let config = Volume {
        name: VOLUMES[0].to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: config_map_name(name), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    let secret = |name: &str, secret: &String| Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource { secret_name: Some(secret.clone()), ..SecretVolumeSource::default() }),
        ..Volume::default()
    };
    let store = settings.secret.as_ref().map(|name| secret(VOLUMES[1], name));
    let account = settings.stream.as_ref().map(|stream| secret(MYSQL_VOLUME, &stream.secret));
    std::iter::once(config).chain(store).chain(account).map(serde_json::to_value).collect()
}

fn container(survey: &Survey, owner: Owner, settings: &Settings) -> Container {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let mut mounts = survey.mounts.clone();
    mounts.push(mount(VOLUMES[0], "/etc/pitr"));
    if settings.secret.is_some() {
        mounts.push(mount(VOLUMES[1], CREDENTIALS_DIRECTORY));
    }
    if settings.stream.is_some() {
        mounts.push(mount(MYSQL_VOLUME, MYSQL_DIRECTORY));
    }
    Container {
        name: CONTAINER.to_owned(),
        image: Some(settings.image.clone()),
        restart_policy: settings.native.then(|| "Always".to_owned()),
        args: Some(vec!["run".to_owned(), CONFIG_FLAG.to_owned()]),
        env: Some(vec![
            EnvVar {
                name: "POD_NAME".to_owned(),
                value_from: Some(EnvVarSource {
                    field_ref: Some(ObjectFieldSelector {
                        field_path: "metadata.name".to_owned(),
                        ..ObjectFieldSelector::default()
                    }),
                    ..EnvVarSource::default()
                }),
                ..EnvVar::default()
            },
            EnvVar { name: "TZ".to_owned(), value: Some("UTC".to_owned()), ..EnvVar::default() },
        ]),
        ports: Some(vec![ContainerPort {
            name: Some("pitr-metrics".to_owned()),
            container_port: 9399,
            ..ContainerPort::default()
        }]),
        liveness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/livez".to_owned()),
                port: IntOrString::String("pitr-metrics".to_owned()),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(30),
            failure_threshold: Some(10),
            ..Probe::default()
        }),
        resources: Some(resources()),
        security_context: Some(security(owner)),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// What the sidecar's container may take.
pub const MEMORY_LIMIT: &str = "192Mi";

/// No CPU limit: throttling delays archiving.
fn resources() -> ResourceRequirements {
    let quantity = |q: &str| Quantity(q.to_owned());
    ResourceRequirements {
        requests: Some(BTreeMap::from([
            ("cpu".to_owned(), quantity("50m")),
            ("memory".to_owned(), quantity(MEMORY_LIMIT)),
        ])),
        limits: Some(BTreeMap::from([("memory".to_owned(), quantity(MEMORY_LIMIT))])),
        ..ResourceRequirements::default()
    }
}

/// What Pod Security "restricted" asks of a container, as the user that owns the binlogs.
fn security(owner: Owner) -> SecurityContext {
    SecurityContext {
        run_as_non_root: (owner.uid != 0).then_some(true),
        run_as_user: Some(owner.uid),
        run_as_group: owner.gid,
        read_only_root_filesystem: Some(true),
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..SecurityContext::default()
    }
}
