//! `restores`: what restores there are, how far they are, and how to come back to one.

use std::time::Duration;

use anyhow::Result;
use pitr_recovery::code;

use super::ending;
use super::in_place;
use super::making::take_back;
use super::restore::{follow, print_row};
use super::restores_state::{jobs_of, rows, selected};
use super::{looking, serving, source, standing};
use crate::args::{ListArgs, OutputFormat, RestoresArgs, RestoresVerb};
use crate::cluster::{Cluster, DryMode, Need, Selection, finished, require};
use crate::failure::Failure;
use crate::objects::resume as again;
use crate::render::{RestoreRow, restore_item, restore_story, restores_document, restores_table};
use crate::session::Session;

pub(super) const RESUME_NEEDS: [Need; 2] = [Need::of("create", "batch", "jobs"), Need::core("create", "configmaps")];

pub async fn run(session: &Session, args: &RestoresArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    match &args.verb {
        Some(RestoresVerb::Abort { .. }) => session.prints_text("restores abort")?,
        Some(RestoresVerb::Serve { .. }) => session.prints_text("restores serve")?,
        Some(RestoresVerb::Finish { .. }) => session.prints_text("restores finish")?,
        Some(RestoresVerb::Prune { .. }) => session.prints_text("restores prune")?,
        _ => {}
    }
    let cluster = session.cluster().await?;
    match &args.verb {
        None => list(session, &cluster, &args.list, format).await,
        Some(RestoresVerb::List(wanted)) => list(session, &cluster, wanted, format).await,
        Some(RestoresVerb::Describe { name }) => {
            let row = one(session, &cluster, name).await?;
            if format.is_text() {
                session.print(&restore_story(&row))?;
            } else {
                print(session, &[row], (false, true), format)?;
            }
            Ok(0)
        }
        Some(RestoresVerb::Attach { name, timeout }) => match begun(session, &cluster, name, *timeout).await? {
            Begun::InPlace(run) => run.follow(format).await,
            Begun::OnItsOwn(row) => {
                let job = job_of(&row, &cluster)?;
                to_the_end(session, &cluster, (&job, &row.name, format), *timeout).await
            }
        },
        Some(RestoresVerb::Resume { name, change, confirm, timeout }) => {
            match begun(session, &cluster, name, *timeout).await? {
                Begun::InPlace(run) => run.resume(confirm.as_deref(), &change.options(), format).await,
                Begun::OnItsOwn(row) => resume(session, &cluster, (&row, &change.options(), format), *timeout).await,
            }
        }
        Some(RestoresVerb::Abort { name, confirm, timeout }) => match begun(session, &cluster, name, *timeout).await? {
            Begun::InPlace(run) => run.abort(confirm.as_deref()).await,
            Begun::OnItsOwn(row) => ending::abort(session, &cluster, &row).await,
        },
        Some(RestoresVerb::Serve { name, timeout }) => {
            let row = on_its_own(session, &cluster, ("serve", name)).await?;
            serving::serve(session, &cluster, &row.name, *timeout).await
        }
        Some(RestoresVerb::Statefulset { name }) => {
            let row = on_its_own(session, &cluster, ("statefulset", name)).await?;
            standing::print(session, &cluster, &row.name).await
        }
        Some(RestoresVerb::Finish { name, confirm, timeout }) => {
            match begun(session, &cluster, name, *timeout).await? {
                Begun::InPlace(run) => run.finish(confirm.as_deref()).await,
                Begun::OnItsOwn(row) => serving::finish(session, &cluster, &row.name).await,
            }
        }
        Some(RestoresVerb::Prune { older_than, with_volumes, confirm }) => {
            ending::prune(session, &cluster, *older_than, (*with_volumes, confirm.as_deref())).await
        }
    }
}

async fn list(session: &Session, cluster: &Cluster, args: &ListArgs, format: OutputFormat) -> Result<u8> {
    let (all, headers) = (args.all_namespaces, !args.no_headers);
    let order = source::row_order(args)?;
    let look = async || {
        let (labels, fields) = (args.selector.as_deref(), args.field_selector.as_deref());
        let mut rows = selected(cluster, Selection { all, labels, fields }, session.now()).await?;
        if let Some(order) = &order {
            order.sort(&mut rows, restore_item);
        }
        anyhow::Ok(rows)
    };
    if args.watch {
        let print = |rows: Vec<RestoreRow>, is_first: bool| print(session, &rows, (all, headers && is_first), format);
        return looking::watch(session, look, said, print).await;
    }
    let rows = look().await?;
    if rows.is_empty() && format.is_text() {
        let place = if all { String::new() } else { format!(" in namespace \"{}\"", cluster.namespace()) };
        let like = if args.selector.is_some() || args.field_selector.is_some() { " like that" } else { "" };
        session.tell(&format!("no restore{like}{place}"));
        return Ok(0);
    }
    print(session, &rows, (all, headers), format)?;
    Ok(0)
}

/// Which restore it is, and what it says beside how long ago it ended.
fn said(row: &RestoreRow) -> (String, String) {
    let says = restore_item(&RestoreRow { ended_seconds_ago: None, ..row.clone() }).to_string();
    (format!("{}/{}", row.namespace, row.name), says)
}

fn print(session: &Session, rows: &[RestoreRow], (all, headers): (bool, bool), format: OutputFormat) -> Result<()> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(&restores_document(rows), format),
        OutputFormat::Name => session.print(
            &rows.iter().filter_map(|r| r.job.as_ref()).map(|job| format!("job.batch/{job}\n")).collect::<String>(),
        ),
        OutputFormat::Table | OutputFormat::Wide => session.print(&restores_table(rows, headers, all)),
    }
}

