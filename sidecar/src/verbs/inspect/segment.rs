//! What is in a stored segment: its header, its index, and whether its bytes are those that it speaks of.

use std::path::Path;

use pitr_archive::{Closes, HeaderCodec, IndexedTransaction, OpenedSegment, SegmentError, SegmentHeader, open_segment};
use pitr_recovery::format_time;
use serde_json::{Value, json};

use super::Inspected;

/// Opens an object and describes it.
pub(super) fn inspect(path: &Path, object: &[u8], with_transactions: bool) -> anyhow::Result<Inspected> {
    let OpenedSegment { header, transactions, raw } = open_segment(object)?;
    let shown = if with_transactions { &transactions[..] } else { &[] };
    let state = match &raw {
        Ok(_) => "verified".to_owned(),
        Err(reason) => reason.to_string(),
    };
    let is_told_by_others = matches!(raw, Err(SegmentError::Repeat { .. }));
    let is_damaged = raw.is_err() && header.recipients.is_empty() && !is_told_by_others;
    Ok(Inspected {
        text: text(path, &header, shown, &state),
        document: document(path, &header, object.len(), &state),
        list: shown.iter().map(transaction).collect(),
        is_damaged,
    })
}

fn codec(header: &SegmentHeader) -> String {
    match &header.codec {
        HeaderCodec::Known(codec) => format!("{codec:?}"),
        HeaderCodec::Repeat(repeat) => {
            let of: Vec<String> = repeat.of.iter().map(|of| format!("{} {}..{}", of.key, of.from, of.to)).collect();
            format!("what differs from {}", of.join(", "))
        }
        HeaderCodec::Other(name) => name.clone(),
    }
}

fn end(header: &SegmentHeader) -> String {
    match &header.closes {
        None => "not the end of its binlog".to_owned(),
        Some(Closes::Rotate { next }) => format!("the server went on in {next}"),
        Some(Closes::Stop) => "the server was shut down".to_owned(),
        Some(Closes::Crash) => "the server crashed".to_owned(),
    }
}

fn gtid(transaction: &IndexedTransaction) -> Option<String> {
    transaction.gtid.map(|gtid| gtid.to_string())
}

fn text(path: &Path, header: &SegmentHeader, transactions: &[IndexedTransaction], state: &str) -> String {
    let summary = &header.transactions;
    let mut lines = vec![
        format!("{}   {} {}", path.display(), header.flavour, header.server_version),
        format!("  segment of    {} ({}), bytes {}..{}", header.name, header.binlog, header.start, header.end),
        format!("  stored as     {}; {state}", codec(header)),
        format!("  transactions  {}, of these {} without GTID", summary.count, summary.without_gtid),
        format!("  end           {}", end(header)),
    ];
    if let (Some(first), Some(last)) = (&summary.first, &summary.last) {
        lines.push(format!("  commits       {} .. {}", format_time(first.commit_us), format_time(last.commit_us)));
    }
    if let Some(damage) = &header.damage {
        lines.push(format!("  damage        at offset {}: {}", damage.offset, damage.reason));
    }
    lines.extend(transactions.iter().map(|transaction| {
        let gtid = gtid(transaction).unwrap_or_else(|| "-".to_owned());
        let time = format_time(transaction.commit_us);
        format!("  {time}   {gtid}   {}..{}   {:?}", transaction.start, transaction.end, transaction.flags)
    }));
    lines.join("\n")
}

fn document(path: &Path, header: &SegmentHeader, stored: usize, state: &str) -> Value {
    let summary = &header.transactions;
    json!({
        "kind": "Segment",
        "file": path.display().to_string(),
        "binlog": header.name.as_str(),
        "id": header.binlog.to_string(),
        "source": header.binlog.source,
        "flavour": header.flavour.to_string(),
        "serverVersion": header.server_version,
        "start": header.start,
        "end": header.end,
        "storedBytes": stored,
        "codec": codec(header),
        "recipients": header.recipients,
        "transactions": summary.count,
        "withoutGtid": summary.without_gtid,
        "firstCommitAt": summary.first.as_ref().map(|first| format_time(first.commit_us)),
        "lastCommitAt": summary.last.as_ref().map(|last| format_time(last.commit_us)),
        "closes": header.closes.as_ref().map(|_| end(header)),
        "damageAt": header.damage.as_ref().map(|damage| damage.offset),
        "writtenAt": header.written_at.to_string(),
        "writer": header.writer,
        "content": state,
    })
}

fn transaction(transaction: &IndexedTransaction) -> Value {
    json!({
        "kind": "Transaction",
        "gtid": gtid(transaction),
        "committedAt": format_time(transaction.commit_us),
        "start": transaction.start,
        "end": transaction.end,
        "flags": format!("{:?}", transaction.flags),
    })
}
