//! `logs`: what sidecars and Jobs write, made readable.

use anyhow::Result;
use futures::StreamExt;
use futures::stream::{BoxStream, select_all};

use super::source;
use crate::args::LogsArgs;
use crate::cluster::{Cluster, LogPart, WorkloadName, runs_sidecar};
use crate::failure::Failure;
use crate::inject::sidecar::CONTAINER;
use crate::render::{log_line, log_time};
use crate::session::Session;
use pitr_recovery::code;

/// Lines of each pod, where nobody says how many or since when.
const LINES: i64 = 1000;

/// A pod's name and a line of its log.
type Line = (String, String);

pub async fn run(session: &Session, args: &LogsArgs) -> Result<u8> {
    let cluster = session.cluster().await?;
    let (cluster, pods) = match &args.job {
        Some(job) => (cluster.clone(), pods_of_job(&cluster, job).await?),
        None => {
            let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
            let workload = source::one_workload(&cluster, name.as_ref()).await?;
            let carrying = workload.pods.iter().filter(|pod| runs_sidecar(pod));
            let names = carrying.filter_map(|pod| Some((pod.metadata.name.clone()?, CONTAINER.to_owned())));
            (cluster.in_namespace(&workload.namespace), names.collect())
        }
    };
    let several = pods.len() > 1;
    let mut streams: Vec<BoxStream<'static, Line>> = Vec::new();
    for (pod, container) in &pods {
        let since_seconds = args.since.map(|since| i64::try_from(since.as_secs().max(1)).unwrap_or(i64::MAX));
        let tail = args.tail.or_else(|| args.since.is_none().then_some(LINES));
        let part = LogPart { container, follow: args.follow, since_seconds, tail };
        match cluster.log_lines(pod, part).await {
            Ok(lines) => {
                let pod = pod.clone();
                streams.push(lines.map(move |line| (pod.clone(), line)).boxed());
            }
            // The others are shown; one that is just starting has no log yet.
            Err(failure) if several => session.tell(&format!("warning[PITR0704]: pod/{pod}: {failure}")),
            Err(failure) => return Err(failure.into()),
        }
    }
    let mut lines = select_all(streams);
    if args.follow {
        while let Some(line) = lines.next().await {
            show(session, args, &line, several)?;
        }
        return Ok(0);
    }
    let mut all: Vec<Line> = lines.collect().await;
    all.sort_by_key(|(_, line)| log_time(line));
    all.iter().try_for_each(|line| show(session, args, line, several))?;
    Ok(0)
}

fn show(session: &Session, args: &LogsArgs, (pod, line): &Line, several: bool) -> Result<()> {
    if args.raw {
        return session.print_bytes(format!("{line}\n").as_bytes());
    }
    let pod = several.then_some(pod.as_str());
    match log_line(line, (pod, args.heartbeats), session.terminal) {
        Some(text) => session.print(&text),
        None => Ok(()),
    }
}

/// The pods of a Job of ours, each with the container that does the work: the first one.
async fn pods_of_job(cluster: &Cluster, job: &str) -> Result<Vec<(String, String)>, Failure> {
    let pods = cluster.pods_of_job(job).await?;
    let working = pods.iter().filter_map(|pod| {
        let container = pod.spec.as_ref()?.containers.first()?.name.clone();
        Some((pod.metadata.name.clone()?, container))
    });
    let found: Vec<_> = working.collect();
    if found.is_empty() {
        let message = format!("job \"{job}\" has no pod in namespace \"{}\"", cluster.namespace());
        return Err(Failure::new(code::NOT_REACHABLE, message)
            .hint("the pods of a finished Job go with it")
            .fix(format!("kubectl get jobs -n {}", cluster.namespace())));
    }
    Ok(found)
}
