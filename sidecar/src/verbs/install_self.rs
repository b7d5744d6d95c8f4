//! `install-self`: copies the running program into a directory, for Jobs that run it inside the workload's own image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::InstallSelfArgs;

/// Copies under another name first and renames: a pod that starts meanwhile never runs half a program.
pub(crate) fn run(args: &InstallSelfArgs) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("find this program")?;
    let part = args.directory.join(".pitr-sidecar.part");
    let installed = args.directory.join("pitr-sidecar");
    fs::copy(&program, &part).with_context(|| format!("copy the program to \"{}\"", part.display()))?;
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).context("make the program executable")?;
    fs::rename(&part, &installed).with_context(|| format!("rename the program to \"{}\"", installed.display()))?;
    Ok(ExitCode::SUCCESS)
}
