//! `s3-server`: an S3 server over a directory, for the demo and the tests. It is strict where a store must be (checksums are
//! verified before an object can be seen, conditional writes are atomic, signatures count, customer keys are asked for), keeps each object as a plain
//! file under its key, and can misbehave on request. It knows no multipart uploads, versions or user metadata.

mod api;
mod bucket;
mod faults;
mod listener;
mod profile;
mod sts;
mod traits;
mod upload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use s3s::service::S3ServiceBuilder;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::DirectoryStore;
use crate::faults::{Chances, Faults, Misbehaving};
use crate::listener::{Listener, TlsFiles};
use crate::profile::Profile;
use crate::sts::Keys;

/// An S3 server over a directory, for tests and demonstrations.
///
/// Requests must be signed with the key of the environment: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on; port 0 takes any free one. The first line on stdout says which.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Directory that holds the buckets, each a directory of its own.
    #[arg(long)]
    dir: PathBuf,
    /// Bucket to create at the start; may be given again.
    #[arg(long)]
    bucket: Vec<String>,
    /// Certificate chain in PEM: speak TLS.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key in PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The kind of service to play.
    #[arg(long, value_enum, default_value = "aws")]
    profile: Profile,
    /// Give out a role for the token in this file (AssumeRoleWithWebIdentity on the same address).
    #[arg(long, value_name = "FILE")]
    role_token: Option<PathBuf>,
    /// How long a role lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    role_seconds: u64,
    #[command(flatten)]
    chances: ChanceArguments,
    /// Answer each N-th request with 503 SlowDown, without doing it.
    #[arg(long, value_name = "N")]
    fail_every: Option<u64>,
    /// Do each N-th request, but break the connection instead of answering.
    #[arg(long, value_name = "N")]
    drop_every: Option<u64>,
    /// Wait before each request.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
    /// Print a line for each request on stdout: method, path, status.
    #[arg(long)]
    access_log: bool,
}

/// Faults by chance; the same seed makes the same requests meet the same.
#[derive(Debug, clap::Args)]
struct ChanceArguments {
    /// What the faults of the following flags are drawn from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// So many of a hundred requests are answered with 500, half of them after they were done.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    errors: u64,
    /// So many of a hundred requests are answered with 503 SlowDown.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    throttles: u64,
    /// So many of a hundred requests wait, up to --delay-max-ms.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    delays: u64,
    /// The longest wait of --delays.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    delay_max_ms: u64,
    /// In so many of a hundred answers with an object one bit is flipped.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    corruptions: u64,
}

impl ChanceArguments {
    fn chances(&self) -> Chances {
        Chances {
            seed: self.seed,
            errors: self.errors,
            throttles: self.throttles,
            delays: self.delays,
            delay_max: Duration::from_millis(self.delay_max_ms),
            corruptions: self.corruptions,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let tls = arguments.tls_cert.zip(arguments.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
    let store = DirectoryStore::open(&arguments.dir, tls.is_some(), arguments.profile)
        .with_context(|| format!("open directory \"{}\"", arguments.dir.display()))?;
    for bucket in &arguments.bucket {
        store.create(bucket).with_context(|| format!("create bucket \"{bucket}\""))?;
    }
    let keys = Keys::new(
        (environment("AWS_ACCESS_KEY_ID")?, environment("AWS_SECRET_ACCESS_KEY")?),
        arguments.role_token.map(|file| (file, Duration::from_secs(arguments.role_seconds))),
    );
    let mut service = S3ServiceBuilder::new(store);
    service.set_auth(keys.clone());
    let service = Misbehaving::new(
        service.build(),
        (arguments.profile, keys),
        Faults {
            fail_every: arguments.fail_every,
            drop_every: arguments.drop_every,
            delay: Duration::from_millis(arguments.delay_ms),
            access_log: arguments.access_log,
            chances: arguments.chances.chances(),
        },
    );
    let listener = Listener::bind(arguments.listen, tls.as_ref()).await?;
    println!("listening on {}", listener.url()?);
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        result = listener.serve(service) => result,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// Credentials come from the environment only, where no list of processes shows them.
fn environment(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("read the environment variable {name}"))
}
