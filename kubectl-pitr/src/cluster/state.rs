//! The state of sidecars: by their log, which the stock role "view" may read; by port-forward; by exec.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::LogParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::Cluster;
use super::control::{Question, Reply};
use super::problem::short;
use crate::args::Via;
use crate::inject::sidecar::CONTAINER;

/// How many pods are asked at once.
const AT_ONCE: usize = 16;

/// A way to a sidecar's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Log,
    PortForward,
    Exec,
}

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::PortForward => "portforward",
            Self::Exec => "exec",
        }
    }

    fn of(via: Via) -> &'static [Self] {
        match via {
            // A Job reads the archive, which has no heartbeat: who asks for one all the same asks as ever.
            Via::Auto | Via::Job => &[Self::Log, Self::PortForward, Self::Exec],
            Via::Log => &[Self::Log],
            Via::Portforward => &[Self::PortForward],
            Via::Exec => &[Self::Exec],
        }
    }
}

/// A way that gave no answer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub transport: Transport,
    pub reason: String,
}

/// What one pod's sidecar said.
#[derive(Debug, Clone, PartialEq)]
pub struct PodState {
    pub pod: String,
    /// Its newest heartbeat.
    pub heartbeat: Option<Value>,
    pub silences: Vec<Silence>,
}

impl Cluster {
    /// The newest heartbeat of each pod that carries the sidecar.
    pub async fn pod_states(&self, pods: &[Pod], via: Via, limit: Duration) -> Vec<PodState> {
        futures::stream::iter(pods.iter().filter(|p| runs_sidecar(p)))
            .map(|pod| self.pod_state(pod, via, limit))
            .buffered(AT_ONCE)
            .collect()
            .await
    }

    async fn pod_state(&self, pod: &Pod, via: Via, limit: Duration) -> PodState {
        let cluster = match pod.namespace() {
            Some(namespace) => self.in_namespace(&namespace),
            None => self.clone(),
        };
        let name = pod.name_any();
        let mut silences = Vec::new();
        for transport in Transport::of(via) {
            match cluster.heartbeat_by(*transport, &name, limit).await {
                Ok(heartbeat) => return PodState { pod: name, heartbeat: Some(heartbeat), silences },
                Err(reason) => silences.push(Silence { transport: *transport, reason }),
            }
        }
        PodState { pod: name, heartbeat: None, silences }
    }

    async fn heartbeat_by(&self, transport: Transport, pod: &str, limit: Duration) -> Result<Value, String> {
        let question = Question { path: "/v1/status", body: None };
        let reply = match transport {
            Transport::Log => {
                let read = self.heartbeat_in_log(pod);
                return tokio::time::timeout(limit, read)
                    .await
                    .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
            }
            Transport::PortForward => self.ask_by_port_forward(pod, question, limit).await?,
            Transport::Exec => self.ask_by_exec(pod, question, limit).await?,
        };
        serde_json::from_slice(&reply.body).map_err(|_| "the answer is not JSON".to_owned())
    }

    async fn heartbeat_in_log(&self, pod: &str) -> Result<Value, String> {
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            tail_lines: Some(400),
            since_seconds: Some(120),
            limit_bytes: Some(256 << 10),
            ..LogParams::default()
        };
        let api: Api<Pod> = self.api();
        let text = api.logs(pod, &params).await.map_err(|e| short(&e))?;
        newest_heartbeat(&text).ok_or_else(|| "no heartbeat in the last 120s".to_owned())
    }

    /// Asks the sidecars one after the other until one answers.
    pub async fn ask(
        &self,
        pods: &[String],
        path: &str,
        body: Option<&str>,
        (via, limit): (Via, Duration),
    ) -> Result<Reply, Vec<(String, Silence)>> {
        let mut silences = Vec::new();
        for pod in pods {
            for transport in Transport::of(via).iter().filter(|t| **t != Transport::Log) {
                let question = Question { path, body };
                let answer = match transport {
                    Transport::Exec => self.ask_by_exec(pod, question, limit).await,
                    Transport::Log | Transport::PortForward => self.ask_by_port_forward(pod, question, limit).await,
                };
                match answer {
                    Ok(reply) => return Ok(reply),
                    Err(reason) => silences.push((pod.clone(), Silence { transport: *transport, reason })),
                }
            }
        }
        Err(silences)
    }
}

/// Whether the pod itself, not only the template, carries the sidecar: pods older than the injection do not.
pub fn runs_sidecar(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|c| c.name == CONTAINER)
}

/// Whether a pod is ready, and not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    ready(pod).is_some()
}

/// What says that a pod is ready; nothing while it is not, or on its way out.
pub fn ready(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let is_ready = |condition: &&PodCondition| condition.type_ == "Ready" && condition.status == "True";
    conditions.iter().find(is_ready).filter(|_| pod.metadata.deletion_timestamp.is_none())
}

/// The last line that is a heartbeat. Lines may be cut at either end, and other programs may write between them.
fn newest_heartbeat(log: &str) -> Option<Value> {
    log.lines().rev().filter(|l| l.contains("\"heartbeat\"")).find_map(|line| {
        let value: Value = serde_json::from_str(line.trim()).ok()?;
        (value["event"] == "heartbeat").then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_heartbeat_counts() {
        let log = "ng\"}\n{\"event\":\"heartbeat\",\"ts\":\"1\"}\nnot json \"heartbeat\"\n{\"event\":\"heartbeat\",\"ts\":\"2\"}\n\
                   {\"event\":\"archived\",\"note\":\"heartbeat\"}\n{\"event\":\"heartbeat\",\"ts\":\"3";
        assert_eq!(newest_heartbeat(log).unwrap()["ts"], "2");
        assert_eq!(newest_heartbeat(""), None);
    }
}
