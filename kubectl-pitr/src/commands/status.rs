//! `status`: can I restore, and to when?

use anyhow::Result;

use super::source;
use crate::archive_view::ArchiveView;
use crate::args::{OutputFormat, StatusArgs};
use crate::cluster::WorkloadName;
use crate::render::{status_document, status_table, status_text};
use crate::session::Session;
use crate::state::{Health, Judged, Limits, WorkloadState, judge};

/// Something shown is not OK, and `--exit-code` was given.
const EXIT_DEGRADED: u8 = 3;

pub async fn run(session: &Session, args: &StatusArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    let archive = source::archive(&args.archive, &args.state)?;
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    let (states, namespace) = match archive {
        Some(location) => {
            let view = ArchiveView::open(&location, session.clock()).await?;
            (vec![source::offline(&view).0], String::new())
        }
        None => {
            let cluster = session.cluster().await?;
            let workloads = source::workloads(&cluster, name.as_ref(), &args.list).await?;
            let detail = workloads.len() == 1 || !format.is_text();
            let states = source::observe_all(session, &cluster, &workloads, (&args.state, detail)).await;
            (states, cluster.namespace().to_owned())
        }
    };
    let limits = Limits { now: session.now(), max_lag_seconds: args.max_lag.as_secs() };
    let rows: Vec<(WorkloadState, Judged)> =
        states.into_iter().map(|s| (judge(&s, limits), s)).map(|(j, s)| (s, j)).collect();
    if rows.is_empty() && format.is_text() {
        let place = if args.list.all_namespaces { String::new() } else { format!(" in namespace \"{namespace}\"") };
        session.tell(&format!("no archived workload{place}. Next: kubectl pitr inject WORKLOAD --archive URL"));
        return Ok(0);
    }
    print(session, args, &rows, (format, limits))?;
    Ok(exit(args, &rows))
}

fn exit(args: &StatusArgs, rows: &[(WorkloadState, Judged)]) -> u8 {
    if args.exit_code && rows.iter().any(|(_, judged)| judged.health != Health::Ok) {
        return EXIT_DEGRADED;
    }
    // Nobody answered anything: that is no status.
    u8::from(!rows.is_empty() && rows.iter().all(|(_, judged)| judged.health == Health::Unknown))
}

fn print(
    session: &Session,
    args: &StatusArgs,
    rows: &[(WorkloadState, Judged)],
    (format, limits): (OutputFormat, Limits),
) -> Result<()> {
    match (format, rows) {
        (OutputFormat::Json | OutputFormat::Yaml, _) => session.print_document(&status_document(rows), format),
        (OutputFormat::Name, _) => {
            session.print(&rows.iter().map(|(s, _)| format!("statefulset.apps/{}\n", s.name)).collect::<String>())
        }
        (OutputFormat::Table, [(state, judged)]) if !args.list.all_namespaces => {
            session.print(&status_text(state, judged, limits, (session.terminal, args.show_gaps)))
        }
        (OutputFormat::Table | OutputFormat::Wide, _) => {
            session.print(&status_table(rows, !args.list.no_headers, format == OutputFormat::Wide))
        }
    }
}
