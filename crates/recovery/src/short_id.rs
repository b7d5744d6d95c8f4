//! Short names for streams, branches and gaps: made from content, so equal on every machine.

use std::collections::BTreeSet;

/// Hex digits of a short name, if it is alone with them.
const DIGITS: usize = 4;

/// Gives short names and keeps them distinct.
#[derive(Debug, Default)]
pub(crate) struct ShortIds {
    taken: BTreeSet<String>,
}

impl ShortIds {
    /// The name for a content: a prefix and a few digits of its hash, more of them only if they are taken already.
    pub(crate) fn name(&mut self, prefix: &str, content: &str) -> String {
        let digits = format!("{:016x}", fnv1a(content.as_bytes()));
        let name = (DIGITS..digits.len()).map(|length| format!("{prefix}-{}", &digits[..length]));
        let free = name.clone().find(|name| !self.taken.contains(name));
        let name = free.unwrap_or_else(|| format!("{prefix}-{digits}-{}", self.taken.len()));
        self.taken.insert(name.clone());
        name
    }
}

/// FNV-1a, 64 bits, then mixed so that the first digits depend on every byte. No secret and no promise against an attacker
/// hangs on these names: a wrong one is refused, and what a plan does is named by SHA-256.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_content_and_stay_distinct() {
        let mut ids = ShortIds::default();
        let first = ids.name("br", "a");
        assert_eq!(first, ShortIds::default().name("br", "a"));
        assert_eq!(first.len(), "br-".len() + DIGITS);
        let again = ids.name("br", "a");
        assert!(again.starts_with(&first) && again.len() == first.len() + 1);
        assert_ne!(ids.name("br", "b"), first);
    }
}
