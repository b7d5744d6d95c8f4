//! Logs of containers, line by line.

use futures::stream::BoxStream;
use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::Cluster;
use super::problem::Call;
use crate::failure::Failure;

/// Which part of a log.
#[derive(Debug, Clone, Copy)]
pub struct LogPart<'a> {
    pub container: &'a str,
    pub follow: bool,
    pub since_seconds: Option<i64>,
    /// So many of the newest lines; all of them without it.
    pub tail: Option<i64>,
}

impl Cluster {
    /// The lines of one container's log. A log that breaks off just ends.
    pub async fn log_lines(&self, pod: &str, part: LogPart<'_>) -> Result<BoxStream<'static, String>, Failure> {
        let params = LogParams {
            container: Some(part.container.to_owned()),
            follow: part.follow,
            since_seconds: part.since_seconds,
            tail_lines: part.tail,
            ..LogParams::default()
        };
        let api: Api<Pod> = self.patient_api();
        let call = Call { verb: "get", resource: "pods/log", name: pod, namespace: self.namespace() };
        let stream = api.log_stream(pod, &params).await.map_err(|e| call.failed(&e))?;
        Ok(stream.lines().take_while(|line| std::future::ready(line.is_ok())).filter_map(|l| async { l.ok() }).boxed())
    }
}
