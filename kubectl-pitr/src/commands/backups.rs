//! `backups`: the base backups, and how far each one reaches.

use anyhow::Result;
use pitr_archive::{ArchiveUrl, S3Options};
use serde_json::Value;

use super::asking::Asking;
use super::pins::{self, Change};
use super::{looking, source};
use crate::args::{BackupsArgs, BackupsVerb, OutputFormat};
use crate::cluster::WorkloadName;
use crate::refusal::place;
use crate::render::{JsonPath, backups_document, backups_table};
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
    looking::refuse_archive(&args.list, &args.state, &args.archive)?;
    let order = source::row_order(&args.list)?;
    if args.list.watch {
        let look = async || anyhow::Ok(found(session, args, None, order.as_ref()).await?.0.items);
        let print = |items: Vec<Backup>, is_first: bool| {
            print(session, &Backups { items, ..Backups::default() }, (format, is_first && !args.list.no_headers))
        };
        return looking::watch(session, look, said, print).await;
    }
    let (list, none) = found(session, args, archive, order.as_ref()).await?;
    if list.items.is_empty() && format.is_text() {
        session.tell(&none);
        return Ok(0);
    }
    print(session, &list, (format, !args.list.no_headers)).map(|()| 0)
}

/// The base backups in the wanted order, and what to say where there is none.
async fn found(
    session: &Session,
    args: &BackupsArgs,
    archive: Option<(ArchiveUrl, S3Options)>,
    order: Option<&JsonPath>,
) -> Result<(Backups, String)> {
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
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
            let asking = Asking::of(session, &cluster, &workload, &args.state).await;
            // Who follows a list is not asked for a Job every now and then.
            let asking = if args.list.watch { asking.without_offer() } else { asking };
            let list: Backups = asking.required("/v1/backups").await?;
            (list, to_begin(format!("kubectl pitr backup {} -n {}", workload.name, workload.namespace)))
        }
    };
    if let Some(order) = order {
        order.sort(&mut list.items, document);
    }
    Ok((list, none))
}

fn document(backup: &Backup) -> Value {
    let one = Backups { items: vec![backup.clone()], ..Backups::default() };
    backups_document(&one)["items"][0].clone()
}

/// Which one it is, and what it says beside how far it reaches, which changes by itself.
fn said(backup: &Backup) -> (String, String) {
    let key = [backup.namespace.as_deref(), backup.workload.as_deref(), Some(&backup.id)];
    let says = document(&Backup { reaches_to: None, ..backup.clone() }).to_string();
    (key.into_iter().flatten().collect::<Vec<_>>().join("/"), says)
}

fn print(session: &Session, list: &Backups, (format, headers): (OutputFormat, bool)) -> Result<()> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(&backups_document(list), format),
        OutputFormat::Name => session.print(&list.items.iter().map(|b| format!("{}\n", b.id)).collect::<String>()),
        OutputFormat::Table | OutputFormat::Wide => {
            session.print(&backups_table(list, headers, format == OutputFormat::Wide))
        }
    }
}

/// The base backups of several workloads, each with whose it is; none where no workload is meant.
async fn of_many(session: &Session, args: &BackupsArgs) -> Result<Option<Backups>> {
    let heard = source::each(session, &args.list, |cluster, workload| async move {
        let asking = Asking::of(session, &cluster, &workload, &args.state).await.without_offer();
        asking.required::<Backups>("/v1/backups").await
    });
    let heard = heard.await?;
    if heard.is_empty() {
        return Ok(None);
    }
    let mut whole = Backups::default();
    for (workload, list) in heard {
        let (namespace, name) = (Some(workload.namespace), Some(workload.name));
        let owned = |backup| Backup { namespace: namespace.clone(), workload: name.clone(), ..backup };
        whole.items.extend(list.items.into_iter().map(owned));
    }
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_backup_says_something_else_when_it_becomes_unusable_and_not_when_time_goes_on() {
        let at = |text: &str| Some(text.parse().unwrap());
        let backup =
            Backup { id: "bb-1".into(), usable: true, reaches_to: at("2026-11-21T07:30:18Z"), ..Backup::default() };
        let later = Backup { reaches_to: at("2026-11-21T07:30:23Z"), ..backup.clone() };
        let unusable = Backup { usable: false, ..later.clone() };
        assert_eq!(said(&backup), said(&later));
        assert_ne!(said(&later), said(&unusable));
        let of_another = Backup { workload: Some("orders".into()), ..backup.clone() };
        assert_ne!(said(&backup).0, said(&of_another).0);
    }
}
