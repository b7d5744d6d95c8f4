use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::client::duration;

/// Flags that every command knows.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Output format: table, wide, json, yaml, name or jsonpath=TEMPLATE, as far as the command has them
    #[arg(short = 'o', long, global = true, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Colour: auto (only at a terminal), always, or never [default: auto]
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    pub color: Option<ColourChoice>,
    /// Show times of plans and timelines in this zone as well (input always carries its own offset)
    #[arg(long, global = true, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// Log level on stderr, 0 to 9, as kubectl has it
    #[arg(short = 'v', long = "v", global = true, value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// The shapes of a read command's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

impl OutputFormat {
    /// Text for people, as against documents for programs.
    pub fn is_text(self) -> bool {
        match self {
            Self::Table | Self::Wide => true,
            Self::Json | Self::Yaml | Self::Name => false,
        }
    }
}

/// How to reach a sidecar's state.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Way to the state")]
pub struct StateArgs {
    /// Way to the sidecar's state: auto tries the log, then port-forward, then exec. "job" asks no sidecar: a Job reads the archive and is
    /// deleted when it has answered (needs jobs create,get,delete; configmaps get)
    #[arg(long, value_enum, default_value = "auto", value_name = "WAY")]
    pub via: Via,
    /// Time limit of each way and pod; a Job has at least 2m, as its pod has to start
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub via_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    Auto,
    Log,
    Portforward,
    Exec,
    Job,
}
