//! A pod that serves a restored volume, read-only: the restore's own pod with another command, and without the store's credentials.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerPort, Pod, PodSpec, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::data_alone;
use super::{LABEL_RESTORE, labels};
use crate::inject::sidecar::LABEL_WORKLOAD;

/// Name of the container that serves.
pub const CONTAINER: &str = "serve";
/// Where the server listens in its pod.
pub const PORT: i32 = 3306;

/// `rescue-serve`
pub fn name(restore: &str) -> String {
    format!("{restore}-serve")
}

/// The pod; none where the Job has no pod of the form that we make.
pub fn pod(job: &Job, restore: &str) -> Option<Pod> {
    let template = &job.spec.as_ref()?.template;
    let mut spec: PodSpec = template.spec.clone()?;
    spec.restart_policy = Some("Always".to_owned());
    // On a managed Kubernetes a ServiceAccount may be the store's identity.
    spec.service_account_name = None;
    spec.service_account = None;
    let main = data_alone(&mut spec)?;
    let datadir = main.command.iter().flatten().find(|word| word.starts_with("--datadir="))?.clone();
    let program = main.command.iter().flatten().next()?.clone();
    main.command =
        Some(vec![program, "serve".to_owned(), datadir, "--staging=/staging".to_owned(), format!("--port={PORT}")]);
    CONTAINER.clone_into(&mut main.name);
    main.ports =
        Some(vec![ContainerPort { container_port: PORT, name: Some("mysql".to_owned()), ..ContainerPort::default() }]);
    main.readiness_probe = Some(Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(PORT), ..TCPSocketAction::default() }),
        period_seconds: Some(2),
        ..Probe::default()
    });
    let workload =
        job.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_WORKLOAD).cloned()).unwrap_or_default();
    let mut labels = labels(&workload, "serve");
    labels.insert(LABEL_RESTORE.to_owned(), restore.to_owned());
    Some(Pod {
        metadata: ObjectMeta {
            name: Some(name(restore)),
            namespace: job.metadata.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pod_has_the_data_and_no_credentials() {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": "rescue-r2", "namespace": "shop", "labels": {"kubectl-pitr/workload": "mysql"}},
            "spec": {"template": {"metadata": {}, "spec": {"restartPolicy": "Never",
                "serviceAccountName": "reads-the-bucket", "serviceAccount": "reads-the-bucket",
                "initContainers": [{"name": "install", "volumeMounts": [{"name": "pitr", "mountPath": "/pitr"}]},
                    {"name": "fetch-s3", "envFrom": [{"secretRef": {"name": "pitr-s3"}}]}],
                "containers": [{"name": "restore", "image": "mysql:9.7",
                    "command": ["/pitr/pitr-sidecar", "restore", "--archive=s3://b/p", "--datadir=/var/lib/mysql"],
                    "env": [{"name": "TZ", "value": "UTC"}, {"name": "PITR_CREDENTIALS_FROM", "value": "file:/etc/pitr-s3"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}, {"name": "plan", "mountPath": "/plan"},
                        {"name": "pitr-s3", "mountPath": "/etc/pitr-s3"}, {"name": "pitr", "mountPath": "/pitr"}],
                    "envFrom": [{"secretRef": {"name": "pitr-s3"}}]},
                    {"name": "proxy", "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "pitr-s3", "key": "k"}}}]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "rescue"}}, {"name": "plan"},
                    {"name": "pitr", "emptyDir": {}}, {"name": "pitr-s3", "secret": {"secretName": "pitr-s3"}}]}}}}))
        .unwrap();
        let pod = serde_json::to_value(pod(&job, "rescue").unwrap()).unwrap();
        let text = pod.to_string();
        assert!(!text.contains("s3") && !text.contains("plan") && !text.contains("bucket"), "{text}");
        assert_eq!(pod["metadata"]["name"], "rescue-serve");
        let count = |list: &str| pod["spec"][list].as_array().unwrap().len();
        assert_eq!((count("containers"), count("initContainers")), (1, 1), "{pod}");
        assert_eq!(
            pod["spec"]["containers"][0]["command"],
            json!(["/pitr/pitr-sidecar", "serve", "--datadir=/var/lib/mysql", "--staging=/staging", "--port=3306"])
        );
        assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "rescue");
    }
}
