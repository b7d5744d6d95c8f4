//! `inspect`: what is in a binlog file or in a stored segment.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use pitr_binlog::{FileEnd, Scan, Transaction, scan};
use pitr_recovery::format_time;
use serde_json::{Value, json};

use crate::cli::{InspectArgs, OutputFormat};
use crate::output;

/// A zstd frame, and a skippable one: a segment begins with the latter, and either is decompressed first.
const ZSTD_MAGIC: [&[u8]; 2] = [&[0x28, 0xb5, 0x2f, 0xfd], &[0x50, 0x2a, 0x4d, 0x18]];

/// Prints what each file holds. A file that is damaged is shown as far as it is whole, and makes the exit code 3.
pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let mut damaged = false;
    for path in &args.files {
        let mut transactions = Vec::new();
        let scanned = read(path, &mut |transaction| {
            if args.transactions {
                transactions.push(transaction);
            }
        })
        .with_context(|| format!("read \"{}\"", path.display()))?;
        damaged |= scanned.damage.is_some();
        match args.output {
            OutputFormat::Json => output::print_line(&document(path, &scanned, &transactions).to_string())?,
            OutputFormat::Text => output::print_line(&text(path, &scanned, &transactions))?,
        }
    }
    Ok(if damaged { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn read(path: &Path, sink: &mut dyn FnMut(Transaction)) -> anyhow::Result<Scan> {
    let mut file = File::open(path)?;
    let mut magic = [0; 4];
    let count = file.read(&mut magic)?;
    if ZSTD_MAGIC.contains(&&magic[..count]) {
        anyhow::bail!("this is a stored segment: zstd -dc of all segments of a binlog, in order, gives the binlog");
    }
    Ok(scan(magic[..count].chain(file), sink)?)
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

fn document(path: &Path, scan: &Scan, transactions: &[Transaction]) -> Value {
    json!({
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
        "list": transactions.iter().map(|transaction| json!({
            "gtid": transaction.gtid.map(|gtid| gtid.to_string()),
            "committedAt": format_time(transaction.commit_us()),
            "start": transaction.start,
            "end": transaction.end,
            "flags": format!("{:?}", transaction.flags),
        })).collect::<Vec<_>>(),
    })
}
