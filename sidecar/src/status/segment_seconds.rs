//! How long the steps take that make stored segments of a server's bytes.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Seconds. A segment of 8 MiB takes milliseconds to read and compress, and whatever the store takes to send.
const BOUNDS: [f64; 10] = [0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 16.0, 60.0, 300.0];

/// What is done with a segment, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reading its bytes, finding where it may end, and hashing them; the tail is hashed where it is compressed.
    Read,
    /// Compressing them.
    Compress,
    /// Encrypting them, where they are.
    Encrypt,
    /// Storing the object, with all repeats and whatever bounds the bandwidth.
    Put,
}

impl Step {
    /// As a label.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Compress => "compress",
            Self::Encrypt => "encrypt",
            Self::Put => "put",
        }
    }
}

/// Sums by step since the start of the process. Clones share them.
pub(super) type Histograms = Family<Vec<(&'static str, &'static str)>, Histogram, fn() -> Histogram>;

/// Times of segments. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct SegmentSeconds(Histograms);

impl SegmentSeconds {
    pub(super) fn new() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BOUNDS)))
    }

    /// One segment took so long.
    pub(crate) fn add(&self, step: Step, took: Duration) {
        self.0.get_or_create(&vec![("stage", step.as_str())]).observe(took.as_secs_f64());
    }

    /// For `/metrics`.
    pub(super) fn histograms(&self) -> Histograms {
        self.0.clone()
    }
}
