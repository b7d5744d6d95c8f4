//! The window bar: time from left to right, what is recoverable, where base backups lie.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A recoverable interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarSpan {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// Cells a day when days are shown.
const CELLS_A_DAY: i64 = 8;
/// More cells than this do not fit beside the key column.
const CELLS_MAX: i64 = 112;
/// A young archive still gets a bar one can read.
const CELLS_MIN: i64 = 24;

/// The lengths of time that a label may stand for, in seconds.
const STEPS: [i64; 15] = [
    60,
    300,
    900,
    1_800,
    3_600,
    7_200,
    14_400,
    43_200,
    DAY,
    2 * DAY,
    7 * DAY,
    28 * DAY,
    112 * DAY,
    448 * DAY,
    4_480 * DAY,
];
const DAY: i64 = 86_400;

/// Two lines: labels, and the bar; `None` when nothing is recoverable.
///
/// A cell is recoverable (`█`) only if all of it that lies before the end is; `▒` marks what is not; `B` is put where a base backup
/// lies and `▶` after the end of the newest window.
pub fn window_bar(spans: &[BarSpan], backups: &[Timestamp]) -> Option<[String; 2]> {
    let first = spans.iter().map(|s| s.from).min()?;
    let end = spans.iter().map(|s| s.to).max()?;
    let axis = Axis::over(first, end);
    Some([axis.labels(), axis.row(spans, backups, (first, end)) + "▶"])
}

/// A stretch of time as cells of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    /// The beginning of the first cell.
    origin: i64,
    /// The length of a cell.
    cell: i64,
    cells: i64,
    /// The seconds that a label stands for.
    step: i64,
}

impl Axis {
    /// The axis from one instant to another.
    pub(super) fn over(first: Timestamp, end: Timestamp) -> Self {
        let (first, end) = (first.as_microsecond(), end.as_microsecond());
        let step = step_for(end - first);
        let cell = step * 1_000_000 / CELLS_A_DAY;
        let origin = first.div_euclid(step * 1_000_000) * step * 1_000_000;
        Self { origin, cell, cells: (end - origin) / cell + 1, step }
    }

    /// The line with the labels.
    pub(super) fn labels(&self) -> String {
        let mut labels = String::new();
        for index in (0..self.cells).filter(|index| index % CELLS_A_DAY == 0) {
            pad_to(&mut labels, usize::try_from(index).unwrap_or(0));
            labels.push_str(&label_at(self.origin + index * self.cell, self.step));
        }
        labels.trim_end().to_owned()
    }

    /// The cells up to the one of the second instant, those before the first one blank.
    pub(super) fn row(&self, spans: &[BarSpan], backups: &[Timestamp], (first, end): (Timestamp, Timestamp)) -> String {
        let (first, end) = (first.as_microsecond(), end.as_microsecond());
        let last = (end - self.origin).div_euclid(self.cell);
        let cell = |index: i64| {
            let (from, to) = (self.origin + index * self.cell, self.origin + (index + 1) * self.cell);
            if to <= first { ' ' } else { sign(spans, backups, (from.max(first), to.min(end + 1))) }
        };
        (0..=last).map(cell).collect()
    }
}

/// The sign of the instants from `from` up to, not including, `to`, in microseconds.
fn sign(spans: &[BarSpan], backups: &[Timestamp], (from, to): (i64, i64)) -> char {
    if backups.iter().any(|b| (from..to).contains(&b.as_microsecond())) {
        return 'B';
    }
    let whole = spans.iter().any(|s| s.from.as_microsecond() <= from && to - 1 <= s.to.as_microsecond());
    if whole { '█' } else { '▒' }
}

/// The smallest step whose bar fits; a bar of less than [`CELLS_MIN`] cells would say nothing.
fn step_for(length_us: i64) -> i64 {
    let seconds = length_us / 1_000_000;
    let fits = |step: &&i64| seconds / (**step / CELLS_A_DAY).max(1) <= CELLS_MAX - CELLS_A_DAY;
    let smallest = STEPS.iter().find(fits).copied().unwrap_or(STEPS[STEPS.len() - 1]);
    // A week is shown by days although hours would not fit worse: days are what people look for.
    if smallest < DAY && seconds >= CELLS_MIN * DAY / CELLS_A_DAY { DAY } else { smallest }
}

fn label_at(at_us: i64, step: i64) -> String {
    let Ok(instant) = Timestamp::from_microsecond(at_us) else { return String::new() };
    let format = match step {
        // Over years the day says nothing without the year.
        _ if step > 28 * DAY => "%Y-%m",
        _ if step >= DAY || at_us.rem_euclid(DAY * 1_000_000) == 0 => "%m-%d",
        _ => "%H:%M",
    };
    instant.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

fn pad_to(text: &mut String, width: usize) {
    while text.chars().count() < width {
        text.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn span(from: &str, to: &str) -> BarSpan {
        BarSpan { from: at(from), to: at(to) }
    }

    /// The picture as one string, so that a failing test shows both pictures.
    fn check(spans: &[BarSpan], backups: &[&str], expected: &str) {
        let backups: Vec<_> = backups.iter().map(|b| at(b)).collect();
        let drawn = window_bar(spans, &backups).map(|lines| lines.join("\n"));
        assert_eq!(drawn.as_deref(), Some(expected));
    }

    #[test]
    fn a_week_is_drawn_by_days() {
        check(
            &[span("2026-11-14T00:00:12Z", "2026-11-21T03:30:18.402117Z")],
            &["2026-11-14T00:00:12Z", "2026-11-15T00:00:12Z", "2026-11-21T02:00:09Z"],
            "11-14   11-15   11-16   11-17   11-18   11-19   11-20   11-21\n\
             B███████B███████████████████████████████████████████████B█▶",
        );
    }

    #[test]
    fn what_lies_between_windows_is_not_recoverable() {
        check(
            &[
                span("2026-11-18T00:00:00Z", "2026-11-19T01:00:00Z"),
                span("2026-11-14T00:00:00Z", "2026-11-17T03:10:44.902310Z"),
            ],
            &[],
            "11-14   11-15   11-16   11-17   11-18   11-19\n\
             █████████████████████████▒▒▒▒▒▒▒█████████▶",
        );
    }

    #[test]
    fn a_young_archive_is_drawn_by_minutes() {
        check(
            &[span("2026-11-21T07:00:00Z", "2026-11-21T07:03:00Z")],
            &["2026-11-21T07:00:00Z"],
            "07:00   07:01   07:02   07:03\nB████████████████████████▶",
        );
    }

    #[test]
    fn what_lies_before_the_history_is_blank() {
        check(
            &[span("2026-11-14T20:00:00Z", "2026-11-17T23:00:00Z")],
            &["2026-11-14T20:00:00Z"],
            "11-14   11-15   11-16   11-17\n      B█████████████████████████▶",
        );
    }

    #[test]
    fn nothing_recoverable_has_no_bar() {
        assert_eq!(window_bar(&[], &[at("2026-11-21T07:00:00Z")]), None);
    }

    #[test]
    fn every_length_fits() {
        let from = at("2026-01-01T00:00:00Z");
        for minutes in [0, 1, 5, 30, 90, 600, 3_000, 20_000, 90_000, 500_000, 5_000_000] {
            let to = Timestamp::from_second(from.as_second() + minutes * 60).unwrap();
            let lines = window_bar(&[BarSpan { from, to }], &[]).unwrap();
            assert!(
                lines[1].chars().count() <= usize::try_from(CELLS_MAX).unwrap() + 8,
                "{minutes} minutes: {lines:?}"
            );
            assert!(lines[1].ends_with('▶'));
        }
    }
}
