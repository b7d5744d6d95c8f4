//! `run` and `archive`: the archiver, with and without what shows its state.

mod reload;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Context;
use crate::archiver::{Archiver, be_nice};
use crate::cli::{ArchiveOnceArgs, ConfigArgs};
use crate::config::{self, Config};
use crate::error::Failure;
use crate::http::{self, Api, Audience};
use crate::output;
use crate::status::{Area, Heart, Outlook};

/// Between two looks at a configuration that is not valid.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// The sidecar: archives and shows its state until told to stop.
pub(super) async fn run(args: &ConfigArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let Some(mut config) = configuration(args, context).await else { return Ok(ExitCode::SUCCESS) };
    be_nice(config.pipeline.nice);
    loop {
        match turn(config, args, context).await? {
            Some(next) if !context.shutdown.is_cancelled() => config = next,
            Some(_) | None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Archives with one configuration. Another one ends this archiver, not the process: the next one finds in the archive what this one has
/// done. `None`: told to stop.
async fn turn(config: Config, args: &ConfigArgs, context: &Context) -> Result<Option<Config>, Failure> {
    let ends = context.shutdown.child_token();
    let heart = heart(config, context, ends.clone());
    // Those who show the state go last: they tell how it ended.
    let done = CancellationToken::new();
    let archiving = async {
        let ended = heart.archiver.run().await;
        done.cancel();
        ended
    };
    let changing = async {
        let changed = reload::changed(&args.config, &heart, &ends).await;
        ends.cancel();
        changed
    };
    let (ended, changed, ()) = tokio::join!(archiving, changing, show(&heart, &done));
    ended.map(|()| changed)
}

fn heart(config: Config, context: &Context, shutdown: CancellationToken) -> Heart {
    let archiver = Archiver::new(config, context.clock.clone(), shutdown);
    Heart { archiver, outlook: Outlook::default(), json_log: context.json_log }
}

/// Shows a state: by heartbeats, to probes and metrics, and to the plugin.
async fn show(heart: &Heart, done: &CancellationToken) {
    let api = Arc::new(Api::Sidecar(heart.clone()));
    let config = heart.archiver.config();
    let serve = async |address: Option<_>, audience| {
        if let Some(address) = address {
            http::serve(address, Arc::clone(&api), audience, done).await;
        }
    };
    let probes = serve(config.listen, Audience::Everybody);
    let controls = serve(config.control_listen, Audience::Loopback);
    let ((), (), ()) = tokio::join!(heart.run(done), probes, controls);
}

/// The configuration, read again until it is valid: a sidecar that ends again and again can keep its pod's server from starting. Until
/// then it lives, and shows what is wrong.
async fn configuration(args: &ConfigArgs, context: &Context) -> Option<Config> {
    if let Ok(config) = config::load(&args.config) {
        return Some(config);
    }
    let Some(remains) = config::remains(&args.config) else {
        let wrong = |failure: Failure| tracing::error!(event = "problem", code = %failure.code(), "{failure}");
        return mended(args, context, &wrong).await;
    };
    let heart = heart(remains, context, context.shutdown.clone());
    let wrong = |failure: Failure| heart.archiver.board.fail(Area::Configuration, failure);
    let done = CancellationToken::new();
    let mending = async {
        let config = mended(args, context, &wrong).await;
        done.cancel();
        config
    };
    let (config, ()) = tokio::join!(mending, show(&heart, &done));
    config
}

/// Reads the configuration until it is valid. `None`: told to stop.
async fn mended(args: &ConfigArgs, context: &Context, wrong: &dyn Fn(Failure)) -> Option<Config> {
    let mut said = None;
    loop {
        let failure = match config::load(&args.config) {
            Ok(config) => return Some(config),
            Err(failure) => failure,
        };
        let words = failure.to_string();
        if said.as_ref() != Some(&words) {
            said = Some(words);
            wrong(failure);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    async fn ask(address: std::net::SocketAddr, path: &str) -> Option<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// Asks until there is an answer.
    async fn answered(address: std::net::SocketAddr, path: &str) -> String {
        loop {
            match ask(address, path).await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// An address that is free now.
    fn free() -> std::net::SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_control_address_that_is_refused_is_shown_where_everything_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let listen = free();
        let archive = format!("workload: shop/mysql\nlisten: {listen}\narchive: file://{}\n", folder.path().display());
        std::fs::write(&file, format!("{archive}control_listen: 0.0.0.0:{}\n", free().port())).unwrap();
        let shutdown = CancellationToken::new();
        let context = Context { clock: clock::system(), shutdown: shutdown.clone(), json_log: true };
        let args = ConfigArgs { config: file };
        let asking = async {
            let alive = tokio::time::timeout(Duration::from_secs(20), answered(listen, "/livez")).await.unwrap();
            let ready = answered(listen, "/readyz").await;
            shutdown.cancel();
            assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
            assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("from outside the pod"), "{ready}");
        };
        let (config, ()) = tokio::join!(configuration(&args, &context), asking);
        assert!(config.is_none());
    }

    #[tokio::test]
    async fn a_sidecar_with_a_bad_configuration_lives_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let (listen, control) = (free(), free());
        let listens = format!("workload: shop/mysql\nlisten: {listen}\ncontrol_listen: {control}\n");
        std::fs::write(&file, format!("{listens}schedule: {{tail_intervall: 5s}}\n")).unwrap();
        let shutdown = CancellationToken::new();
        let context = Context { clock: clock::system(), shutdown: shutdown.clone(), json_log: true };
        let args = ConfigArgs { config: file.clone() };
        let asking = async {
            let alive = answered(listen, "/livez").await;
            assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
            let ready = ask(listen, "/readyz").await.unwrap();
            assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("tail_intervall"), "{ready}");
            let status = ask(control, "/v1/status").await.unwrap();
            assert!(status.contains(r#""codes":["PITR0209"]"#) && status.contains(r#""state":"degraded""#), "{status}");
            assert!(status.contains(r#""workload":"shop/mysql""#), "{status}");
            // Once it is right, it is taken.
            std::fs::write(&file, format!("{listens}archive: file://{}\n", folder.path().display())).unwrap();
        };
        let (config, ()) = tokio::join!(configuration(&args, &context), asking);
        assert_eq!(config.unwrap().workload, "shop/mysql");
        std::fs::write(&file, "workload: [").unwrap();
        shutdown.cancel();
        assert!(configuration(&args, &context).await.is_none());
    }
}
