//! `backups`: the base backups, and how far each one reaches.

use anyhow::Result;

use super::pins::{self, Change};
use super::source;
use crate::args::{BackupsArgs, BackupsVerb, OutputFormat};
use crate::cluster::WorkloadName;
use crate::refusal::place;
use crate::render::{backups_document, backups_table};
use crate::session::Session;
use crate::state::{Backup, Backups};

pub async fn run(session: &Session, args: &BackupsArgs) -> Result<u8> {
    match &args.verb {
        Some(BackupsVerb::Pin(pin)) => return pins::run(session, pin, Change::Pin).await,
        Some(BackupsVerb::Unpin(pin)) => return pins::run(session, pin, Change::Unpin).await,
        None => {}
    }
    let format = session.output(OutputFormat::Table)?;
    let archive = source::archive(&args.archive, &args.state)?;
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    let order = source::row_order(&args.list)?;
    let to_begin = |command: String| format!("no base backup. Next: {command}");
    let (mut list, none) = match archive {
        Some(location) => {
            source::refuse_many(&args.list)?;
            let view = source::view(session, &location, args.workload.as_deref()).await?;
            (view.backups(), to_begin(format!("kubectl pitr backup {}", place(&view.workload))))
        }
        None if args.list.is_of_many() => match of_many(session, args).await? {
            Some(list) => (list, to_begin("kubectl pitr backup WORKLOAD".to_owned())),
            None => (Backups::default(), source::none_archived(session, &args.list)),
        },
        None => {
            let cluster = session.cluster().await?;
            let workload = source::one_workload(&cluster, name.as_ref()).await?;
            let list: Backups =
                source::required(&cluster, &workload, ("/v1/backups", &args.state), session.now()).await?;
            (list, to_begin(format!("kubectl pitr backup {} -n {}", workload.name, workload.namespace)))
        }
    };
    if let Some(order) = order {
        let document = |backup: &Backup| {
            let one = Backups { items: vec![backup.clone()], ..Backups::default() };
            backups_document(&one)["items"][0].clone()
        };
        order.sort(&mut list.items, document);
    }
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(&backups_document(&list), format)?,
        OutputFormat::Name => session.print(&list.items.iter().map(|b| format!("{}\n", b.id)).collect::<String>())?,
        OutputFormat::Table | OutputFormat::Wide if list.items.is_empty() => {
            session.tell(&none);
        }
        OutputFormat::Table | OutputFormat::Wide => {
            session.print(&backups_table(&list, !args.list.no_headers, format == OutputFormat::Wide))?;
        }
    }
    Ok(0)
}

/// The base backups of several workloads, each with whose it is; none where no workload is meant.
async fn of_many(session: &Session, args: &BackupsArgs) -> Result<Option<Backups>> {
    let heard = source::each(session, &args.list, |cluster, workload| async move {
        source::required::<Backups>(&cluster, &workload, ("/v1/backups", &args.state), session.now()).await
    });
    let heard = heard.await?;
    let mut whole = (!heard.is_empty()).then(Backups::default);
    for (workload, list) in heard {
        let (namespace, name) = (Some(workload.namespace), Some(workload.name));
        let owned = |backup| Backup { namespace: namespace.clone(), workload: name.clone(), ..backup };
        whole.get_or_insert_default().items.extend(list.items.into_iter().map(owned));
    }
    Ok(whole)
}
