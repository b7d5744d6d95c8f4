//! `support-bundle`: what is needed to find out what went wrong, in one file, without secrets.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context, Result};
use futures::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::asking::Asking;
use super::source;
use crate::args::{BundleArgs, Via};
use crate::cluster::{Cluster, LogPart, Workload, WorkloadName};
use crate::inject::sidecar::{CONTAINER, LABEL_MANAGED, LABEL_WORKLOAD, MANAGER, config_map_name};
use crate::inject::tree;
use crate::redaction::{redact, redacted_own_log, redacted_server_log, redacted_text};
use crate::render::binary_size;
use crate::session::Session;
use crate::tarball::Tarball;

/// Lines of each container's log.
const LOG_LINES: i64 = 5_000;
/// Bytes of each container's log.
const LOG_BYTES_MAX: usize = 4 << 20;
/// What the control API is asked. Transactions are left out: their statements are the user's own.
const ASKED: [&str; 4] = ["/v1/status", "/v1/windows", "/v1/backups", "/v1/binlogs"];

/// The files, and what could not be had.
struct Bundle {
    tarball: Tarball,
    folder: String,
    at_seconds: u64,
    missing: Vec<String>,
    /// Whether secrets are taken out.
    redacts: bool,
}

pub async fn run(session: &Session, args: &BundleArgs) -> Result<u8> {
    source::refuse_job(&args.state, "support-bundle")?;
    let cluster = session.cluster().await?;
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    let workload = source::one_workload(&cluster, name.as_ref()).await?;
    let cluster = cluster.in_namespace(&workload.namespace);
    let at = session.now();
    let folder = format!("pitr-{}-{}", workload.name, at.strftime("%Y%m%d-%H%M%S"));
    let at_seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let redacts = !args.no_redact;
    let mut bundle =
        Bundle { tarball: Tarball::default(), folder: folder.clone(), at_seconds, missing: Vec::new(), redacts };
    let version = json!({"plugin": env!("CARGO_PKG_VERSION"), "at": at.to_string(), "workload": workload.name});
    bundle.document("version.json", &version);
    objects(&mut bundle, &cluster, &workload).await;
    answers(session, args, &mut bundle, (&cluster, &workload)).await;
    logs(&mut bundle, &cluster, &workload, args.server_logs).await;
    let missing = if bundle.missing.is_empty() { "nothing\n".to_owned() } else { bundle.missing.join("\n") + "\n" };
    bundle.text("missing.txt", &bundle.without_secrets(&missing, redacted_text));
    let file = args.output_file.clone().unwrap_or_else(|| format!("{folder}.tar.gz").into());
    let written = write(&file, bundle.tarball)?;
    for missing in &bundle.missing {
        session.tell(&format!("left out: {missing}"));
    }
    let words = match redacts {
        true => "secrets are taken out, look through it before you send it",
        false => "secrets are in it as they are: it is not to be sent",
    };
    session.print(&format!("{}   {}; {words}\n", file.display(), binary_size(written)))?;
    Ok(0)
}

fn write(file: &std::path::Path, tarball: Tarball) -> Result<u64> {
    let what = || format!("write {}", file.display());
    // What is in it, with or without secrets, is for who made it.
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).with_context(what)?;
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(&tarball.finish()).with_context(what)?;
    let out = encoder.finish().with_context(what)?;
    Ok(out.metadata().with_context(what)?.len())
}

impl Bundle {
    fn text(&mut self, name: &str, text: &str) {
        self.tarball.add(&format!("{}/{name}", self.folder), text.as_bytes(), self.at_seconds);
    }

    fn document(&mut self, name: &str, document: &impl Serialize) {
        let mut value = serde_json::to_value(document).unwrap_or_default();
        if self.redacts {
            redact(&mut value);
        }
        let text = match name.ends_with(".yaml") {
            true => tree::emit(&value).unwrap_or_default(),
            false => serde_json::to_string_pretty(&value).unwrap_or_default() + "\n",
        };
        self.text(name, &text);
    }

    fn without_secrets(&self, text: &str, redacted: fn(&str) -> String) -> String {
        if self.redacts { redacted(text) } else { text.to_owned() }
    }

    /// A document that could be had, or a line that says why not.
    fn take<T: Serialize, E: Display>(&mut self, name: &str, had: Result<T, E>) {
        match had {
            Ok(document) => self.document(name, &document),
            Err(reason) => self.missing.push(format!("{name}: {reason}")),
        }
    }
}

async fn objects(bundle: &mut Bundle, cluster: &Cluster, workload: &Workload) {
    let selector = format!("{LABEL_MANAGED}={MANAGER},{LABEL_WORKLOAD}={}", workload.name);
    bundle.document("statefulset.yaml", &workload.object);
    bundle.document("pods.yaml", &workload.pods);
    bundle.take("configmap.yaml", cluster.config_map(&config_map_name(&workload.name)).await);
    bundle.take("jobs.yaml", cluster.jobs(&selector, false).await);
    bundle.take("claims.yaml", cluster.claims(&selector, false).await);
}

async fn answers(
    session: &Session,
    args: &BundleArgs,
    bundle: &mut Bundle,
    (cluster, workload): (&Cluster, &Workload),
) {
    let state = source::observe(session, cluster, workload, (&args.state, false)).await;
    for pod in state.pods.iter().filter(|pod| !pod.silences.is_empty()) {
        bundle.missing.push(format!("heartbeat of {}: {}", pod.name, pod.silences.join("; ")));
    }
    let heartbeats = cluster.pod_states(&workload.pods, Via::Auto, args.state.via_timeout).await;
    let heartbeats: Vec<Value> =
        heartbeats.into_iter().map(|s| json!({"pod": s.pod, "heartbeat": s.heartbeat})).collect();
    bundle.document("heartbeats.json", &heartbeats);
    let asking = Asking::of(session, cluster, workload, &args.state).await.without_offer();
    for path in ASKED {
        let name = format!("{}.json", path.trim_start_matches("/v1/"));
        bundle.take(&name, asking.document(path).await);
    }
}

/// The logs of our containers, and those of the others where they are asked for: statements of users may be in them.
async fn logs(bundle: &mut Bundle, cluster: &Cluster, workload: &Workload, of_servers: bool) {
    for pod in &workload.pods {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let containers = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
        for container in containers {
            let part =
                LogPart { container: &container.name, follow: false, since_seconds: None, tail: Some(LOG_LINES) };
            let file = format!("logs/{name}.{}.log", container.name);
            let redacted: fn(&str) -> String = match container.name == CONTAINER {
                true => redacted_own_log,
                false if of_servers => redacted_server_log,
                false => {
                    bundle.missing.push(format!("{file}: only with --server-logs"));
                    continue;
                }
            };
            match cluster.log_lines(&name, part).await {
                Ok(lines) => {
                    let lines: Vec<String> = lines.collect().await;
                    let mut text = bundle.without_secrets(&(lines.join("\n") + "\n"), redacted);
                    let surplus = text.len().saturating_sub(LOG_BYTES_MAX);
                    let from = text.char_indices().map(|(at, _)| at).find(|at| *at >= surplus).unwrap_or(0);
                    bundle.text(&file, &text.split_off(from));
                }
                Err(reason) => bundle.missing.push(format!("{file}: {reason}")),
            }
        }
    }
}
