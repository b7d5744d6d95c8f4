//! Which pages to merge: few enough pages to read, few enough bytes to rewrite.

use std::collections::BTreeMap;

use super::FULL_PAGE_STORED_BYTES;
use crate::layout::{LEVEL_MAX, PageKey};

/// Pages of one level and source that are left alone while there is other work.
const BUSY_PAGES_PER_LEVEL: usize = 15;

/// Pages of one source that even an idle archiver leaves alone: an inventory is to take ten requests, and most of them are
/// for what is no page.
const IDLE_PAGES: usize = 3;

/// How much is worth doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeEffort {
    /// Only what keeps the number of pages bounded.
    Busy,
    /// Down to a handful of pages: there is nothing else to do.
    Idle,
}

/// Pages to be replaced by one, or a few, of a level above all of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) pages: Vec<PageKey>,
    pub(crate) level: u8,
}

/// The next merge of one source's pages, given with their stored lengths.
///
/// A level is merged as a whole into the next one. So a merge's level is above that of each page it replaces (T), a line
/// is rewritten once per level, and levels grow with the logarithm of the number of pages.
pub(crate) fn choose(pages: &[(PageKey, u64)], effort: MergeEffort) -> Option<Merge> {
    let mut levels: BTreeMap<u8, Vec<&PageKey>> = BTreeMap::new();
    let small = || pages.iter().filter(|(page, length)| *length < FULL_PAGE_STORED_BYTES && page.level < LEVEL_MAX);
    for (page, _) in small() {
        levels.entry(page.level).or_default().push(page);
    }
    let keep = match effort {
        MergeEffort::Idle if small().count() > IDLE_PAGES => 1,
        MergeEffort::Idle | MergeEffort::Busy => BUSY_PAGES_PER_LEVEL,
    };
    let (level, pages) = levels.into_iter().find(|(_, pages)| pages.len() > keep)?;
    Some(Merge { pages: pages.into_iter().cloned().collect(), level: level + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ShortHash;

    fn page(level: u8, number: u64) -> (PageKey, u64) {
        (PageKey { source: "s".to_owned(), level, hash: ShortHash(number.to_be_bytes()) }, 1000)
    }

    /// Adds pages one by one, merging as told; gives how many pages and levels are left and how often a line was rewritten.
    fn grow(count: u64, effort: MergeEffort) -> (usize, u8, f64) {
        let (mut pages, mut rewritten) = (Vec::<((PageKey, u64), u64)>::new(), 0_u64);
        for number in 0..count {
            pages.push((page(0, number), 1));
            let keys = |pages: &[((PageKey, u64), u64)]| pages.iter().map(|(page, _)| page.clone()).collect::<Vec<_>>();
            while let Some(merge) = choose(&keys(&pages), effort) {
                let (old, kept) = pages.into_iter().partition::<Vec<_>, _>(|((key, _), _)| merge.pages.contains(key));
                assert!(old.iter().all(|((key, _), _)| key.level < merge.level));
                let lines: u64 = old.iter().map(|(_, lines)| lines).sum();
                rewritten += lines;
                pages = kept;
                pages.push((page(merge.level, number), lines));
            }
        }
        assert_eq!(pages.iter().map(|(_, lines)| lines).sum::<u64>(), count);
        let top = pages.iter().map(|((key, _), _)| key.level).max().unwrap_or(0);
        (pages.len(), top, rewritten as f64 / count as f64)
    }

    #[test]
    fn pages_stay_few_and_lines_are_rarely_rewritten() {
        let (pages, levels, rewrites) = grow(20_000, MergeEffort::Busy);
        assert!(pages <= 60 && levels <= 4 && rewrites < 4.0, "{pages} {levels} {rewrites}");
        let (pages, levels, rewrites) = grow(20_000, MergeEffort::Idle);
        assert!(pages <= 9 && levels <= 20 && rewrites < 16.0, "{pages} {levels} {rewrites}");
    }

    #[test]
    fn full_pages_and_the_last_level_are_left_alone() {
        let full: Vec<_> = (0..40).map(|n| (page(1, n).0, FULL_PAGE_STORED_BYTES)).collect();
        assert_eq!(choose(&full, MergeEffort::Idle), None);
        let last: Vec<_> = (0..40).map(|n| page(LEVEL_MAX, n)).collect();
        assert_eq!(choose(&last, MergeEffort::Idle), None);
    }
}
