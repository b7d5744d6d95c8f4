use std::sync::Arc;

use super::GtidSource;
use super::intervals::Intervals;

/// Intervals by source, sorted by source. Nearly every set has one or two sources, and an archive of 100,000 binlogs has two sets
/// for each: a vector takes a tenth of the memory of a tree's node. Whoever writes sets writes them in order, so adding is cheap.
///
/// Copies of a set share it until one of them is changed: a timeline has each set of an archive in many places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sources(Option<Arc<List>>);

/// Never empty: a set without sources has no list.
type List = Vec<(GtidSource, Intervals)>;

impl Sources {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn get(&self, source: &GtidSource) -> Option<&Intervals> {
        let at = place(self.list(), source).ok()?;
        self.list().get(at).map(|(_, intervals)| intervals)
    }

    /// The intervals of a source, none at first.
    pub(super) fn of(&mut self, source: &GtidSource) -> &mut Intervals {
        // Not room for four, as a vector takes by itself.
        let list = Arc::make_mut(self.0.get_or_insert_with(|| Arc::new(Vec::with_capacity(1))));
        let at = place(list, source).unwrap_or_else(|at| {
            list.insert(at, (*source, Intervals::default()));
            at
        });
        &mut list[at].1
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&GtidSource, &Intervals)> {
        self.list().iter().map(|(source, intervals)| (source, intervals))
    }

    fn list(&self) -> &[(GtidSource, Intervals)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

/// Where a source stands; an error: where it would.
fn place(list: &[(GtidSource, Intervals)], source: &GtidSource) -> Result<usize, usize> {
    match list.last() {
        Some((last, _)) if last < source => Err(list.len()),
        Some((last, _)) if last == source => Ok(list.len() - 1),
        _ => list.binary_search_by(|(own, _)| own.cmp(source)),
    }
}

/// From sources in ascending order, each once.
impl FromIterator<(GtidSource, Intervals)> for Sources {
    fn from_iter<I: IntoIterator<Item = (GtidSource, Intervals)>>(sources: I) -> Self {
        let sources: List = sources.into_iter().collect();
        debug_assert!(sources.is_sorted_by(|(a, _), (b, _)| a < b), "sources out of order");
        Self((!sources.is_empty()).then(|| Arc::new(sources)))
    }
}
