//! Where state comes from: the sidecars of a workload, or the archive itself.

use futures::StreamExt;
use jiff::Timestamp;
use pitr_archive::{ArchiveUrl, S3Options};
use pitr_recovery::code;
use serde::Deserialize;
use serde_json::Value;

use super::asking::Asking;
use crate::archive_view::{self, ArchiveView, Direct};
use crate::args::{ArchiveArgs, ListArgs, PathStyle, StateArgs, Via};
use crate::cluster::{Cluster, Reply, Selection, Silence, Workload, WorkloadName, runs_sidecar};
use crate::failure::Failure;
use crate::refusal;
use crate::render::JsonPath;
use crate::session::Session;
use crate::state::{
    Backups, Beat, Heartbeat, Pod, SCHEMA_VERSION, Verify, Windows, WorkloadState, from_archive, merge,
};

/// Workloads asked at once: each one asks several pods.
const AT_ONCE: usize = 16;

/// The archive that the flags name, checked without a call.
pub(super) fn archive(args: &ArchiveArgs, state: &StateArgs) -> Result<Option<(ArchiveUrl, S3Options)>, Failure> {
    if args.archive.is_some() && state.via != Via::Auto {
        return Err(Failure::usage("--archive reads the archive itself: --via does not go with it"));
    }
    location(args)
}

fn location(args: &ArchiveArgs) -> Result<Option<(ArchiveUrl, S3Options)>, Failure> {
    let reached = [args.endpoint.is_some(), args.region.is_some(), args.ca_bundle.is_some()];
    if args.archive.is_none() && (reached.contains(&true) || args.path_style != PathStyle::Auto) {
        let message = "--endpoint, --region, --path-style and --ca-bundle say how --archive is reached";
        return Err(Failure::usage(message).fix("--archive URL"));
    }
    archive_view::location(args)
}

/// The archive that the flags name, if they do, for long work on it. A workload that is named beside it must own it.
pub(super) async fn direct(
    session: &Session,
    args: &ArchiveArgs,
    name: Option<&str>,
) -> Result<Option<Direct>, Failure> {
    let name = name.map(str::parse::<WorkloadName>).transpose()?;
    let Some(location) = location(args)? else { return Ok(None) };
    let direct = archive_view::connected(&location, session.clock()).await?;
    refuse_another(&direct.workload, (name.as_ref(), session.namespace_flag())).map(|()| Some(direct))
}

/// The archive that the flags name, which a workload that is named beside it must own.
pub(super) async fn view(
    session: &Session,
    location: &(ArchiveUrl, S3Options),
    name: Option<&str>,
) -> Result<ArchiveView, Failure> {
    let name = name.map(str::parse::<WorkloadName>).transpose()?;
    let view = ArchiveView::open(location, session.clock()).await?;
    refuse_another(&view.workload, (name.as_ref(), session.namespace_flag())).map(|()| view)
}

/// An archive belongs to one workload: whoever names another one means another archive.
fn refuse_another(owner: &str, (name, namespace): (Option<&WorkloadName>, Option<&str>)) -> Result<(), Failure> {
    let (of_namespace, of_name) = owner.split_once('/').unwrap_or(("", owner));
    let same = name.is_none_or(|name| name.0 == of_name) && namespace.is_none_or(|namespace| namespace == of_namespace);
    if same {
        return Ok(());
    }
    Err(Failure::usage(format!("the archive belongs to \"{owner}\""))
        .hint("with --archive the workload need not be named")
        .fix("leave WORKLOAD and -n out, or --archive URL of the other workload"))
}

/// The workloads that a read command means.
pub(super) async fn workloads(
    cluster: &Cluster,
    name: Option<&WorkloadName>,
    list: &ListArgs,
) -> Result<Vec<Workload>, Failure> {
    let Some(name) = name else {
        let (labels, fields) = (list.selector.as_deref(), list.field_selector.as_deref());
        return cluster.archived_workloads(Selection { all: list.all_namespaces, labels, fields }).await;
    };
    let workload = cluster.workload(name).await?;
    if !workload.is_archived() {
        return Err(not_injected(&workload));
    }
    Ok(vec![workload])
}

/// The one workload of a command that needs exactly one.
pub(super) async fn one_workload(cluster: &Cluster, name: Option<&WorkloadName>) -> Result<Workload, Failure> {
    let mut found = workloads(cluster, name, &ListArgs::default()).await?;
    match found.len() {
        1 => Ok(found.remove(0)),
        count => Err(Failure::new(
            code::WORKLOAD_MISSING,
            format!("name the workload: namespace \"{}\" has {count} archived ones", cluster.namespace()),
        )
        .hint(found.iter().map(|w| w.name.as_str()).collect::<Vec<_>>().join(", "))),
    }
}

/// What to say where no workload is archived.
pub(super) fn none_archived(session: &Session, list: &ListArgs) -> String {
    let namespace = (!list.all_namespaces).then(|| session.namespace_here().ok()).flatten();
    let place = namespace.map(|namespace| format!(" in namespace \"{namespace}\"")).unwrap_or_default();
    let selected = if list.selector.is_some() || list.field_selector.is_some() { " like that" } else { "" };
    format!("no archived workload{selected}{place}. Next: kubectl pitr inject WORKLOAD --archive URL")
}

