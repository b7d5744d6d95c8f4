use super::GtidSource;
use super::intervals::Intervals;

/// Intervals by source, sorted by source. Nearly every set has one or two sources, and an archive of 100,000 binlogs has two sets
/// for each: a vector takes a tenth of the memory of a tree's node. Whoever writes sets writes them in order, so adding is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sources(Vec<(GtidSource, Intervals)>);

impl Sources {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, source: &GtidSource) -> Option<&Intervals> {
        let at = self.place(source).ok()?;
        self.0.get(at).map(|(_, intervals)| intervals)
    }

    /// The intervals of a source, none at first.
    pub(super) fn of(&mut self, source: &GtidSource) -> &mut Intervals {
        let at = self.place(source).unwrap_or_else(|at| {
            if self.0.is_empty() {
                // Not room for four, as a vector takes by itself.
                self.0.reserve_exact(1);
            }
            self.0.insert(at, (*source, Intervals::default()));
            at
        });
        &mut self.0[at].1
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&GtidSource, &Intervals)> {
        self.0.iter().map(|(source, intervals)| (source, intervals))
    }

    /// Where a source stands; an error: where it would.
    fn place(&self, source: &GtidSource) -> Result<usize, usize> {
        match self.0.last() {
            Some((last, _)) if last < source => Err(self.0.len()),
            Some((last, _)) if last == source => Ok(self.0.len() - 1),
            _ => self.0.binary_search_by(|(own, _)| own.cmp(source)),
        }
    }
}

/// From sources in ascending order, each once.
impl FromIterator<(GtidSource, Intervals)> for Sources {
    fn from_iter<I: IntoIterator<Item = (GtidSource, Intervals)>>(sources: I) -> Self {
        let sources: Vec<_> = sources.into_iter().collect();
        debug_assert!(sources.is_sorted_by(|(a, _), (b, _)| a < b), "sources out of order");
        Self(sources)
    }
}
