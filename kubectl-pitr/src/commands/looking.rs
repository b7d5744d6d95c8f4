//! A list that is looked at again and again: rows are shown again when they say something else than before.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::args::{ArchiveArgs, ListArgs, StateArgs, Via};
use crate::failure::{self, EXIT_INTERRUPTED, Failure};
use crate::session::Session;

/// Between two looks: a sidecar tells its state every 15 s, and whenever it changes.
const EVERY: Duration = Duration::from_secs(5);

/// What was shown of each row.
#[derive(Default)]
struct Shown(BTreeMap<String, String>);

impl Shown {
    /// The rows that are new or say something else.
    fn news<R>(&mut self, rows: Vec<R>, said: impl Fn(&R) -> (String, String)) -> Vec<R> {
        let is_news = |row: &R| {
            let (key, says) = said(row);
            self.0.insert(key, says.clone()) != Some(says)
        };
        rows.into_iter().filter(is_news).collect()
    }
}

/// Looks until Ctrl-C, or until nobody reads it any more. `said`: what makes a row this one, and what it says beside what changes by itself;
/// `print` gets the rows to show, and whether they are the first.
pub(super) async fn watch<R>(
    session: &Session,
    look: impl AsyncFn() -> Result<Vec<R>>,
    said: impl Fn(&R) -> (String, String),
    print: impl Fn(Vec<R>, bool) -> Result<()>,
) -> Result<u8> {
    let mut shown = Shown::default();
    let (mut is_first, mut has_looked, mut told) = (true, false, None);
    let interrupts = session.mind();
    loop {
        let looked = tokio::select! {
            biased;
            () = interrupts.came() => return Ok(EXIT_INTERRUPTED),
            looked = look() => looked,
        };
        match looked {
            Ok(rows) => {
                (has_looked, told) = (true, None);
                let news = shown.news(rows, &said);
                if !news.is_empty() {
                    print(news, is_first)?;
                    if !session.is_read() {
                        return Ok(0);
                    }
                    is_first = false;
                }
            }
            // The first look says what is wrong with the question; later ones, what is wrong for a while.
            Err(error) if !has_looked => return Err(error),
            Err(error) => {
                let text = failure::of(&error).text();
                if told.as_ref() != Some(&text) {
                    session.tell(&text);
                }
                told = Some(text);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = interrupts.came() => return Ok(EXIT_INTERRUPTED),
        }
    }
}

/// What changes is what sidecars tell.
pub(super) fn refuse_archive(list: &ListArgs, state: &StateArgs, archive: &ArchiveArgs) -> Result<(), Failure> {
    if !list.watch || (archive.archive.is_none() && state.via != Via::Job) {
        return Ok(());
    }
    Err(Failure::usage("--watch follows sidecars: with --archive, and with --via=job, there are none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_again_when_it_says_something_else() {
        let mut shown = Shown::default();
        let said = |row: &(&str, u32)| (row.0.to_owned(), row.1.to_string());
        assert_eq!(shown.news(vec![("a", 1), ("b", 1)], said), [("a", 1), ("b", 1)]);
        assert_eq!(shown.news(vec![("a", 1), ("b", 2)], said), [("b", 2)]);
        assert!(shown.news(vec![("b", 2)], said).is_empty(), "what is gone is not shown");
        assert_eq!(shown.news(vec![("b", 1), ("c", 1)], said), [("b", 1), ("c", 1)]);
    }
}
