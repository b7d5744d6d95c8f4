//! How much memory a restoring server may take.

use std::fs;

/// What a server takes beside its buffer pool, and we beside the server.
const REST: u64 = 512 << 20;
/// The smallest buffer pool that is worth having.
const POOL_MIN: u64 = 128 << 20;

/// Bytes of buffer pool for data of `data_bytes`: no more than data and machine have use for.
pub(super) fn buffer_pool(data_bytes: u64) -> u64 {
    pool(available(), data_bytes)
}

fn pool(available: Option<u64>, data_bytes: u64) -> u64 {
    let half = available.unwrap_or(REST).saturating_sub(REST) / 2;
    let useful = data_bytes.saturating_add(data_bytes / 4);
    half.min(useful).max(POOL_MIN)
}

/// Bytes that this container or this machine has left.
fn available() -> Option<u64> {
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()).min();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo(&text));
    match (limit, machine) {
        (Some(limit), Some(machine)) => Some(limit.min(machine)),
        (limit, machine) => limit.or(machine),
    }
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{POOL_MIN, meminfo, pool};

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_pool_fits_the_machine_and_the_data() {
        assert_eq!(pool(Some(16 * GIB), 100 * GIB), 16 * GIB / 2 - GIB / 4);
        assert_eq!(pool(Some(16 * GIB), GIB), GIB + GIB / 4);
        assert_eq!(pool(Some(GIB / 2), 100 * GIB), POOL_MIN);
        assert_eq!(pool(None, 100 * GIB), POOL_MIN);
        assert_eq!(meminfo("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
    }
}
