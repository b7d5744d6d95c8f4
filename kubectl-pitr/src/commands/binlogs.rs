//! `binlogs`: what is archived, binlog by binlog.

use anyhow::Result;
use pitr_archive::document::BinlogFilter;
use pitr_recovery::code;
use serde_json::{Value, json};

use super::origin::Origin;
use super::source;
use crate::args::{BinlogsArgs, OutputFormat};
use crate::failure::Failure;
use crate::render::{binlogs_table, segments_table};
use crate::session::Session;
use crate::state::Binlogs;
use crate::target;

pub async fn run(session: &Session, args: &BinlogsArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    let filter = filter(session, args)?;
    let order = source::row_order(&args.list)?;
    let mut none = "no such binlog is archived".to_owned();
    let mut document = match args.list.is_of_many() {
        true => {
            let (document, is_any) = of_many(session, args, &filter).await?;
            if !is_any {
                none = source::none_archived(session, &args.list);
            }
            document
        }
        false => {
            let origin = Origin::find(session, args.workload.as_deref(), (&args.state, &args.archive)).await?;
            origin.binlogs(&filter).await?
        }
    };
    if let (Some(order), Some(items)) = (order, document["items"].as_array_mut()) {
        order.sort(items, Value::clone);
    }
    if matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        return session.print_document(&document, format).map(|()| 0);
    }
    let list: Binlogs = serde_json::from_value(document)?;
    match format {
        OutputFormat::Name => {
            session.print(&list.items.iter().map(|b| format!("{}\n", b.binlog)).collect::<String>())?;
        }
        _ if list.items.is_empty() => session.tell(&none),
        _ if args.segments => session.print(&segments_table(&list, !args.list.no_headers))?,
        _ => session.print(&binlogs_table(&list, !args.list.no_headers, format == OutputFormat::Wide))?,
    }
    Ok(0)
}

/// One document of the binlogs of several workloads, each with whose it is, and whether any workload is meant.
async fn of_many(session: &Session, args: &BinlogsArgs, filter: &BinlogFilter) -> Result<(Value, bool)> {
    if args.archive.archive.is_some() {
        source::refuse_many(&args.list)?;
    }
    let heard = source::each(session, &args.list, |cluster, workload| async move {
        Origin::of(session, cluster, workload, &args.state).await.binlogs(filter).await
    });
    let mut whole = json!({"apiVersion": "kubectl-pitr/v1", "kind": "BinlogList", "items": []});
    let mut items = Vec::new();
    let heard = heard.await?;
    let is_any = !heard.is_empty();
    for (workload, mut document) in heard {
        for mut item in document["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            (item["namespace"], item["workload"]) = (json!(workload.namespace), json!(workload.name));
            items.push(item);
        }
    }
    whole["items"] = items.into();
    Ok((whole, is_any))
}

fn filter(session: &Session, args: &BinlogsArgs) -> Result<BinlogFilter, Failure> {
    let reader = session.reader();
    let instant =
        |flag, text: &Option<String>| text.as_deref().map(|text| target::instant(flag, text, &reader)).transpose();
    let gtids = args.gtid.as_deref().map(|text| {
        text.parse().map_err(|reason| {
            Failure::new(code::GTID_UNREADABLE, format!("\"{text}\" is not a GTID set: {reason}"))
                .hint("MySQL: UUID[:TAG]:N[-M]; MariaDB: DOMAIN-SERVER-SEQ")
                .fix("copy one from the list of base backups: kubectl pitr backups -o wide")
        })
    });
    Ok(BinlogFilter {
        from_us: instant("--from", &args.from)?,
        to_us: instant("--to", &args.to)?,
        source: args.source.clone(),
        gtids: gtids.transpose()?,
    })
}
