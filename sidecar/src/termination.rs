//! A Job's last words: one line that fits where Kubernetes keeps them.

use std::fs::OpenOptions;
use std::io::Write as _;

use serde::Serialize;

/// The longest line that fits.
const LINE_MAX: usize = 2000;
/// Where Kubernetes reads a container's last words.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// A line of JSON that fits: `shorten` cuts the long texts to the limit that it is given.
pub(crate) fn fit<T: Serialize>(shorten: impl Fn(usize) -> T) -> String {
    let mut limit = 600;
    loop {
        let line = serde_json::to_string(&shorten(limit)).unwrap_or_default();
        if line.len() <= LINE_MAX || limit < 40 {
            return line;
        }
        limit = limit * 2 / 3;
    }
}

/// A text no longer than about `limit`, its middle left out and counted.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit {
        return text.to_owned();
    }
    let half = limit / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(length - half).collect();
    format!("{head}...({} left out)...{tail}", length - 2 * half)
}

/// Leaves a line where Kubernetes looks for it. Only in a file that is there: by hand on a host nothing must appear in /dev.
pub(crate) fn leave(line: &str) {
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(TERMINATION_LOG) {
        let _nobody_reads_it_then = file.write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, cut, fit};

    #[test]
    fn a_line_always_fits() {
        let long = "\"ä".repeat(100_000);
        let line = fit(|limit| (cut(&long, limit), cut(&long, limit), cut(&long, limit)));
        assert!(line.len() <= LINE_MAX, "{}", line.len());
        assert!(line.contains("left out"));
        assert_eq!(cut("short", 5), "short");
    }
}
