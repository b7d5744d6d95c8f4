//! A child process measured from outside: wall time, CPU time and the peak of its resident memory.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// What one run of a program cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Wall time in seconds.
    pub(crate) wall_s: f64,
    /// User and system time in seconds.
    pub(crate) cpu_s: f64,
    /// Peak of the resident memory in KiB.
    pub(crate) peak_kib: u64,
}

/// Runs a command to its end under `/usr/bin/time`'s source of figures: `/proc/PID`, read until it is gone.
///
/// # Errors
/// It could not be started, or ended with another code than 0.
pub(crate) async fn measure(command: &mut Command) -> Result<Cost> {
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    let pid = child.id().context("the process ended at once")?;
    let mut cost = Cost::default();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = tokio::time::sleep(Duration::from_millis(5)) => observe(pid, &mut cost),
        }
    };
    cost.wall_s = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(cost)
}

fn observe(pid: u32, cost: &mut Cost) {
    cost.peak_kib = cost.peak_kib.max(memory_kib(pid, "VmHWM:").unwrap_or(0));
    if let Some(cpu_s) = cpu_seconds(pid) {
        cost.cpu_s = cpu_s;
    }
}

/// What `/proc/PID/status` says under a name such as `VmHWM:`, in KiB.
pub(crate) fn memory_kib(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// User and system time of all children of this process that have ended and were waited for, and of theirs.
///
/// # Errors
/// There is no `/proc`.
pub(crate) fn cpu_of_ended_children() -> Result<f64> {
    times("self").and_then(|times| times.get(2..4).map(seconds)).context("read /proc/self/stat")
}

/// User and system time of a process and of its children that have ended, by `/proc/PID/stat` (proc(5), fields 14 to 17).
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    times(&pid.to_string()).map(|times| seconds(&times))
}

/// User and system time, and those of children that have ended, in ticks.
fn times(process: &str) -> Option<Vec<u32>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|field| field.parse().ok()).collect()
}

fn seconds(ticks: &[u32]) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0; // USER_HZ on every Linux
    f64::from(ticks.iter().sum::<u32>()) / TICKS_PER_SECOND
}
