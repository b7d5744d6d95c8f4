//! `docs/metrics.md` lists what is exported, and alerts and dashboard use nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use pitr_archive::document::Instant;
use pitr_archive::{Counting, MemoryStore, Store as _};
use pitr_recovery::Inventory;

use super::super::segment_seconds::Step;
use super::*;
use crate::config;

fn read(path: &str) -> String {
    std::fs::read_to_string(PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("..").join(path)).unwrap()
}

/// A sidecar that knows everything there is to know.
async fn everything() -> String {
    let config =
        config::parse("workload: shop/mysql\narchive: file:///a\nsource: {datadir: /}", &BTreeMap::new()).unwrap();
    let text_of = read("crates/archive/src/document/golden/heartbeat.json");
    let mut heartbeat: Heartbeat = serde_json::from_str(&text_of).unwrap();
    heartbeat.verify.drill_at = Some(Instant(1_700_000_000_000_000));
    heartbeat.verify.drill_seconds = Some(842.0);
    heartbeat.verify.drill_failed_at = Some(Instant(1_600_000_000_000_000));
    let mut facts = Facts { catalog_pages: Some(3), orphan_bytes: Some(1 << 20), ..Facts::default() };
    facts.successes.prune_us = Some(1_700_000_000_000_000);
    let store = Counting::new(MemoryStore::new());
    store.list("").await.unwrap();
    let segments = SegmentSeconds::new();
    for step in [Step::Read, Step::Compress, Step::Encrypt, Step::Put] {
        segments.add(step, Duration::from_millis(7));
    }
    let timeline = Timeline::new(Inventory::default());
    let counts = Counts { store: store.counts(), segments: &segments };
    text((&config, &heartbeat), (&facts, Some(&timeline)), &counts).unwrap()
}

/// Each metric as the page names it (`pitr_gaps{state}`), and its kind.
fn exported(text: &str) -> BTreeMap<String, String> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let named = |(family, kind): (&str, &str)| {
        let sample = if kind == "counter" { format!("{family}_total{{") } else { format!("{family}{{") };
        let bucket = format!("{family}_bucket{{");
        let samples = text.lines().filter_map(|line| line.strip_prefix(&sample).or_else(|| line.strip_prefix(&bucket)));
        let labels = samples.flat_map(|rest| rest.split_once('}').map_or("", |(labels, _)| labels).split(','));
        let labels: BTreeSet<&str> = labels.filter_map(|label| label.split('=').next()).collect();
        let labels: Vec<&str> = labels.into_iter().filter(|label| !["workload", "le", ""].contains(label)).collect();
        let name = sample.trim_end_matches('{');
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        (format!("{name}{labels}"), kind.to_owned())
    };
    kinds.map(named).collect()
}

fn documented() -> BTreeMap<String, String> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `pitr_"));
    let cells = rows.map(|row| {
        let mut cells = row.split(" | ");
        (format!("pitr_{}", cells.next().unwrap().trim_end_matches('`')), cells.next().unwrap().to_owned())
    });
    cells.collect()
}

#[tokio::test]
async fn the_page_lists_what_is_exported_and_nothing_else() {
    let text = everything().await;
    let (exported, documented) = (exported(&text), documented());
    assert!(exported.len() > 30, "{text}");
    assert_eq!(exported, documented);
    for step in ["read", "compress", "encrypt", "put"] {
        let bucket = format!("pitr_segment_seconds_bucket{{workload=\"shop/mysql\",le=\"0.016\",stage=\"{step}\"}} 1");
        assert!(text.contains(&bucket), "no {bucket} in {text}");
    }
}

#[tokio::test]
async fn alerts_and_dashboard_use_what_is_exported() {
    let known: BTreeSet<String> =
        documented().into_keys().map(|name| name.split('{').next().unwrap().to_owned()).collect();
    for file in ["manifests/monitoring/prometheusrule.yaml", "manifests/monitoring/dashboard.json"] {
        let text = read(file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let used: BTreeSet<&str> = words.filter(|word| word.starts_with("pitr_")).collect();
        let unknown: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
        assert!(!used.is_empty() && unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn what_is_unknown_is_absent() {
    let config = config::parse("workload: shop/mysql\narchive: file:///a", &BTreeMap::new()).unwrap();
    let snapshot = Snapshot {
        facts: Facts::default(),
        timeline: None,
        proofs: pitr_archive::Proofs::default(),
        now: jiff::Timestamp::from_second(1_800_000_000).unwrap(),
        is_stuck: false,
    };
    let counts = Counts { store: StoreCounts::default(), segments: &SegmentSeconds::new() };
    let text = metrics(&config, &snapshot, &counts).unwrap();
    let has = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name}{{")));
    assert!(has("pitr_expected_lag_seconds") && has("pitr_build_info"), "{text}");
    for name in ["pitr_recoverable_lag_seconds", "pitr_orphan_bytes", "pitr_gaps", "pitr_window_end_timestamp_seconds"]
    {
        assert!(!has(name), "{text}");
    }
    assert!(!text.contains("pitr_segment_seconds_bucket"), "{text}");
}