/// What each of the workloads that are meant answers. One that does not answer is a warning, unless none does.
pub(super) async fn each<T, F>(
    session: &Session,
    list: &ListArgs,
    ask: impl Fn(Cluster, Workload) -> F,
) -> Result<Vec<(Workload, T)>, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let cluster = session.cluster().await?;
    let workloads = workloads(&cluster, None, list).await?;
    let answers = answers_of(session, &cluster, workloads, ask).await?;
    Ok(answers.into_iter().filter_map(|(workload, answer)| Some((workload, answer?))).collect())
}

/// The same for workloads that are found, with those that gave no answer.
pub(super) async fn answers_of<T, F>(
    session: &Session,
    cluster: &Cluster,
    workloads: Vec<Workload>,
    ask: impl Fn(Cluster, Workload) -> F,
) -> Result<Vec<(Workload, Option<T>)>, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let asked = workloads.into_iter().map(|workload| {
        let answer = ask(cluster.in_namespace(&workload.namespace), workload.clone());
        async move {
            let answer = match session.go_on() {
                Ok(()) => answer.await,
                Err(interrupted) => Err(interrupted),
            };
            (workload, answer)
        }
    });
    let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    // What some of them said before is no answer to the question.
    session.go_on()?;
    let is_any = answers.iter().any(|(_, answer)| answer.is_ok());
    let mut heard = Vec::new();
    for (workload, answer) in answers {
        match answer {
            Ok(answer) => heard.push((workload, Some(answer))),
            Err(failure) if is_any => {
                warn_of_silence(session, &workload, &failure);
                heard.push((workload, None));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(heard)
}

/// Says which workload gave no answer, and why.
pub(super) fn warn_of_silence(session: &Session, workload: &Workload, failure: &Failure) {
    let (name, namespace) = (&workload.name, &workload.namespace);
    session.warn(&format!("warning[PITR0704]: statefulset/{name} in namespace \"{namespace}\": {failure}"));
}

/// The order of rows that is wanted, if one is.
pub(super) fn row_order(list: &ListArgs) -> Result<Option<JsonPath>, Failure> {
    list.sort_by.as_deref().map(JsonPath::path).transpose().map_err(Failure::usage)
}

/// An archive is one workload, and nothing selects among others.
pub(super) fn refuse_many(list: &ListArgs) -> Result<(), Failure> {
    let given = [
        (list.all_namespaces, "--all-namespaces"),
        (list.selector.is_some(), "--selector"),
        (list.field_selector.is_some(), "--field-selector"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(Failure::usage(format!("{flag} is for workloads of the cluster: an --archive is one"))),
        None => Ok(()),
    }
}

/// Heartbeats come from sidecars alone, and so does what only they can do.
pub(super) fn refuse_job(state: &StateArgs, what: &str) -> Result<(), Failure> {
    match state.via {
        Via::Job => Err(Failure::usage(format!("{what} asks the sidecars themselves: --via=job does not go with it"))),
        Via::Auto | Via::Log | Via::Portforward | Via::Exec => Ok(()),
    }
}

/// No sidecar is in its pod template.
pub(super) fn not_injected(workload: &Workload) -> Failure {
    Failure::new(code::NO_ARCHIVER, format!("statefulset/{} has no archiver", workload.name))
        .hint("its pod template carries no sidecar")
        .fix(format!("kubectl pitr inject {} -n {} --archive URL", workload.name, workload.namespace))
}

/// What the sidecars of several workloads say; `detail` also asks for all windows and base backups.
pub(super) async fn observe_all(
    session: &Session,
    cluster: &Cluster,
    workloads: &[Workload],
    (args, detail): (&StateArgs, bool),
) -> Vec<WorkloadState> {
    futures::stream::iter(workloads)
        .map(|workload| observe(session, cluster, workload, (args, detail)))
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// What the sidecars of one workload say.
pub(super) async fn observe(
    session: &Session,
    cluster: &Cluster,
    workload: &Workload,
    (args, detail): (&StateArgs, bool),
) -> WorkloadState {
    let cluster = cluster.in_namespace(&workload.namespace);
    let state = heard(&cluster, workload, args, session.now()).await;
    warn_of_schema(session, &state);
    if !detail || args.via == Via::Log {
        return merge(state, None, None);
    }
    let asking = Asking::among(session, cluster, workload, (args, order(&state)));
    let windows = asking.optional("/v1/windows").await;
    let backups = match &windows {
        Some(_) => asking.optional("/v1/backups").await,
        None => None,
    };
    merge(state, windows, backups)
}

/// Heartbeats only.
async fn heard(cluster: &Cluster, workload: &Workload, args: &StateArgs, now: Timestamp) -> WorkloadState {
    let told = cluster.pod_states(&workload.pods, args.via, args.via_timeout).await;
    let pods = workload.pods.iter().map(|pod| {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let told = told.iter().find(|t| t.pod == name);
        let heartbeat = told.and_then(|t| t.heartbeat.as_ref()).and_then(Heartbeat::read);
        Pod {
            carries_sidecar: runs_sidecar(pod),
            beat: heartbeat.map(|h| Beat::at(h, now)),
            silences: told.map(|t| t.silences.iter().map(silence).collect()).unwrap_or_default(),
            name,
        }
    });
    WorkloadState {
        replicas: u32::try_from(workload.replicas()).unwrap_or(0),
        pods: pods.collect(),
        ..unknown(workload)
    }
}

/// The picture of a workload whose archive was to be read, and could not be.
pub(super) fn unread(workload: &Workload) -> WorkloadState {
    WorkloadState { offline: true, unread: true, ..unknown(workload) }
}

/// The picture of a workload of which nobody has said anything.
fn unknown(workload: &Workload) -> WorkloadState {
    WorkloadState { namespace: workload.namespace.clone(), name: workload.name.clone(), ..WorkloadState::default() }
}

fn silence(silence: &Silence) -> String {
    format!("{}: {}", silence.transport.as_str(), silence.reason)
}

fn warn_of_schema(session: &Session, state: &WorkloadState) {
    let newest = state.fresh().filter_map(|(_, h)| h.schema_version).max();
    if let Some(newest) = newest.filter(|n| *n > SCHEMA_VERSION) {
        session.warn(&format!(
            "warning[PITR0703]: the sidecar speaks schema {newest}, the plugin up to {SCHEMA_VERSION}: upgrade the plugin"
        ));
    }
}

/// Pods by what they are worth asking: who leads first, the silent last.
fn order(state: &WorkloadState) -> Vec<String> {
    let leading = state.leading().map(|(pod, _)| pod.name.clone());
    let mut pods: Vec<&Pod> = state.pods.iter().filter(|p| p.carries_sidecar).collect();
    pods.sort_by_key(|p| (Some(&p.name) != leading.as_ref(), p.beat.is_none()));
    pods.into_iter().map(|p| p.name.clone()).collect()
}

/// Pods that run the sidecar, in the order in which they are worth asking.
pub(super) async fn pods_to_ask(
    cluster: &Cluster,
    workload: &Workload,
    args: &StateArgs,
    now: Timestamp,
) -> Vec<String> {
    order(&heard(cluster, workload, args, now).await)
}

/// A sidecar's `kind: Error` as our own.
pub(super) fn told(reply: &Reply, place: &str) -> Failure {
    let document: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let message = document["message"].as_str().unwrap_or("the sidecar refused and did not say why");
    let exit = document["exit"].as_u64().and_then(|e| u8::try_from(e).ok());
    let mut failure = Failure::told(document["code"].as_str(), exit, message);
    for hint in words(&document["hint"]) {
        failure = failure.hint(hint);
    }
    for fix in words(&document["fix"]) {
        failure = failure.fix(refusal::way_out(&fix, place));
    }
    failure
}

/// One text, several, or none.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.lines().map(str::to_owned).collect(),
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The status of an archive alone, as its Job tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    archive: Option<String>,
    /// `MySQL 8.4.6`
    server: Option<String>,
    windows: Windows,
    backups: Backups,
    verify: Verify,
}

/// The picture that a Job reads from the archive: no pod is asked, as in [`offline`].
pub(super) async fn inspected(asking: &Asking<'_>, workload: &Workload) -> Result<WorkloadState, Failure> {
    let status: Status = asking.required("/v1/status").await?;
    let server = status.server.as_deref().and_then(|server| server.split_once(' '));
    let state = WorkloadState {
        server: server.map(|(flavour, version)| (flavour.to_lowercase(), version.to_owned())),
        archive_url: status.archive,
        ..unknown(workload)
    };
    Ok(from_archive(state, &status.windows, status.backups, status.verify))
}

/// The picture from the archive alone.
pub(super) fn offline(view: &ArchiveView) -> (WorkloadState, Windows, Backups) {
    let (namespace, name) = view.workload.split_once('/').unwrap_or(("", &view.workload));
    let state = WorkloadState {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        server: view.server.clone(),
        archive_url: Some(view.url.clone()),
        archive_flags: view.flags.clone(),
        ..WorkloadState::default()
    };
    let (windows, backups) = (view.windows(), view.backups());
    (from_archive(state, &windows, backups.clone(), view.verify()), windows, backups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_workload_than_the_archives_is_refused() {
        let mysql: WorkloadName = "mysql".parse().unwrap();
        for (name, namespace) in
            [(None, None), (Some(&mysql), None), (Some(&mysql), Some("shop")), (None, Some("shop"))]
        {
            refuse_another("shop/mysql", (name, namespace)).unwrap();
        }
        let other: WorkloadName = "other".parse().unwrap();
        for (name, namespace) in [(Some(&other), None), (Some(&mysql), Some("nowhere")), (None, Some("nowhere"))] {
            let failure = refuse_another("shop/mysql", (name, namespace)).unwrap_err();
            assert!(failure.exit() == 2 && failure.text().contains("shop/mysql"), "{}", failure.text());
        }
    }
}
