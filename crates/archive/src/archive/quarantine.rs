//! Which objects verification found damaged or gone: no window and no plan relies on them.

use std::collections::BTreeSet;

/// More names than this are told by the folders that they lie in; what is sound beside them is passed over then, too.
const NAMES_MAX: usize = 4096;

/// Keys of objects, or folders (with a slash at their end) of which every object counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantine {
    names: BTreeSet<String>,
}

impl Quarantine {
    /// All of these keys, however many: none is left out. What is no key of an object in a folder is.
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = String>) -> Self {
        let mut names: BTreeSet<String> = keys.into_iter().filter(|key| key.contains('/')).collect();
        while names.len() > NAMES_MAX {
            let deepest = names.iter().map(|name| depth(name)).max().unwrap_or(0);
            let shorter = |name: String| if depth(&name) == deepest { folder(&name).to_owned() } else { name };
            names = names.into_iter().map(shorter).collect();
        }
        Self { names }
    }

    /// What either of two names.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::of(self.names().chain(other.names()).map(str::to_owned))
    }

    /// Whether every object can be relied on, as far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether an object cannot be relied on.
    #[must_use]
    pub fn holds(&self, key: &str) -> bool {
        !self.is_empty()
            && (self.names.contains(key) || key.match_indices('/').any(|(at, _)| self.names.contains(&key[..=at])))
    }

    /// The same by its own name, not by a folder that it lies in.
    pub(super) fn names_exactly(&self, key: &str) -> bool {
        self.names.contains(key)
    }

    /// Keys and folders, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

fn depth(name: &str) -> usize {
    name.trim_end_matches('/').matches('/').count()
}

fn folder(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    name.rfind('/').map_or(name, |at| &name[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(binlog: usize, segment: usize) -> String {
        format!("binlogs/server/{binlog:010}-aa/{segment:012}-bb")
    }

    #[test]
    fn few_are_named_one_by_one() {
        let quarantine = Quarantine::of([segment(1, 2), segment(3, 4), "base backup bb-1".to_owned()]);
        assert_eq!(quarantine.names().collect::<Vec<_>>(), [segment(1, 2), segment(3, 4)]);
        assert!(quarantine.holds(&segment(1, 2)) && !quarantine.holds(&segment(1, 3)));
        assert!(!Quarantine::default().holds(&segment(1, 2)));
    }

    #[test]
    fn many_are_named_by_their_folders_and_none_is_left_out() {
        let keys = || (0..NAMES_MAX + 1).map(|n| segment(n % 7, n));
        let quarantine = Quarantine::of(keys());
        assert_eq!(quarantine.names().count(), 7);
        assert!(keys().all(|key| quarantine.holds(&key)) && !quarantine.holds(&segment(7, 1)));
        // One in each of very many binlogs.
        let quarantine = Quarantine::of((0..2 * NAMES_MAX).map(|n| segment(n, 0)).chain(["chunks/ab/cd".to_owned()]));
        assert_eq!(quarantine.names().collect::<Vec<_>>(), ["binlogs/server/", "chunks/ab/"]);
        assert!(quarantine.holds(&segment(99_999, 5)) && !quarantine.holds("binlogs/other/1-a/2-b"));
    }
}
