//! Every key of the configuration file: what it means, what its value looks like, and its default.
//!
//! The file's parser, the environment overrides, `check-config` and the reference in `docs/` come from this one table.

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A number and a unit: `500ms`, `2s`, `1m`, `14d`.
    Duration,
    /// A number and a unit: `32MiB`.
    Size,
    /// A whole number.
    Count,
    /// A list of texts.
    List,
}

/// What may stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// Any valid value.
    Full,
    /// Only these values.
    Only(&'static [&'static str]),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// Dotted path, as in error messages.
    pub(super) path: &'static str,
    /// What its value looks like.
    pub(super) kind: Kind,
    /// Value when it is absent; empty: none.
    pub(super) default: &'static str,
    /// What may stand there.
    pub(super) support: Support,
    /// What it is for, in one line.
    pub(super) about: &'static str,
}

impl Key {
    /// `schedule.tail_interval` is overridden by `PITR_SCHEDULE_TAIL_INTERVAL`.
    pub(super) fn environment_name(&self) -> String {
        format!("PITR_{}", self.path.replace('.', "_").to_uppercase())
    }
}

const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { path, kind, default, support: Support::Full, about }
}

const fn only(path: &'static str, kind: Kind, values: &'static [&'static str], about: &'static str) -> Key {
    Key { path, kind, default: values[0], support: Support::Only(values), about }
}

/// All keys, in the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key("workload", Kind::Text, "", "what the archive belongs to, such as shop/mysql; required"),
    key("archive", Kind::Text, "", "s3://bucket/prefix or file:///directory; required"),
    key("s3.endpoint", Kind::Text, "", "endpoint of an S3-compatible store; default: the provider's"),
    key("s3.region", Kind::Text, "", "region of the bucket; default: AWS_REGION, else us-east-1"),
    only(
        "s3.path_style",
        Kind::Text,
        &["auto", "always", "never", "true", "false"],
        "bucket in the path or in the host name",
    ),
    key("s3.ca_file", Kind::Text, "", "certificates (PEM) to trust for the endpoint"),
    only(
        "s3.checksum",
        Kind::Text,
        &["auto", "md5", "crc32c", "none"],
        "checksum sent with each object; auto: crc32c to AWS, md5 elsewhere",
    ),
    key(
        "s3.sse",
        Kind::Text,
        "none",
        "server-side encryption: none, s3, kms, kms:KEY-ID, or c:FILE with the key of SSE-C",
    ),
    key(
        "s3.storage_class",
        Kind::Text,
        "",
        "storage class of segments under binlogs/ and of chunks; default: the bucket's",
    ),
    key(
        "credentials.from",
        Kind::Text,
        "environment",
        "environment, web-identity, or file:DIRECTORY with one file a key, read again when it changes",
    ),
    key("source.datadir", Kind::Text, "/var/lib/mysql", "the server's data directory"),
    key(
        "source.binlog_basename",
        Kind::Text,
        "auto",
        "path and name of the binlogs without their number, relative to datadir",
    ),
    key("source.identity", Kind::Text, "auto", "the archive's name for this server; auto: its server UUID"),
    only(
        "source.mode",
        Kind::Text,
        &["auto", "file", "stream"],
        "how binlogs are read: from datadir (auto, file), or as a replica over a connection (encrypted binlogs, servers elsewhere)",
    ),
    key("source.spool", Kind::Text, "", "stream mode: directory where binlogs wait until they are archived"),
    key(
        "source.spool_limit",
        Kind::Size,
        "1GiB",
        "stream mode: above so many bytes of complete binlogs in the spool no other one is received",
    ),
    key(
        "source.mysql.user",
        Kind::Text,
        "",
        "account for asking the server about itself, and for stream mode; none: its files tell enough to archive",
    ),
    key(
        "source.mysql.password_file",
        Kind::Text,
        "",
        "file with that account's password, read again for each connection",
    ),
    key("source.mysql.socket", Kind::Text, "", "the server's socket; wins over host"),
    key("source.mysql.host", Kind::Text, "127.0.0.1", "the server's host"),
    key("source.mysql.port", Kind::Count, "3306", "the server's port"),
    only(
        "source.mysql.tls",
        Kind::Text,
        &["preferred", "disabled", "required", "verify-ca", "verify-identity"],
        "encryption of the connection to the server",
    ),
    key("source.mysql.ca_file", Kind::Text, "", "certificates (PEM) to trust for the server"),
    key(
        "schedule.archive_interval",
        Kind::Duration,
        "60s",
        "how often closed binlogs are looked for when no rotation was seen",
    ),
    key(
        "schedule.tail_interval",
        Kind::Duration,
        "2s",
        "how often new whole transactions of the active binlog are shipped",
    ),
    key("schedule.tail", Kind::Flag, "true", "ship the active binlog too"),
    key(
        "schedule.flush_when_older_than",
        Kind::Text,
        "never",
        "let the server close its binlog when that is older and not empty, such as 1h; never, or at least 1m",
    ),
    key("pipeline.segment_bytes", Kind::Size, "8MiB", "raw bytes of one stored object"),
    key("pipeline.memory_limit", Kind::Size, "96MiB", "what the archiver may use; it bounds the number of workers"),
    key(
        "pipeline.codec",
        Kind::Text,
        "zstd:1",
        "zstd:LEVEL (1 to 19) or zstd:LEVEL:WINDOW_LOG (to 27), gzip:LEVEL, bzip2:LEVEL, none; may change at any time",
    ),
    key(
        "pipeline.workers",
        Kind::Text,
        "auto",
        "segments that are hashed and compressed at once, while others are read and sent; auto: as many as there are cores, at most 4, and as the memory limit allows",
    ),
    key(
        "pipeline.bandwidth_limit",
        Kind::Text,
        "none",
        "bytes a second to the store, such as 20MiB; what is sent again after a failure counts",
    ),
    key(
        "pipeline.read_limit",
        Kind::Text,
        "none",
        "bytes a second of closed binlogs from the disk; the active one is read without a limit",
    ),
    key("pipeline.nice", Kind::Count, "10", "CPU niceness, 0 to 19"),
    key(
        "encryption.age_recipients",
        Kind::List,
        "",
        "age public keys that payloads are encrypted to; default: not encrypted",
    ),
    key(
        "encryption.hash_key_file",
        Kind::Text,
        "",
        "32 bytes or their base64: the key of hashes in an encrypted archive",
    ),
    key("retention.window", Kind::Duration, "14d", "how far back every instant stays restorable"),
    key("retention.keep_last", Kind::Count, "1", "usable base backups to keep at least"),
    only(
        "retention.without_base",
        Kind::Text,
        &["keep", "age"],
        "binlogs when there is no usable base backup: all stay, or those older than the window go",
    ),
    only(
        "retention.run",
        Kind::Text,
        &["elsewhere", "here"],
        "who carries retention out: a prune Job with rights of its own, or this sidecar",
    ),
    key(
        "retention.pins",
        Kind::List,
        "",
        "base backups that never expire, and the binlogs after them; read again before each run of retention",
    ),
    key("retention.every", Kind::Duration, "1h", "how often retention runs here"),
    key(
        "retention.grace",
        Kind::Duration,
        "24h",
        "between the mark and the deletion of what expires; restores that take longer need a pin",
    ),
    only(
        "dedupe",
        Kind::Text,
        &["none", "gtid"],
        "what a replica's log only says again: stored whole (none), or from a grace on as what differs from another pod's log (gtid); done where retention runs",
    ),
    key(
        "purge_archived",
        Kind::Flag,
        "false",
        "let the server delete its oldest binlogs, up to the first that is not in the catalog as a whole",
    ),
    key(
        "purge_after",
        Kind::Duration,
        "24h",
        "with purge_archived: how long ago a binlog was closed at least, for replicas that are away; less than retention.window",
    ),
    key("listen", Kind::Text, "0.0.0.0:9399", "address of /livez, /readyz and /metrics; none: no listener"),
    key("control_listen", Kind::Text, "127.0.0.1:9398", "address of the control API; none: no listener"),
];

