//! `version`: ours, and those of the sidecars that run in the namespace.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::args::{OutputFormat, VersionArgs, Via};
use crate::cluster::Selection;
use crate::failure::Failure;
use crate::session::Session;
use crate::state::SCHEMA_VERSION;

/// How long one sidecar may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The sidecars of the namespace.
async fn running(session: &Session) -> Result<Vec<Value>> {
    let mut sidecars = Vec::new();
    let cluster = session.cluster().await?;
    for workload in cluster.archived_workloads(Selection::default()).await? {
        for state in cluster.pod_states(&workload.pods, Via::Auto, LIMIT).await {
            let heartbeat = state.heartbeat.unwrap_or_default();
            sidecars.push(json!({
                "pod": state.pod,
                "version": heartbeat["version"],
                "schemaVersion": heartbeat["schemaVersion"],
            }));
        }
    }
    Ok(sidecars)
}

pub async fn run(session: &Session, args: &VersionArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    if format == OutputFormat::Name {
        return Err(Failure::usage("version has no output format \"name\"").hint("table, json, yaml").into());
    }
    let own = json!({"version": env!("CARGO_PKG_VERSION"), "schemaVersion": SCHEMA_VERSION});
    let mut sidecars = Vec::new();
    if !args.client {
        match running(session).await {
            Ok(found) => sidecars = found,
            // Our own version is known all the same.
            Err(reason) => session.tell(&format!("warning: the sidecars' versions are not known: {reason}")),
        }
    }
    if !format.is_text() {
        let mut document = json!({"apiVersion": "kubectl-pitr/v1", "kind": "Version", "client": own});
        if !args.client {
            document["sidecars"] = json!(sidecars);
        }
        session.print_document(&document, format)?;
        return Ok(0);
    }
    let mut text = format!("kubectl-pitr {} (schema {SCHEMA_VERSION})\n", env!("CARGO_PKG_VERSION"));
    for sidecar in &sidecars {
        let version = sidecar["version"].as_str().unwrap_or("-");
        text.push_str(&format!(
            "pod/{}: pitr-sidecar {version} (schema {})\n",
            sidecar["pod"].as_str().unwrap_or_default(),
            sidecar["schemaVersion"].as_u64().map_or_else(|| "-".to_owned(), |s| s.to_string()),
        ));
    }
    session.print(&text).map(|()| 0)
}
