//! A restore drill: one Job, in the server's image, with room for all of the data, which goes with the Job.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Container;

use super::backup::{Scratch, scratch_volume};
use super::job;
use super::pod::{self, PROGRAM, Server, Store, mount};

/// Name of the container that drills, of the sidecar's verb, and of the Job's component.
pub const COMPONENT: &str = "drill";
/// How long a finished Job stays, for whoever wants to read its log. Its volume is as large as the data: what the drill proved stays in
/// the archive.
const KEPT_SECONDS: i32 = 900;

/// Everything that makes up a drill.
#[derive(Debug, Clone, PartialEq)]
pub struct DrillJob {
    pub name: String,
    pub namespace: String,
    pub workload: String,
    /// Further options of the program.
    pub options: Vec<String>,
    /// Room for the whole server.
    pub scratch: Scratch,
    pub image: String,
    pub server: Server,
    pub store: Store,
    /// Secret with the identity that opens an encrypted archive.
    pub identity_secret: Option<String>,
}

/// The Job.
pub fn drill_job(job: &DrillJob) -> Job {
    let mut command = vec![
        PROGRAM.to_owned(),
        COMPONENT.to_owned(),
        format!("--archive={}", job.store.url),
        "--scratch=/scratch".to_owned(),
        "--staging=/staging".to_owned(),
        "--output=json".to_owned(),
    ];
    command.extend_from_slice(&job.options);
    let mut main = Container {
        name: COMPONENT.to_owned(),
        image: Some(job.server.image.clone()),
        command: Some(command),
        env: Some(pod::environment(&job.store)),
        volume_mounts: Some(vec![mount("scratch", "/scratch", false), mount("staging", "/staging", false)]),
        ..Container::default()
    };
    let mut volumes = vec![scratch_volume(&job.scratch), pod::empty_dir("staging")];
    if let Some(secret) = &job.identity_secret {
        pod::give_identity(&mut main, &mut volumes, secret);
    }
    let metadata = job::metadata(&job.name, &job.namespace, (&job.workload, COMPONENT));
    let spec = pod::spec(main, volumes, &job.server, (&job.store, &job.image));
    job::job(metadata, Some(KEPT_SECONDS), COMPONENT, spec)
}
