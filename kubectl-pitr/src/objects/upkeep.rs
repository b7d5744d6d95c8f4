//! Jobs that look after the archive itself: `verify` and `prune`. They need no server, so their pod is our own image alone.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Container, Volume};

use super::job;
use super::pod::{self, Server, Store, mount};

/// How long a finished Job stays, for whoever wants to read its log.
const KEPT_SECONDS: i32 = 3600;
/// Where the sidecar's configuration is mounted, whose `retention` section is the policy.
const POLICY_DIRECTORY: &str = "/etc/pitr";

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    Verify,
    Prune,
}

impl Upkeep {
    /// The sidecar's verb: also the Job's component and the name of its container.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Prune => "prune",
        }
    }
}

/// Everything that makes up such a Job.
#[derive(Debug, Clone, PartialEq)]
pub struct UpkeepJob {
    pub upkeep: Upkeep,
    pub name: String,
    pub namespace: String,
    pub workload: String,
    /// Options of the verb.
    pub options: Vec<String>,
    /// ConfigMap with the sidecar's configuration, where the verb reads a policy.
    pub policy: Option<String>,
    /// Secret with the identity that opens an encrypted archive, where payloads are read.
    pub identity_secret: Option<String>,
    pub image: String,
    /// Where and as whom the pod runs; its image is not used.
    pub server: Server,
    pub store: Store,
}

/// The Job.
pub fn upkeep_job(job: &UpkeepJob) -> Job {
    let verb = job.upkeep.verb();
    let mut arguments = vec![
        verb.to_owned(),
        format!("--archive={}", job.store.url),
        "--output=json".into(),
        "--log-format=json".into(),
    ];
    let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
    if let Some(policy) = &job.policy {
        arguments.push(format!("--policy={POLICY_DIRECTORY}/config.yaml"));
        mounts.push(mount("pitr-config", POLICY_DIRECTORY, true));
        volumes.push(Volume {
            name: "pitr-config".to_owned(),
            config_map: Some(ConfigMapVolumeSource { name: policy.clone(), ..ConfigMapVolumeSource::default() }),
            ..Volume::default()
        });
    }
    arguments.extend_from_slice(&job.options);
    let mut main = Container {
        name: verb.to_owned(),
        image: Some(job.image.clone()),
        args: Some(arguments),
        env: Some(pod::environment(&job.store)),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    if let Some(secret) = &job.identity_secret {
        pod::give_identity(&mut main, &mut volumes, secret);
    }
    let metadata = job::metadata(&job.name, &job.namespace, (&job.workload, verb));
    job::job(metadata, Some(KEPT_SECONDS), verb, pod::bare_spec(main, volumes, &job.server, &job.store))
}
