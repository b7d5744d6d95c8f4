//! `backups`: the base backups, and how far each one reaches.

use anyhow::Result;

use super::pins::{self, Change};
use super::source;
use crate::args::{BackupsArgs, BackupsVerb, OutputFormat};
use crate::cluster::WorkloadName;
use crate::refusal::place;
use crate::render::{backups_document, backups_table};
use crate::session::Session;
use crate::state::Backups;

pub async fn run(session: &Session, args: &BackupsArgs) -> Result<u8> {
    match &args.verb {
        Some(BackupsVerb::Pin(pin)) => return pins::run(session, pin, Change::Pin).await,
        Some(BackupsVerb::Unpin(pin)) => return pins::run(session, pin, Change::Unpin).await,
        None => {}
    }
    let format = session.output(OutputFormat::Table)?;
    let archive = source::archive(&args.archive, &args.state)?;
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    let (list, again) = match archive {
        Some(location) => {
            let view = source::view(session, &location, args.workload.as_deref()).await?;
            (view.backups(), format!("kubectl pitr backup {}", place(&view.workload)))
        }
        None => {
            let cluster = session.cluster().await?;
            let workload = source::one_workload(&cluster, name.as_ref()).await?;
            let list: Backups =
                source::required(&cluster, &workload, ("/v1/backups", &args.state), session.now()).await?;
            (list, format!("kubectl pitr backup {} -n {}", workload.name, workload.namespace))
        }
    };
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(&backups_document(&list), format)?,
        OutputFormat::Name => session.print(&list.items.iter().map(|b| format!("{}\n", b.id)).collect::<String>())?,
        OutputFormat::Table | OutputFormat::Wide if list.items.is_empty() => {
            session.tell(&format!("no base backup. Next: {again}"));
        }
        OutputFormat::Table | OutputFormat::Wide => {
            session.print(&backups_table(&list, !args.no_headers, format == OutputFormat::Wide))?;
        }
    }
    Ok(0)
}
