//! Lists that are longer than one answer may be come in pages.

use serde::Serialize;

/// Bytes of one page's items as JSON. With what stands around them they stay below the 8 MiB of an answer.
const PAGE_BYTES: usize = 6 << 20;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// How many items at most; none: as many as one answer has room for.
    pub limit: Option<usize>,
    /// What the page before gave as `next`; none: from the beginning.
    pub cursor: Option<String>,
}

/// The items that one page has room for, and whether others follow. The first one always fits.
pub(super) fn cut<T: Serialize>(items: impl Iterator<Item = T>, limit: Option<usize>) -> (Vec<T>, bool) {
    let mut page = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
        if page.len() >= limit.unwrap_or(usize::MAX) || (bytes > PAGE_BYTES && !page.is_empty()) {
            return (page, true);
        }
        page.push(item);
    }
    (page, false)
}

#[cfg(test)]
mod tests {
    use super::{PAGE_BYTES, cut};

    #[test]
    fn a_page_ends_at_its_limit_or_where_it_is_full() {
        assert_eq!(cut([1, 2, 3].into_iter(), Some(2)), (vec![1, 2], true));
        assert_eq!(cut([1, 2].into_iter(), Some(2)), (vec![1, 2], false));
        assert_eq!(cut([0; 0].into_iter(), None), (vec![], false));
        let large = "x".repeat(PAGE_BYTES / 2 - 8);
        let (page, more) = cut([large.as_str(); 3].into_iter(), None);
        assert_eq!((page.len(), more), (2, true));
        let larger = "x".repeat(2 * PAGE_BYTES);
        let (page, more) = cut([larger.as_str(); 2].into_iter(), None);
        assert_eq!((page.len(), more), (1, true), "one that is too large by itself has a page of its own");
    }
}
