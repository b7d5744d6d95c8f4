//! A base backup: one Job, in the server's image, with room for the copy.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, EphemeralVolumeSource, PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, Volume,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::job;
use super::pod::{self, PROGRAM, Server, Store, mount};

/// Name of the container that backs up.
pub const CONTAINER: &str = "backup";
/// How long a finished Job stays, for whoever wants to read its log: its scratch volume goes with the pod, and the pod with it.
const KEPT_SECONDS: i32 = 900;
/// Where the Secret with the client option file is mounted.
const ACCOUNT_DIRECTORY: &str = "/etc/pitr-mysql";

/// Room for a copy before it is uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scratch {
    /// The node's own disk: for small copies only, a large one would fill the node.
    Node,
    /// A volume that comes and goes with the pod.
    Volume { size: String, storage_class: Option<String> },
}

impl fmt::Display for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("on the node's disk"),
            Self::Volume { size, storage_class } => {
                write!(f, "{size} {}, deleted with the pod", storage_class.as_deref().unwrap_or("default class"))
            }
        }
    }
}

/// Everything that makes up a base backup.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupJob {
    pub name: String,
    pub namespace: String,
    pub workload: String,
    /// What the archive belongs to, as the sidecar's configuration has it: `shop/mysql`.
    pub archive_of: String,
    pub method: String,
    pub host: String,
    pub port: u16,
    pub mysql_secret: String,
    pub scratch: Scratch,
    pub image: String,
    pub server: Server,
    pub store: Store,
}

/// The Job.
pub fn backup_job(job: &BackupJob) -> Job {
    let main = Container {
        name: CONTAINER.to_owned(),
        image: Some(job.server.image.clone()),
        command: Some(vec![
            PROGRAM.to_owned(),
            "backup".to_owned(),
            format!("--archive={}", job.store.url),
            format!("--method={}", job.method),
            format!("--mysql={ACCOUNT_DIRECTORY}/my.cnf"),
            format!("--mysql-host={}", job.host),
            format!("--mysql-port={}", job.port),
            "--scratch=/scratch".to_owned(),
        ]),
        env: Some({
            let mut vars = pod::environment(&job.store);
            vars.push(k8s_openapi::api::core::v1::EnvVar {
                name: "PITR_WORKLOAD".to_owned(),
                value: Some(job.archive_of.clone()),
                ..Default::default()
            });
            vars
        }),
        volume_mounts: Some(vec![mount("scratch", "/scratch", false), mount("pitr-mysql", ACCOUNT_DIRECTORY, true)]),
        ..Container::default()
    };
    let volumes = vec![scratch_volume(&job.scratch), pod::secret("pitr-mysql", &job.mysql_secret)];
    let metadata = job::metadata(&job.name, &job.namespace, (&job.workload, "backup"));
    let spec = pod::spec(main, volumes, &job.server, (&job.store, &job.image));
    job::job(metadata, Some(KEPT_SECONDS), CONTAINER, spec)
}

/// The volume `scratch`.
pub(super) fn scratch_volume(scratch: &Scratch) -> Volume {
    match scratch {
        Scratch::Node => pod::empty_dir("scratch"),
        Scratch::Volume { size, storage_class } => Volume {
            name: "scratch".to_owned(),
            ephemeral: Some(EphemeralVolumeSource {
                volume_claim_template: Some(PersistentVolumeClaimTemplate {
                    spec: PersistentVolumeClaimSpec {
                        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                        storage_class_name: storage_class.clone(),
                        resources: Some(VolumeResourceRequirements {
                            requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.clone()))])),
                            ..VolumeResourceRequirements::default()
                        }),
                        ..PersistentVolumeClaimSpec::default()
                    },
                    ..PersistentVolumeClaimTemplate::default()
                }),
            }),
            ..Volume::default()
        },
    }
}
