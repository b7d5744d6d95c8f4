//! `kubectl-pitr`: see the library. Here only what a process has once: its TLS provider, its clock, its arguments.

use std::process::ExitCode;

use kubectl_pitr::program::{self, Process};

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(reason) => {
            eprintln!("error: start the runtime: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let process = Process {
        arguments: std::env::args_os().collect(),
        environment: |name| std::env::var(name).ok(),
        clock: jiff::Timestamp::now,
    };
    let code = runtime.block_on(program::run(process));
    // Blocked reads of stdin and the like must not keep a finished command alive.
    runtime.shutdown_background();
    code
}
