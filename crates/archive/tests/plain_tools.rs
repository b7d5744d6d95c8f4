//! The promise of archive-format.md: what is archived can be read with `zstd`, `gzip`, `bzip2` and `jq` alone, whatever codec a
//! segment was stored with, and the codec may change at any time.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use pitr_archive::testing::History;
use pitr_archive::{Archive, Codec, FileStore, HeaderCodec, Place, SegmentRecord, TailCoverage};
use pitr_recovery::RangeRef;
use tempfile::TempDir;

const CODECS: [&str; 6] = ["zstd:1", "gzip:6", "none", "bzip2:9", "zstd:19:27", "gzip:1"];

fn archive_in(folder: &Path) -> Archive {
    Archive::open(Arc::new(FileStore::new(folder)), Arc::new(jiff::Timestamp::now))
}

/// A binlog in six segments, each stored with another codec.
async fn archived(folder: &Path) -> (History, Vec<SegmentRecord>) {
    let history = History::new(1, 7, 3000);
    let archive = archive_in(folder);
    let mut records = Vec::new();
    let mut start = 0;
    for (at, codec) in CODECS.iter().enumerate() {
        let end = if at == 5 { history.length() } else { history.boundary(499 * (at + 1)) };
        let codec: Codec = codec.parse().unwrap();
        records.push(archive.write_segment(history.draft(Place::Binlogs, start, end), codec).await.unwrap());
        start = end;
    }
    archive.publish(&records, TailCoverage::default()).await.unwrap();
    (history, records)
}

fn shell(folder: &Path, command: &str) -> Vec<u8> {
    let output = Command::new("sh").args(["-euc", command]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{program} is not installed");
    found
}

#[tokio::test]
async fn segments_of_all_codecs_make_one_binlog() {
    let home = TempDir::new().unwrap();
    let (history, records) = archived(home.path()).await;
    let reader = archive_in(home.path());
    let mut read = Vec::new();
    for (record, codec) in records.iter().zip(CODECS) {
        let header = &record.header;
        let HeaderCodec::Known(stored_as) = &header.codec else { panic!("{:?}", header.codec) };
        let name = |codec: &str| codec.split(':').next().unwrap().to_owned();
        assert_eq!(name(&stored_as.to_string()), name(codec));
        let suffix = match name(codec).as_str() {
            "gzip" => ".gz",
            "bzip2" => ".bz2",
            _ => ".zst",
        };
        assert!(record.key.to_string().ends_with(suffix), "{}", record.key);
        let range = RangeRef {
            binlog: header.binlog.clone(),
            start: header.start,
            end: header.end,
            raw_sha256: header.raw_sha256,
        };
        read.extend_from_slice(&reader.read_range(&range, &[record.stored_object()]).await.unwrap());
    }
    assert!(read == history.raw[..]);
}

#[tokio::test]
async fn what_does_not_shrink_is_stored_as_it_is_by_every_codec() {
    let mut history = History::new(1, 1, 50);
    let head = history.transactions[0].start as usize;
    let mut noise = history.raw[..head].to_vec();
    noise.extend((head..history.raw.len()).map(|_| rand::random::<u8>()));
    history.raw = noise.into();
    let home = TempDir::new().unwrap();
    for codec in CODECS {
        // Without the head, which any codec makes smaller.
        let draft = history.draft(Place::Binlogs, head as u64, history.length());
        let record = archive_in(home.path()).write_segment(draft, codec.parse().unwrap()).await.unwrap();
        assert_eq!(record.header.codec, HeaderCodec::Known(Codec::None), "{codec}");
        assert!(record.key.to_string().ends_with(".zst"), "{}", record.key);
        let payload = record.length - record.header.parts.payload_at;
        assert!(payload < history.length() + 100, "{payload}");
    }
}

#[tokio::test]
async fn plain_tools_read_every_payload() {
    if !["zstd", "gzip", "bzip2", "jq"].into_iter().all(is_installed) {
        return;
    }
    let home = TempDir::new().unwrap();
    let (history, records) = archived(home.path()).await;
    // A zstd segment as it lies there; the frames before its payload are passed over.
    for record in [&records[0], &records[2], &records[4]] {
        let raw = shell(home.path(), &format!("zstd -dc {}", record.key));
        assert!(raw == history.raw[record.key.start as usize..record.key.end as usize], "{}", record.key);
    }
    // The others from the byte that the catalog names, as docs/archive-format.md shows.
    let script = "zstd -dc catalog/*/*.jsonl.zst | jq -r '[.key, .payload_at] | @tsv' | sort | while read -r key at; do
        tail -c +$((at + 1)) \"$key\" | case $key in *.gz) gzip -dc ;; *.bz2) bzip2 -dc ;; *) zstd -dc ;; esac
    done";
    assert!(shell(home.path(), script) == history.raw[..]);
}
