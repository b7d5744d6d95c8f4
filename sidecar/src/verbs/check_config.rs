//! `check-config`: what a configuration file means, or what is wrong with it.

use std::process::ExitCode;

use crate::cli::CheckConfigArgs;
use crate::config::{self, Origin};
use crate::output;

/// Prints every setting with its origin.
pub(super) fn run(args: &CheckConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.file)?;
    for (path, setting) in &config.settings {
        let origin = match &setting.origin {
            Origin::Default => "default".to_owned(),
            Origin::File => "file".to_owned(),
            Origin::Environment(name) => name.clone(),
        };
        output::print_line(&format!("{path}: {}   # {origin}: {}", setting.value, config::about(path)))?;
    }
    Ok(ExitCode::SUCCESS)
}
