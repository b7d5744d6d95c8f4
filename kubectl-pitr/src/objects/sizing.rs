//! How much room a restore or a backup needs.

use pitr_recovery::{BaseBackup, PlanParts};

use crate::failure::Failure;
use crate::render::{binary_size, quantity};
use pitr_recovery::code;

const GIB: u64 = 1 << 30;
/// Temporary tables, and what a file system keeps for itself.
const OVERHEAD_BYTES: u64 = 512 << 20;
/// Smallest and largest redo log of the server that restores.
const REDO: (u64, u64) = (64 << 20, 1 << 30);

/// Bytes that a restore needs: the data, what the replay adds, its relay logs, and redo.
pub fn restore_bytes(plan: &PlanParts) -> u64 {
    let data = data_bytes(&plan.base);
    let kept = data.saturating_add(data / 10).saturating_add(plan.bytes.saturating_mul(2));
    kept.saturating_add((kept / 16).clamp(REDO.0, REDO.1)).saturating_add(OVERHEAD_BYTES)
}

/// Bytes of the base's data when it lies on the volume: what the server had then, and never less than the copy itself.
fn data_bytes(base: &BaseBackup) -> u64 {
    let recorded = base.settings.get("data_bytes").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    // A dump grows when it is loaded: indices are not in it.
    let factor = if base.method == "dump" { 2 } else { 1 };
    recorded.max(base.raw_bytes.saturating_mul(factor))
}

/// The new volume's size: what was asked for, else the workload's own or more.
pub fn volume_size(asked: Option<&str>, own: Option<u64>, needed: u64) -> Result<String, Failure> {
    let Some(asked) = asked else {
        return Ok(match own {
            Some(own) if own >= needed => whole(own),
            _ => whole(needed),
        });
    };
    let bytes = quantity(asked)
        .ok_or_else(|| Failure::usage(format!("\"{asked}\" is not a size")).fix(format!("--size {}", whole(needed))))?;
    if bytes < needed {
        return Err(Failure::new(
            code::VOLUME_TOO_SMALL,
            format!("{asked} is too small, the plan needs {}", whole(needed)),
        )
        .hint(format!("{} with the data, the replay's relay logs and redo; nothing was created", binary_size(needed)))
        .fix(format!("--size {}", whole(needed))));
    }
    Ok(asked.to_owned())
}

/// Room for a copy before it is uploaded.
pub fn scratch_size(asked: Option<&str>, volume: Option<u64>, free: Option<u64>) -> Result<String, Failure> {
    if let Some(asked) = asked {
        return match quantity(asked) {
            Some(_) => Ok(asked.to_owned()),
            None => Err(Failure::usage(format!("\"{asked}\" is not a size")).fix("--scratch-size 60Gi")),
        };
    }
    let Some(volume) = volume else {
        return Err(Failure::usage("the size of the data is not known").fix("--scratch-size 60Gi"));
    };
    // On a shared disk more can be free than the volume has.
    let used = free.and_then(|free| volume.checked_sub(free)).unwrap_or(volume);
    Ok(whole(used.saturating_add(used / 5 * 2).max(GIB)))
}

/// Room for a drill: a whole server, as large as it may become on its own volume.
pub fn drill_size(asked: Option<&str>, volume: Option<u64>) -> Result<String, Failure> {
    match (asked, volume) {
        (Some(asked), _) if quantity(asked).is_some() => Ok(asked.to_owned()),
        (Some(asked), _) => Err(Failure::usage(format!("\"{asked}\" is not a size")).fix("--scratch-size 60Gi")),
        (None, Some(volume)) => Ok(whole(volume)),
        (None, None) => Err(Failure::usage("the size of the data is not known").fix("--scratch-size 60Gi")),
    }
}

/// A Kubernetes quantity, in whole GiB, rounded up.
fn whole(bytes: u64) -> String {
    format!("{}Gi", bytes.div_ceil(GIB).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_never_smaller_than_the_plan() {
        assert_eq!(volume_size(None, Some(80 << 30), 58 << 30).unwrap(), "80Gi");
        assert_eq!(volume_size(None, Some(40 << 30), 58 << 30).unwrap(), "58Gi");
        assert_eq!(volume_size(Some("60Gi"), None, 58 << 30).unwrap(), "60Gi");
        let refused = volume_size(Some("40Gi"), None, 58 << 30).unwrap_err();
        assert_eq!((refused.number(), refused.exit()), (Some(403), 4));
        assert!(volume_size(Some("much"), None, 1).is_err());
    }

    #[test]
    fn scratch_is_made_for_what_is_used() {
        assert_eq!(scratch_size(None, Some(80 << 30), Some(40 << 30)).unwrap(), "56Gi");
        assert_eq!(scratch_size(None, Some(2 << 30), Some(900 << 30)).unwrap(), "3Gi");
        assert_eq!(scratch_size(Some("7Gi"), None, None).unwrap(), "7Gi");
        assert!(scratch_size(None, None, None).is_err());
        assert_eq!(drill_size(None, Some(80 << 30)).unwrap(), "80Gi");
        assert_eq!(drill_size(Some("7Gi"), None).unwrap(), "7Gi");
        assert!(drill_size(Some("much"), Some(1)).is_err() && drill_size(None, None).is_err());
    }
}
