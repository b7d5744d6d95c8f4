//! A server that a killed run of ours left behind on the same data directory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a left-over server gets to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends every server whose command line names `pid_file`: only we start servers with it, and only under the volume's lock, so it is
/// ours and its owner is dead. It is killed outright: the same thing happens to a server when its pod is.
pub(crate) async fn end_leftover(pid_file: &Path) -> std::io::Result<usize> {
    let argument = format!("--pid-file={}", pid_file.display());
    let left = running_with(&argument);
    for pid in &left {
        match kill_process(*pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(reason) => return Err(reason.into()),
        }
    }
    let gone = async {
        while !running_with(&argument).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.map_err(|_| {
        std::io::Error::new(std::io::ErrorKind::TimedOut, "a server left behind by a killed run does not end")
    })?;
    Ok(left.len())
}

/// Processes that have this argument. What cannot be read is another user's.
fn running_with(argument: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).any(|found| found == argument.as_bytes())
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .collect()
}
