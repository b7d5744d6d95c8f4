//! The Kubernetes API: every call of the plugin is made below this module.

mod access;
mod apply;
mod connect;
mod control;
mod follow;
mod hindrance;
mod jobs;
mod logs;
mod problem;
mod scale;
mod secrets;
mod state;
mod workloads;

pub use access::{Need, missing, require};
pub use apply::{ApplyOptions, FIELD_MANAGER};
pub use connect::{connect, namespace_of_context};
pub use control::{Notes, Reply};
pub use follow::{Ended, JobEnd, Sign, Watching, finished, termination, verdict_in};
pub use hindrance::{Hindrance, Waiting};
pub use jobs::DryMode;
pub use logs::LogPart;
pub use secrets::Presence;
pub use state::{PodState, Silence, Transport, is_ready, ready, runs_sidecar};
pub use workloads::{Selection, Workload, WorkloadName};

/// A cluster and the namespace that commands mean.
#[derive(Clone)]
pub struct Cluster {
    /// With a limit on the time between two bytes of a reply.
    client: kube::Client,
    /// Without one: for log streams and port-forwards, which may be silent for long.
    patient: kube::Client,
    namespace: String,
}

impl Cluster {
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same cluster, another namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    fn api<K>(&self) -> kube::Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        kube::Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn patient_api<K>(&self) -> kube::Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        kube::Api::namespaced(self.patient.clone(), &self.namespace)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
