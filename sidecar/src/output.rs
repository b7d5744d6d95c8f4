//! Standard output: data only. A reader that closes the pipe early (`| head`) is a success, not an error.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use serde::Serialize;

/// Writes `text` and a line end.
pub(crate) fn print_line(text: &str) -> anyhow::Result<()> {
    write_bytes(format!("{text}\n").as_bytes())
}

/// Writes a document: in lines for people, in one line where a machine reads the log, so that it is found again among others.
pub(crate) fn print_document(document: &impl Serialize, one_line: bool) -> anyhow::Result<()> {
    let text = if one_line { serde_json::to_string(document)? } else { serde_json::to_string_pretty(document)? };
    print_line(&text)
}

/// Writes bytes as they are and flushes them.
pub(crate) fn write_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(reason) if reason.kind() != ErrorKind::BrokenPipe => Err(reason).context("write to standard output"),
        Ok(()) | Err(_) => Ok(()),
    }
}
