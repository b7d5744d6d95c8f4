//! `binlogs`: what is archived, binlog by binlog.

use anyhow::Result;
use pitr_archive::document::BinlogFilter;
use pitr_recovery::code;
use serde_json::{Value, json};

use super::asking::Asking;
use super::origin::{ANSWER_LIMIT, Origin};
use super::{looking, source};
use crate::args::{BinlogsArgs, OutputFormat};
use crate::failure::Failure;
use crate::question::binlogs_path;
use crate::render::{JsonPath, binlogs_table, segments_table};
use crate::session::Session;
use crate::state::Binlogs;
use crate::target;

pub async fn run(session: &Session, args: &BinlogsArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    looking::refuse_archive(&args.list, &args.state, &args.archive)?;
    let filter = filter(session, args)?;
    let order = source::row_order(&args.list)?;
    if args.list.watch {
        let look = async || {
            let (mut document, _) = found(session, args, &filter, order.as_ref()).await?;
            anyhow::Ok(document["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
        };
        let print = |items: Vec<Value>, is_first: bool| {
            print(session, args, list_of(&items), (format, is_first && !args.list.no_headers))
        };
        return looking::watch(session, look, said, print).await;
    }
    let (document, none) = found(session, args, &filter, order.as_ref()).await?;
    let is_empty = document["items"].as_array().is_none_or(Vec::is_empty);
    if is_empty && format.is_text() {
        session.tell(&none);
        return Ok(0);
    }
    print(session, args, document, (format, !args.list.no_headers)).map(|()| 0)
}

/// The document with its rows in the wanted order, and what to say where there is none.
async fn found(
    session: &Session,
    args: &BinlogsArgs,
    filter: &BinlogFilter,
    order: Option<&JsonPath>,
) -> Result<(Value, String)> {
    let mut none = "no such binlog is archived".to_owned();
    let mut document = if args.list.is_of_many() {
        let (document, is_any) = of_many(session, args, filter).await?;
        if !is_any {
            none = source::none_archived(session, &args.list);
        }
        document
    } else {
        let origin = Origin::find(session, args.workload.as_deref(), (&args.state, &args.archive)).await?;
        // Who follows a list is not asked for a Job every now and then.
        let origin = if args.list.watch { origin.without_offer() } else { origin };
        origin.binlogs(filter).await?
    };
    if let (Some(order), Some(items)) = (order, document["items"].as_array_mut()) {
        order.sort(items, Value::clone);
    }
    Ok((document, none))
}

/// Which binlog it is, and what it says.
fn said(item: &Value) -> (String, String) {
    let key =
        ["namespace", "workload", "source", "stream", "binlog"].map(|field| item[field].as_str().unwrap_or_default());
    (key.join("/"), item.to_string())
}

fn list_of(items: &[Value]) -> Value {
    json!({"apiVersion": "kubectl-pitr/v1", "kind": "BinlogList", "items": items})
}

fn print(
    session: &Session,
    args: &BinlogsArgs,
    document: Value,
    (format, headers): (OutputFormat, bool),
) -> Result<()> {
    if matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        return session.print_document(&document, format);
    }
    let list: Binlogs = serde_json::from_value(document)?;
    match format {
        OutputFormat::Name => session.print(&list.items.iter().map(|b| format!("{}\n", b.binlog)).collect::<String>()),
        _ if args.segments => session.print(&segments_table(&list, headers)),
        _ => session.print(&binlogs_table(&list, headers, format == OutputFormat::Wide)),
    }
}

/// One document of the binlogs of several workloads, each with whose it is, and whether any workload is meant.
async fn of_many(session: &Session, args: &BinlogsArgs, filter: &BinlogFilter) -> Result<(Value, bool)> {
    if args.archive.archive.is_some() {
        source::refuse_many(&args.list)?;
    }
    let heard = source::each(session, &args.list, |cluster, workload| async move {
        let asking = Asking::of(session, &cluster, &workload, &args.state).await.without_offer().patient(ANSWER_LIMIT);
        asking.document(&binlogs_path(filter)).await
    });
    let mut items = Vec::new();
    let heard = heard.await?;
    let is_any = !heard.is_empty();
    for (workload, mut document) in heard {
        for mut item in document["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            (item["namespace"], item["workload"]) = (json!(workload.namespace), json!(workload.name));
            items.push(item);
        }
    }
    Ok((list_of(&items), is_any))
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
