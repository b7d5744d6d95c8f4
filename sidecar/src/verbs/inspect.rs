//! `inspect`: what is in a binlog file or in a stored segment.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use pitr_binlog::{FileEnd, Scan, Transaction, scan};
use pitr_recovery::format_time;
use serde_json::{Value, json};

use crate::cli::{InspectArgs, InspectFormat};
use crate::output;

mod segment;

/// A segment begins with a skippable zstd frame, which holds its header.
const SEGMENT_MAGIC: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// No segment is larger: that much raw, and what does not shrink with header and index.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// What became of one file.
struct Inspected {
    text: String,
    document: Value,
    /// The transactions alone, one document each.
    list: Vec<Value>,
    is_damaged: bool,
}

/// Prints what each file holds. A file that is damaged is shown as far as it is whole, and makes the exit code 3.
pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let mut damaged = false;
    for path in &args.files {
        let inspected = inspect(path, args.transactions).with_context(|| format!("read \"{}\"", path.display()))?;
        damaged |= inspected.is_damaged;
        match args.output {
            InspectFormat::Json => {
                let mut document = inspected.document;
                document["list"] = inspected.list.into();
                output::print_line(&document.to_string())?;
            }
            InspectFormat::Jsonl => {
                output::print_line(&inspected.document.to_string())?;
                for transaction in inspected.list {
                    output::print_line(&transaction.to_string())?;
                }
            }
            InspectFormat::Text => output::print_line(&inspected.text)?,
        }
    }
    Ok(if damaged { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn inspect(path: &Path, with_transactions: bool) -> anyhow::Result<Inspected> {
    let mut file = File::open(path)?;
    let mut magic = [0; 4];
    let count = file.read(&mut magic)?;
    if magic == SEGMENT_MAGIC {
        anyhow::ensure!(file.metadata()?.len() <= SEGMENT_BYTES_MAX, "it is larger than any segment");
        let mut object = magic.to_vec();
        file.read_to_end(&mut object)?;
        return segment::inspect(path, &object, with_transactions);
    }
    let mut transactions = Vec::new();
    let scanned = scan(magic[..count].chain(file), &mut |transaction| {
        if with_transactions {
            transactions.push(transaction);
        }
    })?;
    Ok(Inspected {
        text: text(path, &scanned, &transactions),
        document: document(path, &scanned),
        list: transactions.iter().map(transaction_document).collect(),
        is_damaged: scanned.damage.is_some(),
    })
}

fn end(scan: &Scan) -> String {
    match (&scan.damage, &scan.end) {
        (Some(damage), _) => format!("damaged: {damage}"),
        (None, FileEnd::Rotate { next }) => format!("the server went on in {next}"),
        (None, FileEnd::Stop) => "the server was shut down".to_owned(),
        (None, FileEnd::Open) if scan.in_transaction => "it ends inside a transaction".to_owned(),
        (None, FileEnd::Open) => "nothing says that it ended".to_owned(),
    }
}

fn text(path: &Path, scan: &Scan, transactions: &[Transaction]) -> String {
    let server = scan
        .head
        .as_ref()
        .map_or_else(|| "no head".to_owned(), |head| format!("{} {}", head.format.flavour, head.format.server_version));
    let previous = scan.head.as_ref().map(|head| head.previous.to_string()).unwrap_or_default();
    let mut lines = vec![
        format!("{}   {server}", path.display()),
        format!("  previous      {previous}"),
        format!(
            "  transactions  {}, of these {} without GTID; {} events",
            scan.counts.transactions, scan.counts.anonymous, scan.counts.events
        ),
        format!("  whole         up to byte {} of {}", scan.boundary, scan.length),
        format!("  end           {}", end(scan)),
    ];
    lines.extend(transactions.iter().map(|transaction| {
        let gtid = transaction.gtid.map_or_else(|| "-".to_owned(), |gtid| gtid.to_string());
        format!(
            "  {}   {gtid}   {}..{}   {:?}",
            format_time(transaction.commit_us()),
            transaction.start,
            transaction.end,
            transaction.flags
        )
    }));
    lines.join("\n")
}

fn document(path: &Path, scan: &Scan) -> Value {
    json!({
        "kind": "Binlog",
        "file": path.display().to_string(),
        "flavour": scan.head.as_ref().map(|head| head.format.flavour.to_string()),
        "serverVersion": scan.head.as_ref().map(|head| head.format.server_version.clone()),
        "previousGtids": scan.head.as_ref().map(|head| head.previous.to_string()),
        "transactions": scan.counts.transactions,
        "withoutGtid": scan.counts.anonymous,
        "events": scan.counts.events,
        "wholeBytes": scan.boundary,
        "bytes": scan.length,
        "end": end(scan),
        "damaged": scan.damage.is_some(),
    })
}

fn transaction_document(transaction: &Transaction) -> Value {
    json!({
        "kind": "Transaction",
        "gtid": transaction.gtid.map(|gtid| gtid.to_string()),
        "committedAt": format_time(transaction.commit_us()),
        "start": transaction.start,
        "end": transaction.end,
        "flags": format!("{:?}", transaction.flags),
    })
}