/// The key of that path.
/// Keys that a running sidecar does not take: whose history it writes, and from where, whom it shows it to, and what it was started with.
/// One that ends in a dot stands for all below it.
pub(super) const TAKEN_AT_THE_START: &[&str] =
    &["workload", "archive", "s3.endpoint", "source.", "encryption.", "pipeline.nice", "listen", "control_listen"];

/// Whether only a start takes a key.
pub(crate) fn is_taken_at_the_start(path: &str) -> bool {
    TAKEN_AT_THE_START.iter().any(|key| if key.ends_with('.') { path.starts_with(key) } else { path == *key })
}

pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether some key lies below `path`.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key most like `path`, if one is near enough to have been meant.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let last = |text: &str| text.rsplit('.').next().map_or(0, str::len);
    let near = KEYS.iter().map(|key| (distance(path, key.path), key.path)).min()?;
    (near.0 <= 1 + last(path) / 4).then_some(near.1)
}

/// Edits (insert, delete, replace) that make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{KEYS, distance, nearest};

    #[test]
    fn distances_are_edits() {
        assert_eq!(distance("tail", "tail"), 0);
        assert_eq!(distance("tail_intervall", "tail_interval"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_typo_finds_its_key_and_nonsense_finds_none() {
        assert_eq!(nearest("schedule.tail_intervall"), Some("schedule.tail_interval"));
        assert_eq!(nearest("sources.datadir"), Some("source.datadir"));
        assert_eq!(nearest("completely.different"), None);
    }

    #[test]
    fn paths_are_unique() {
        let mut paths: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
    }
}
