//! `pitr-sidecar`: the agent of `kubectl pitr`.
//!
//! One static binary for three places: the sidecar in a database pod (`run`), the program inside Jobs (`backup`, `restore`),
//! and a tool for any Linux host. It has no Kubernetes access and needs none.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod allocator;
mod amounts;
mod archive_args;
mod archive_failure;
mod archiver;
mod backup;
mod cli;
mod clock;
mod config;
mod discovery;
mod encryption_args;
mod error;
mod http;
mod logging;
mod mysql;
mod output;
mod planning;
mod progress;
mod restore;
mod server;
mod signals;
mod status;
mod target_args;
mod termination;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Verb};
use crate::verbs::Context;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(&cli.logging);
    // Not where a server is started: it would inherit what suits us.
    if matches!(cli.verb, Verb::Run(_) | Verb::Archive(_) | Verb::Status(_) | Verb::Plan(_) | Verb::Get(_)) {
        allocator::settle();
    }
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return error::report(&anyhow::anyhow!("a TLS provider was installed before ours"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(reason) => return error::report(&anyhow::Error::new(reason).context("start the runtime")),
    };
    let context = Context::new(clock::system(), &cli.logging);
    let code = runtime.block_on(signals::until_second_signal(&context.shutdown, verbs::run(cli.verb, &context)));
    // Work that still blocks (a read of a stale mount) must not hold the exit back.
    runtime.shutdown_background();
    code
}
