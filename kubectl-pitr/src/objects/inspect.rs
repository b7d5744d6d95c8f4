//! The Job that answers one request of the control API straight from the archive, for when no sidecar can.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Container;

use super::job;
use super::pod::{self, Server, Store};

/// Component and name of the container.
pub const CONTAINER: &str = "inspect";
/// How long a finished Job stays that nobody deleted: its command does that as soon as it has read the answer.
const KEPT_SECONDS: i32 = 600;
/// A pod that nobody waits for any more does not run on.
const RUNS_SECONDS_MAX: i64 = 900;

/// Everything that makes up such a Job.
#[derive(Debug, Clone, PartialEq)]
pub struct InspectJob {
    pub name: String,
    pub namespace: String,
    pub workload: String,
    /// Path of the control API, with its query.
    pub path: String,
    /// A body makes it a POST.
    pub body: Option<String>,
    pub image: String,
    /// Where and as whom the pod runs; its image is not used.
    pub server: Server,
    pub store: Store,
}

/// The Job.
pub fn inspect_job(job: &InspectJob) -> Job {
    let mut arguments = vec![
        "get".to_owned(),
        job.path.clone(),
        format!("--archive={}", job.store.url),
        "--in-log".to_owned(),
        "--log-format=json".to_owned(),
    ];
    arguments.extend(job.body.as_ref().map(|body| format!("--data={body}")));
    let main = Container {
        name: CONTAINER.to_owned(),
        image: Some(job.image.clone()),
        args: Some(arguments),
        env: Some(pod::environment(&job.store)),
        ..Container::default()
    };
    let metadata = job::metadata(&job.name, &job.namespace, (&job.workload, CONTAINER));
    let spec = pod::bare_spec(main, Vec::new(), &job.server, &job.store);
    let mut made = job::job(metadata, Some(KEPT_SECONDS), CONTAINER, spec);
    made.spec.get_or_insert_default().active_deadline_seconds = Some(RUNS_SECONDS_MAX);
    made
}
