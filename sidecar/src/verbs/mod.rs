//! The verbs, one file each. `backup` and `restore` have rooms of their own.

mod install_self;
mod version;

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::cli::Verb;
use crate::clock::Clock;
use crate::logging::LoggingArgs;
use crate::{backup, restore};

/// What every verb is given.
#[derive(Clone)]
pub(crate) struct Context {
    /// The wall clock.
    pub(crate) clock: Clock,
    /// Cancelled by the first SIGTERM or SIGINT.
    pub(crate) shutdown: CancellationToken,
    /// Whether progress on standard error is read by a machine.
    pub(crate) json_log: bool,
}

impl Context {
    pub(crate) fn new(clock: Clock, logging: &LoggingArgs) -> Self {
        Self { clock, shutdown: CancellationToken::new(), json_log: logging.is_json() }
    }
}

/// Runs one verb to its exit code.
pub(crate) async fn run(verb: Verb, context: &Context) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Backup(args) => backup::run(args, context).await,
        Verb::Restore(args) => restore::run(args, context).await,
        Verb::InstallSelf(args) => install_self::run(&args),
        Verb::Version => version::run(),
        Verb::Run(_)
        | Verb::Archive(_)
        | Verb::Plan(_)
        | Verb::Status(_)
        | Verb::Inspect(_)
        | Verb::Get(_)
        | Verb::CheckConfig(_) => {
            anyhow::bail!("not in this build yet")
        }
    }
}
