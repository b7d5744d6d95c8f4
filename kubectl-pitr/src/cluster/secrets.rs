//! Whether a Secret is there. Its data is never asked for. Its metadata is, which the API server gives whole: of a Secret that was made with
//! `kubectl apply` the annotation `last-applied-configuration` repeats the data. Nothing of the metadata is looked at or shown.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::Cluster;
use super::problem::short;

/// What a look at an object's name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    There,
    Absent,
    /// Nobody can say, and why: most may not look at Secrets, and nothing here needs that right.
    Unseen(String),
}

impl Cluster {
    /// Whether the namespace has this Secret, by its metadata alone.
    pub async fn secret(&self, name: &str) -> Presence {
        let api: Api<Secret> = self.api();
        match api.get_metadata_opt(name).await {
            Ok(Some(_)) => Presence::There,
            Ok(None) => Presence::Absent,
            Err(error) => Presence::Unseen(short(&error)),
        }
    }
}
