//! Sizes in IEC units, durations in at most two units, Kubernetes quantities.

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `160 B`, `2.5 KiB`, `41.2 GiB`, `61 GiB`: one decimal unless it is 0.
pub fn binary_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    tenths = (tenths + 512) / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    match tenths % 10 {
        0 => format!("{} {}", tenths / 10, UNITS[unit]),
        rest => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

/// `0s`, `2s`, `1m25s`, `1h12m`, `3d02h`: two units, the lower one with two digits from days on.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) if rest == 0 => format!("{minutes}m"),
        (0, 0, _) => format!("{minutes}m{rest:02}s"),
        (0, _, 0) => format!("{hours}h"),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// `1 transaction`, `335 transactions`.
pub fn count_of(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// A Kubernetes quantity in bytes: `80Gi`, `500M`, `1073741824`, `1.5Gi`.
pub fn quantity(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor: u64 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(factor),
        Some((whole, fraction)) if fraction.len() <= 6 && !fraction.is_empty() => {
            let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
            let digits = 10u128.pow(fraction.len() as u32);
            let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / digits;
            whole.checked_mul(factor)?.checked_add(u64::try_from(part).ok()?)
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_unless_it_is_zero() {
        let check = |bytes, text: &str| assert_eq!(binary_size(bytes), text);
        check(0, "0 B");
        check(160, "160 B");
        check(1023, "1023 B");
        check(2543, "2.5 KiB");
        check(1 << 20, "1 MiB");
        check((1 << 20) - 1, "1 MiB");
        check(61 << 30, "61 GiB");
        check(44_238_013_235, "41.2 GiB");
        check(u64::MAX, "16 EiB");
    }

    #[test]
    fn durations_have_two_units() {
        let check = |seconds, text: &str| assert_eq!(duration(seconds), text);
        check(0, "0s");
        check(59, "59s");
        check(60, "1m");
        check(85, "1m25s");
        check(3600, "1h");
        check(4320, "1h12m");
        check(7 * 86_400 + 5 * 3600, "7d05h");
    }

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        assert_eq!(quantity("80Gi"), Some(80 << 30));
        assert_eq!(quantity("1.5Gi"), Some(3 << 29));
        assert_eq!(quantity("500M"), Some(500_000_000));
        assert_eq!(quantity("1073741824"), Some(1 << 30));
        assert_eq!(quantity("12 GB"), None);
        assert_eq!(quantity(""), None);
        assert_eq!(quantity("99999999999Pi"), None);
    }
}
