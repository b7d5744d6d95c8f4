//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use std::future::Future;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error;

/// Exit code of a run that was interrupted before it could end in order.
const INTERRUPTED: u8 = 130;

/// Drives `work` to its end. The first signal cancels `shutdown` and lets `work` go on; the second abandons it.
pub(crate) async fn until_second_signal<F>(shutdown: &CancellationToken, work: F) -> ExitCode
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(reason) => return error::report(&anyhow::Error::new(reason).context("listen for signals")),
    };
    let interrupted = async {
        let name = signals.next().await;
        tracing::info!(event = "signal", signal = name, "finishing the work in hand");
        shutdown.cancel();
        signals.next().await;
    };
    tokio::select! {
        result = work => match result {
            Ok(code) => code,
            Err(reason) => error::report(&reason),
        },
        () = interrupted => ExitCode::from(INTERRUPTED),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
