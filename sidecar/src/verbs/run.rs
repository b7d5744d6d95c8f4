//! `run` and `archive`: the archiver, with and without what shows its state.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::archiver::{Archiver, be_nice};
use crate::cli::{ArchiveOnceArgs, ConfigArgs};
use crate::config::{self, Config};
use crate::http::{self, Api, Audience};
use crate::output;
use crate::status::{Heart, Outlook};

/// Between two looks at a configuration that is not valid.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// The sidecar: archives and shows its state until told to stop.
pub(super) async fn run(args: &ConfigArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let Some(config) = configuration(args, context).await else { return Ok(ExitCode::SUCCESS) };
    let (listen, control) = (config.listen, config.control_listen);
    be_nice(config.pipeline.nice);
    let archiver = Archiver::new(config, context.clock.clone(), context.shutdown.clone());
    let heart = Heart { archiver: archiver.clone(), outlook: Outlook::default(), json_log: context.json_log };
    let api = Arc::new(Api::Sidecar(heart.clone()));
    // Those who show the state go last: they tell how it ended.
    let done = tokio_util::sync::CancellationToken::new();
    let archiving = async {
        let ended = archiver.run().await;
        done.cancel();
        ended
    };
    let probes = async {
        if let Some(address) = listen {
            http::serve(address, Arc::clone(&api), Audience::Everybody, &done).await;
        }
    };
    let controls = async {
        if let Some(address) = control {
            http::serve(address, Arc::clone(&api), Audience::Loopback, &done).await;
        }
    };
    let (ended, (), (), ()) = tokio::join!(archiving, heart.run(&done), probes, controls);
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration, read again until it is valid: a sidecar that ends again and again can keep its pod's server from starting.
async fn configuration(args: &ConfigArgs, context: &Context) -> Option<Config> {
    let mut said = None;
    loop {
        let failure = match config::load(&args.config) {
            Ok(config) => return Some(config),
            Err(failure) => failure,
        };
        let words = failure.to_string();
        if said.as_ref() != Some(&words) {
            tracing::error!(event = "bad-configuration", code = %failure.code(), "{words}");
            said = Some(words);
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return None,
            () = tokio::time::sleep(READ_AGAIN) => {}
        }
    }
}

/// One cycle, or cycles until told to stop, with no listener.
pub(super) async fn archive(args: &ArchiveOnceArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config.config)?;
    be_nice(config.pipeline.nice);
    let archiver = Archiver::new(config, context.clock.clone(), context.shutdown.clone());
    if !args.once {
        archiver.run().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let archiver = archiver.interactive();
    archiver.once().await?;
    let facts = archiver.board.read();
    if let Some(active) = &facts.active {
        output::print_line(&format!("archived up to {} position {}", active.binlog, active.shipped))?;
    }
    Ok(ExitCode::SUCCESS)
}
