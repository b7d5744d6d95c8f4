//! `status`: can I restore, and to when?

use anyhow::Result;

use super::asking::Asking;
use super::{looking, source};
use crate::args::{OutputFormat, StatusArgs, Via};
use crate::cluster::{Cluster, Workload, WorkloadName};
use crate::failure::Failure;
use crate::render::{JsonPath, status_document, status_said, status_table, status_text};
use crate::session::Session;
use crate::state::{Health, Judged, Limits, WorkloadState, judge};

/// A workload and what is wrong with it.
type Row = (WorkloadState, Judged);

/// Something shown is not OK, and `--exit-code` was given.
const EXIT_DEGRADED: u8 = 3;

pub async fn run(session: &Session, args: &StatusArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    let archive = source::archive(&args.archive, &args.state)?;
    let order = source::row_order(&args.list)?;
    if archive.is_some() {
        refuse_with_archive(args)?;
    }
    looking::refuse_archive(&args.list, &args.state, &args.archive)?;
    if args.list.watch {
        return watch(session, args, order.as_ref()).await;
    }
    let states = match archive {
        Some(location) => {
            let view = source::view(session, &location, args.workload.as_deref()).await?;
            vec![source::offline(&view).0]
        }
        None => states(session, args, &session.cluster().await?, format).await?,
    };
    let limits = limits(session, args);
    let rows = judged(states, limits, order.as_ref());
    if rows.is_empty() && format.is_text() {
        session.tell(&source::none_archived(session, &args.list));
        return Ok(exit(args, &rows));
    }
    if args.show_gaps && (rows.len() > 1 || format == OutputFormat::Wide) {
        return Err(Failure::usage("--show-gaps is for the status of one workload as text")
            .fix("kubectl pitr status WORKLOAD")
            .into());
    }
    print(session, args, &rows, (format, limits))?;
    Ok(exit(args, &rows))
}

/// An archive is one workload, and nothing in it changes by itself.
fn refuse_with_archive(args: &StatusArgs) -> Result<(), Failure> {
    if args.list.sort_by.is_some() {
        return Err(Failure::usage("--sort-by is for several workloads: an --archive is one"));
    }
    source::refuse_many(&args.list)
}

fn limits(session: &Session, args: &StatusArgs) -> Limits {
    Limits { now: session.now(), max_lag_seconds: args.max_lag.as_secs() }
}

async fn states(
    session: &Session,
    args: &StatusArgs,
    cluster: &Cluster,
    format: OutputFormat,
) -> Result<Vec<WorkloadState>> {
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    let workloads = source::workloads(cluster, name.as_ref(), &args.list).await?;
    if args.state.via == Via::Job {
        let inspected = source::answers_of(session, cluster, workloads, |cluster, workload| async move {
            source::inspected(&Asking::of(session, &cluster, &workload, &args.state).await, &workload).await
        });
        // One whose archive could not be read is a row all the same: nobody knows how it is.
        let state =
            |(workload, state): (Workload, Option<WorkloadState>)| state.unwrap_or_else(|| source::unread(&workload));
        return Ok(inspected.await?.into_iter().map(state).collect());
    }
    let detail = !args.list.watch && (workloads.len() == 1 || !format.is_text());
    let states = source::observe_all(session, cluster, &workloads, (&args.state, detail)).await;
    // One that nobody tells of is looked up in its archive, if whoever sits there wants it.
    if let (true, [workload], [state]) = (detail, &workloads[..], &states[..])
        && state.fresh().next().is_none()
        && let Some(asking) = Asking::offered(session, cluster, workload, &args.state).await
    {
        match source::inspected(&asking, workload).await {
            Ok(state) => return Ok(vec![state]),
            Err(failure) => {
                session.go_on()?;
                source::warn_of_silence(session, workload, &failure);
            }
        }
    }
    Ok(states)
}

/// The rows in the wanted order.
fn judged(states: Vec<WorkloadState>, limits: Limits, order: Option<&JsonPath>) -> Vec<Row> {
    let mut rows: Vec<Row> = states.into_iter().map(|s| (judge(&s, limits), s)).map(|(j, s)| (s, j)).collect();
    if let Some(order) = order {
        order.sort(&mut rows, |row| status_document(std::slice::from_ref(row))["items"][0].clone());
    }
    rows
}

/// A row for each workload, and again for each that has changed in what it says beside its age.
async fn watch(session: &Session, args: &StatusArgs, order: Option<&JsonPath>) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    let cluster = session.cluster().await?;
    let look =
        async || anyhow::Ok(judged(states(session, args, &cluster, format).await?, limits(session, args), order));
    let said = |row: &Row| (format!("{}/{}", row.0.namespace, row.0.name), status_said(row));
    let print = |rows: Vec<Row>, is_first: bool| match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(&status_document(&rows), format),
        OutputFormat::Name => session.print(&names(&rows)),
        OutputFormat::Table | OutputFormat::Wide => {
            let headers = is_first && !args.list.no_headers;
            session.print(&status_table(&rows, headers, format == OutputFormat::Wide))
        }
    };
    looking::watch(session, look, said, print).await
}

fn names(rows: &[Row]) -> String {
    rows.iter().map(|(s, _)| format!("statefulset.apps/{}\n", s.name)).collect()
}

fn exit(args: &StatusArgs, rows: &[Row]) -> u8 {
    // Where nothing is archived, nothing is well.
    if args.exit_code && (rows.is_empty() || rows.iter().any(|(_, judged)| judged.health != Health::Ok)) {
        return EXIT_DEGRADED;
    }
    // Nobody answered anything: that is no status.
    u8::from(!rows.is_empty() && rows.iter().all(|(_, judged)| judged.health == Health::Unknown))
}

fn print(session: &Session, args: &StatusArgs, rows: &[Row], (format, limits): (OutputFormat, Limits)) -> Result<()> {
    match (format, rows) {
        (OutputFormat::Json | OutputFormat::Yaml, _) => session.print_document(&status_document(rows), format),
        (OutputFormat::Name, _) => session.print(&names(rows)),
        (OutputFormat::Table, [(state, judged)]) if !args.list.all_namespaces => {
            session.print(&status_text(state, judged, limits, (session.terminal, args.show_gaps)))
        }
        (OutputFormat::Table | OutputFormat::Wide, _) => {
            session.print(&status_table(rows, !args.list.no_headers, format == OutputFormat::Wide))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;
    use crate::args::{Cli, Command, command};

    fn args(words: &str) -> StatusArgs {
        let matches =
            command("kubectl-pitr").try_get_matches_from(format!("kubectl-pitr status {words}").split(' ')).unwrap();
        match Cli::from_arg_matches(&matches).unwrap().command {
            Command::Status(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn row(health: Health) -> Row {
        (WorkloadState::default(), Judged { health, findings: Vec::new(), end_age_seconds: None })
    }

    #[test]
    fn an_exit_code_of_0_says_that_something_is_archived_and_well() {
        let asked = args("--exit-code");
        assert_eq!(exit(&asked, &[]), 3);
        assert_eq!(exit(&asked, &[row(Health::Ok)]), 0);
        assert_eq!(exit(&asked, &[row(Health::Ok), row(Health::Degraded)]), 3);
        assert_eq!(exit(&args("-A"), &[]), 0);
    }
}