/// One restore by its name, or by that of one of its Jobs.
async fn one(session: &Session, cluster: &Cluster, name: &str) -> Result<RestoreRow, Failure> {
    let rows = rows(cluster, false, session.now()).await?;
    let names: Vec<String> = rows.iter().map(|r| r.name.clone()).collect();
    rows.into_iter().find(|r| r.name == name || r.job.as_deref() == Some(name)).ok_or_else(|| {
        let failure = Failure::new(
            code::NOT_REACHABLE,
            format!("restore \"{name}\" not found in namespace \"{}\"", cluster.namespace()),
        );
        let failure = if names.is_empty() { failure } else { failure.hint(format!("there are: {}", names.join(", "))) };
        failure.fix(format!("kubectl pitr restores -n {}", cluster.namespace()))
    })
}

fn job_of(row: &RestoreRow, cluster: &Cluster) -> Result<String, Failure> {
    row.job.clone().ok_or_else(|| {
        Failure::new(code::NOT_REACHABLE, format!("the Job of restore \"{}\" was deleted", row.name))
            .hint("its volume is there, and holds RESTORED.json if it was verified")
            .fix(format!("kubectl pitr restores describe {} -n {}", row.name, cluster.namespace()))
    })
}

/// A restore, by where its data goes.
enum Begun<'a> {
    /// Its steps are gone on with.
    InPlace(Box<in_place::Run<'a>>),
    /// Onto a volume of its own.
    OnItsOwn(Box<RestoreRow>),
}

/// The restore of a name. One in place has steps before it has a Job.
async fn begun<'a>(
    session: &'a Session,
    cluster: &'a Cluster,
    name: &str,
    limit: Duration,
) -> Result<Begun<'a>, Failure> {
    if let Some(run) = in_place::find(session, cluster, name, limit).await? {
        return Ok(Begun::InPlace(Box::new(run)));
    }
    let row = one(session, cluster, name).await?;
    if !row.in_place {
        return Ok(Begun::OnItsOwn(Box::new(row)));
    }
    match in_place::find(session, cluster, &row.name, limit).await? {
        Some(run) => Ok(Begun::InPlace(Box::new(run))),
        None => Err(Failure::new(
            code::NOT_REACHABLE,
            format!("the steps of restore \"{}\" in place are not there", row.name),
        )
        .hint("they were in a ConfigMap that somebody deleted; its volume and its Jobs are left as they are")
        .fix("docs/restore-runbook.md, \"Ending a restore in place by hand\"")),
    }
}

/// A restore for verbs that are not meant for one in place.
async fn on_its_own(session: &Session, cluster: &Cluster, (verb, name): (&str, &str)) -> Result<RestoreRow, Failure> {
    let row = one(session, cluster, name).await?;
    if row.in_place { Err(in_place::refuse_verb(verb, &row.name, cluster.namespace())) } else { Ok(row) }
}

/// Follows a Job; one that is verified is described where a document is wanted.
async fn to_the_end(
    session: &Session,
    cluster: &Cluster,
    (job, restore, format): (&str, &str, OutputFormat),
    limit: Duration,
) -> Result<u8> {
    let code = follow(session, cluster, (job, restore), limit).await?;
    if code == 0 {
        print_row(session, cluster, restore, format).await?;
    }
    Ok(code)
}

async fn resume(
    session: &Session,
    cluster: &Cluster,
    (row, changed, format): (&RestoreRow, &[String], OutputFormat),
    limit: Duration,
) -> Result<u8> {
    require(cluster, &RESUME_NEEDS, "restorer").await?;
    let latest = job_of(row, cluster)?;
    let jobs = jobs_of(cluster, &row.name).await?;
    let old = jobs.last().ok_or_else(|| Failure::new(code::NOT_REACHABLE, format!("job \"{latest}\" not found")))?;
    match finished(old) {
        None if !changed.is_empty() => {
            return Err(Failure::usage("it is still running: nothing of it can be changed")
                .fix(format!("kubectl pitr restores abort {} -n {}", row.name, cluster.namespace()))
                .into());
        }
        None => {
            session.tell("it is still running");
            return to_the_end(session, cluster, (&latest, &row.name, format), limit).await;
        }
        Some(true) => {
            session.tell("it is verified: there is nothing to resume");
            return print_row(session, cluster, &row.name, format).await.map(|()| 0);
        }
        Some(false) => {}
    }
    let plan = cluster.config_map(&latest).await?.ok_or_else(|| {
        Failure::new(code::NOT_REACHABLE, format!("the plan of restore \"{}\" is not there", row.name))
            .hint("it is in the ConfigMap of the Job's name, and goes with the Job")
            .fix("kubectl pitr restore, anew")
    })?;
    let names: Vec<String> = jobs.iter().filter_map(|j| j.metadata.name.clone()).collect();
    let next = again::next_name(&row.name, &names);
    let made = cluster.create_job(&again::job(old, &next, changed), DryMode::Real).await?;
    if let Err(failure) = cluster.create_config_map(&again::plan(&plan, &next), &made, DryMode::Real).await {
        return Err(take_back(cluster, failure, Some(&next), None).await.into());
    }
    session.tell(&format!("job.batch/{next}, configmap/{next} created; Ctrl-C is safe, the Job continues"));
    to_the_end(session, cluster, (&next, &row.name, format), limit).await
}
