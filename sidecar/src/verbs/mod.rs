//! The verbs, one file each. `backup` and `restore` have rooms of their own.

mod cat;
mod check_config;
mod drill;
mod get;
mod inspect;
mod install_self;
mod plan;
mod prune;
mod run;
mod status;
mod verify;
mod version;

use std::process::ExitCode;
use std::sync::Arc;

use pitr_archive::{Archive, RetryPolicy};
use tokio_util::sync::CancellationToken;

use crate::archive_args::ArchiveArgs;
use crate::cli::Verb;
use crate::clock::Clock;
use crate::error::Rendered;
use crate::logging::LoggingArgs;
use crate::{backup, progress, restore, termination};

pub(crate) use drill::DrillArgs;

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
        Verb::Register(args) => backup::register(args, context).await,
        Verb::Restore(args) => restore::run(args, context).await,
        Verb::Abort(args) => restore::abort(&args, context).await,
        Verb::Finish(args) => restore::finish(&args, context).await,
        Verb::Serve(args) => restore::serve(&args, context).await,
        Verb::Drill(args) => drill::run(args, context).await,
        Verb::InstallSelf(args) => install_self::run(&args),
        Verb::Version => version::run(),
        Verb::Run(args) => run::run(&args, context).await,
        Verb::Archive(args) => run::archive(&args, context).await,
        Verb::Plan(args) => plan::run(&args, context).await,
        Verb::Verify(args) => leaving(verify::run(&args, context).await, context),
        Verb::Prune(args) => leaving(prune::run(&args, context).await, context),
        Verb::Status(args) => status::run(&args, context).await,
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Cat(args) => cat::run(&args, context).await,
        Verb::Get(args) => get::run(&args, context).await,
        Verb::CheckConfig(args) => check_config::run(&args),
    }
}

/// Leaves an error where whoever follows a Job finds it: as its last words, too.
fn leaving(outcome: anyhow::Result<ExitCode>, context: &Context) -> anyhow::Result<ExitCode> {
    if let (Err(error), true) = (&outcome, context.json_log) {
        let rendered = Rendered::of(error);
        let line = termination::fit(|limit| {
            serde_json::json!({
                "event": "verdict", "schemaVersion": 1, "result": "failed", "code": rendered.code,
                "message": termination::cut(&rendered.text(), limit),
            })
        });
        termination::leave(&line);
        progress::tell(&line);
    }
    outcome
}

/// Opens the archive that flags name, for somebody who waits.
async fn open(args: &ArchiveArgs, context: &Context) -> anyhow::Result<Archive> {
    open_for(args, RetryPolicy::interactive(), context).await
}

/// Opens it for work that may take hours.
async fn open_for_long(args: &ArchiveArgs, context: &Context) -> anyhow::Result<Archive> {
    open_for(args, RetryPolicy::persistent(), context).await
}

async fn open_for(args: &ArchiveArgs, patience: RetryPolicy, context: &Context) -> anyhow::Result<Archive> {
    let store = args.location()?.store(patience).await?;
    let clock = context.clock.clone();
    Ok(Archive::open(store, Arc::new(move || clock.now())).opened_by(args.identities()?))
}
