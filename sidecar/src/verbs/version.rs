//! `version`: what this program is and which documents it speaks.

use std::process::ExitCode;

use crate::output;

/// Prints the version.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    output::print_line(&format!("pitr-sidecar {}", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitCode::SUCCESS)
}
