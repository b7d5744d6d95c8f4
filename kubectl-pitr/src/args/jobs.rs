use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::duration;

/// What the pod of a Job runs, and as whom it reaches the store.
#[derive(Debug, Clone, Default, Args)]
pub struct PodArgs {
    /// Image of pitr-sidecar [default: the one that the workload's sidecar runs]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// ServiceAccount of the Job's pod [default: the workload's own]
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// Secret with the store's credentials [default: the one that the workload's sidecar mounts]
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
}

/// What every command that creates a Job understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Job")]
pub struct JobArgs {
    #[command(flatten)]
    pub pod: PodArgs,
    /// Image of the MySQL server [default: the workload's own]
    #[arg(long, value_name = "IMAGE")]
    pub server_image: Option<String>,
    /// Fields of the Job that are to be otherwise, as JSON that is laid over it: containers and volumes by name, a nodeSelector whole
    /// (--dry-run=client shows them). What the Job is found by, works on and does stays
    #[arg(long, value_name = "JSON", value_parser = overrides)]
    pub overrides: Option<Value>,
    /// Wait for the end and show progress
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub wait: bool,
    /// Stop waiting after this time; the Job runs on
    #[arg(long, default_value = "6h", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// Print or check the objects and create nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: DryRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    None,
    Client,
    Server,
}

/// An object as JSON.
fn overrides(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(reason) => Err(format!("not JSON: {reason}")),
    }
}
