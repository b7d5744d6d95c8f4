//! What a probe of the store found: `POST /v1/check`.

use serde::{Deserialize, Serialize};

use super::{API_VERSION, SCHEMA_VERSION};
use crate::{Operation, Probe, ProbeStep, StoreError};

/// The calls that a sidecar made to its store a moment ago.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreCheckDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `StoreCheck`
    pub kind: String,
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The archive's URL.
    pub archive: String,
    /// The object that was written.
    pub key: String,
    /// The calls, in the order in which they were made.
    pub steps: Vec<StoreStep>,
    /// How far the store's clock is ahead of the sidecar's, in seconds.
    pub clock_ahead_seconds: Option<f64>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStep {
    /// `put`, `get`, `head`, `list` or `delete`.
    pub operation: String,
    /// The action that a policy must grant for it: `PutObject`.
    pub action: String,
    /// Whether it went well.
    pub ok: bool,
    /// How long the answer took, in milliseconds.
    pub took_milliseconds: u64,
    /// Whether the store denied it.
    pub denied: bool,
    /// Why it is not well.
    pub reason: Option<String>,
}

impl StoreCheckDocument {
    /// Of a probe.
    #[must_use]
    pub fn new(probe: &Probe, archive: String) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "StoreCheck".to_owned(),
            schema_version: SCHEMA_VERSION,
            archive,
            key: probe.key.clone(),
            steps: probe.steps.iter().map(StoreStep::from).collect(),
            clock_ahead_seconds: probe.clock_ahead.map(|ahead| ahead.as_secs_f64()),
        }
    }
}

impl From<&ProbeStep> for StoreStep {
    fn from(step: &ProbeStep) -> Self {
        let operation = match step.operation {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::List => "list",
            Operation::Delete => "delete",
        };
        Self {
            operation: operation.to_owned(),
            action: step.operation.action().to_owned(),
            ok: step.failure.is_none(),
            took_milliseconds: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
            denied: matches!(step.failure, Some(StoreError::Denied { .. })),
            reason: step.failure.as_ref().map(ToString::to_string),
        }
    }
}
