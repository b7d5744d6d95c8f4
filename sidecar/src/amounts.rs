//! Amounts for people: sizes in IEC units, durations in at most two units.

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// `160 B`, `2.5 KiB`, `61 GiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths % 10 {
        0 => format!("{} {}", tenths / 10, UNITS[unit]),
        rest => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

/// `2s`, `1m25s`, `1h12m`, `3d02h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest:02}s"),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// `1 binlog`, `3 binlogs`.
pub(crate) fn count_of(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::{binary_size, count_of, duration};

    #[test]
    fn amounts_are_short() {
        assert_eq!(
            ["160 B", "2.5 KiB", "1 MiB", "61 GiB"],
            [160, 2560, 1 << 20, 61 << 30].map(binary_size).each_ref().map(String::as_str)
        );
        assert_eq!(
            ["2s", "1m25s", "1h12m", "3d02h"],
            [2, 85, 4320, 266_400].map(duration).each_ref().map(String::as_str)
        );
        assert_eq!((count_of(1, "binlog"), count_of(0, "binlog")), ("1 binlog".to_owned(), "0 binlogs".to_owned()));
    }
}
