//! Whether what a plan leaves still serves what was promised.

use crate::branch::Branch;
use crate::timeline::Timeline;

/// Instants of one branch, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The branch, as it is called before anything goes.
    pub branch: String,
    /// The first instant.
    pub from_us: i64,
    /// The last instant.
    pub to_us: i64,
}

/// Whether instants of a branch are promised from `from_us` on: it is the live one, or nobody knows which is, or it reaches beyond.
pub(super) fn is_promised(timeline: &Timeline, branch: &Branch, from_us: i64) -> bool {
    let reaches = timeline.windows().iter().any(|window| window.branch == branch.id && window.to_us >= from_us);
    branch.live || !timeline.live_known || reaches || branch.last_us.is_some_and(|last| last >= from_us)
}

/// Instants from `from_us` on that can be restored before and cannot be after. Where a promised branch ends earlier, its last state
/// counts: on an idle server it is all there is.
pub(super) fn lost(before: &Timeline, after: &Timeline, from_us: i64) -> Vec<Span> {
    let mut lost = Vec::new();
    for branch in before.branches().iter().filter(|branch| is_promised(before, branch, from_us)) {
        let windows = || before.windows().iter().filter(|window| window.branch == branch.id);
        let Some(last) = windows().max_by_key(|window| window.to_us) else { continue };
        let same: Vec<&str> = after.branches().iter().filter(|b| b.end == branch.end).map(|b| b.id.as_str()).collect();
        let of_same = || after.windows().iter().filter(|window| same.contains(&window.branch.as_str()));
        if last.to_us < from_us {
            // When it was reached may be known less well: the transactions that told may be gone.
            if !of_same().any(|window| window.to_set == last.to_set) {
                lost.push(Span { branch: branch.id.clone(), from_us: last.to_us, to_us: last.to_us });
            }
            continue;
        }
        // The branch that ends where this one does: names change when what they are made from goes.
        let mut kept: Vec<(i64, i64)> = of_same().map(|window| (window.from_us, window.to_us)).collect();
        kept.sort_unstable();
        for window in windows().filter(|window| window.to_us >= from_us) {
            let spans = uncovered((window.from_us.max(from_us), window.to_us), &kept);
            lost.extend(spans.into_iter().map(|(from_us, to_us)| Span { branch: branch.id.clone(), from_us, to_us }));
        }
    }
    lost
}

/// What of an interval no other one covers. The others are sorted.
fn uncovered((from, to): (i64, i64), covering: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    let mut next = from;
    for (begin, end) in covering.iter().copied().filter(|(_, end)| *end >= from) {
        if next > to {
            break;
        }
        if begin > next {
            spans.push((next, to.min(begin - 1)));
        }
        next = next.max(end.saturating_add(1));
    }
    if next <= to {
        spans.push((next, to));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::uncovered;

    #[test]
    fn what_is_not_covered_is_found_at_both_ends_and_between() {
        assert_eq!(uncovered((10, 20), &[(0, 30)]), []);
        assert_eq!(uncovered((10, 20), &[]), [(10, 20)]);
        assert_eq!(uncovered((10, 20), &[(0, 9), (21, 30)]), [(10, 20)]);
        assert_eq!(uncovered((10, 20), &[(0, 11), (12, 13), (16, 18)]), [(14, 15), (19, 20)]);
        assert_eq!(uncovered((10, 20), &[(10, 10), (11, 20)]), []);
        assert_eq!(uncovered((10, 20), &[(15, 15), (25, 30)]), [(10, 14), (16, 20)]);
    }
}
