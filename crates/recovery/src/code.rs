//! The codes that users see: `error[PITR0301]: ...`. One table for every message's number, exit code, occasion and example,
//! from which `explain`, `docs/errors.md` and the golden tests are made.
//!
//! A number is never reused. The message, hint and fix here are the example that documents the code; what is printed is
//! made from facts where the error arises.

use std::fmt;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The number after `PITR`: two digits of family, two of its own.
    pub number: u16,
    /// The exit code when this ends the command; 0 for a warning.
    pub exit: u8,
    /// The name of this code in our source.
    pub name: &'static str,
    /// When it is given.
    pub when: &'static str,
    /// An example of its message.
    pub message: &'static str,
    /// An example of what follows `hint:`.
    pub hint: &'static str,
    /// An example of what follows `fix:`.
    pub fix: &'static str,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PITR{:04}", self.number)
    }
}

/// The row with this number.
#[must_use]
pub fn find(number: u16) -> Option<&'static Code> {
    CODES.iter().find(|code| code.number == number)
}

macro_rules! codes {
    ($($name:ident = $number:literal exit $exit:literal: $when:literal, $message:literal, $hint:literal, $fix:literal;)*) => {
        $(
            #[doc = concat!("When: ", $when, ".")]
            pub const $name: Code = Code {
                number: $number,
                exit: $exit,
                name: stringify!($name),
                when: $when,
                message: $message,
                hint: $hint,
                fix: $fix,
            };
        )*

        /// All codes, in ascending order.
        pub const CODES: &[Code] = &[$($name),*];
    };
}

codes! {
    TIME_UNREADABLE = 101 exit 2:
        "not RFC 3339, not latest, or finer than 1 µs",
        "time \"15m ago\" is not an RFC 3339 time with offset",
        "a relative time means something else a minute later",
        "--to 2026-11-21T07:14:00Z";
    TIME_WITHOUT_ZONE = 102 exit 2:
        "no zone",
        "time \"2026-11-21 08:14\" has no time zone",
        "08:14 UTC is 44 minutes in the future; 08:14 Europe/Paris is 07:14:00Z",
        "--to 2026-11-21T07:14:00Z";
    GTID_UNREADABLE = 104 exit 2:
        "GTID unparsable or of the other flavour",
        "\"0-1-7\" is a MariaDB GTID; \"mysql\" is MySQL 8.4.6",
        "MySQL: UUID[:TAG]:N; MariaDB: DOMAIN-SERVER-SEQ",
        "copy one from timeline";
    POSITION_AMBIGUOUS = 105 exit 2:
        "position ambiguous or beyond the binlog",
        "binlog.000410 may be one of 2 binlogs",
        "3e11fa47 (2026-11-20), 77d0c2e1 (2026-11-12)",
        "--source 3e11fa47";
    WORKLOAD_MISSING = 106 exit 2:
        "WORKLOAD missing",
        "name the workload: namespace \"shop\" has 3 archived ones",
        "commands that write never guess",
        "restore mysql …";
    CREDENTIALS_IN_URL = 107 exit 2:
        "credentials in a URL or flag",
        "the archive URL holds credentials",
        "they would end in history and logs",
        "AWS_PROFILE or AWS_ACCESS_KEY_ID";
    QUERY_UNREADABLE = 108 exit 2:
        "a question to a sidecar that it does not understand",
        "\"grepp\" is unknown or stands twice; known: branch, around, transactions, grep, ddl, since, until, cursor",
        "an answer to another question would be believed",
        "a newer sidecar, or the words that it knows";
    BINLOG_VOLUME_NOT_FOUND = 201 exit 4:
        "binlog volume not found, or log_bin outside every volume",
        "no volumeMount of container \"mysql\" covers \"/var/log/mysql\"",
        "looked at args, configmap/mysql-config, the running process",
        "--binlog-volume data:logs --binlog-dir …";
    OPERATOR_OWNED = 203 exit 4:
        "an operator owns it",
        "statefulset/db is managed by MariaDB/db (k8s.mariadb.com)",
        "the operator would revert this change",
        "put the sidecar of inject -o patch into the operator's own object, if that has a place for it";
    GITOPS_OWNED = 204 exit 4:
        "--live on a GitOps or Helm object",
        "statefulset/mysql is managed by Argo CD app \"shop\"",
        "the next sync from Git drops a live change silently",
        "inject mysql -o kustomize, commit; or --allow-drift";
    OWNER_UNKNOWN = 205 exit 4:
        "uid unknown",
        "the user that owns the binlogs is not known",
        "no runAsUser in container or pod; directory not examined",
        "--run-as-user 999:999";
    APPLY_CONFLICT = 206 exit 1:
        "apply conflict (409)",
        "field conflict with manager \"helm\" on spec.template.…",
        "nothing was changed",
        "--force-conflicts";
    FOREIGN_ARCHIVE = 207 exit 4:
        "prefix holds another workload",
        "s3://backups/shop holds the archive of \"billing/db\"",
        "two histories never share a prefix",
        "--archive s3://backups/shop/mysql";
    NOT_ARCHIVING_IN_TIME = 208 exit 1:
        "canary does not archive in time",
        "mysql-2 does not archive 3m after its restart: image pull back-off",
        "mysql-1 and mysql-0 were not touched",
        "kubectl delete pod mysql-2, if it does not start by itself";
    BAD_CONFIGURATION_KEY = 209 exit 2:
        "bad configuration key",
        "unknown key \"schedule.tail_intervall\"",
        "did you mean \"schedule.tail_interval\"",
        "inject mysql --set schedule.tail_interval=2s";
    TARGET_IN_GAP = 301 exit 4:
        "target inside a gap",
        "T cannot be reached: it lies in gap-7f2a (binlog.000301, 335 transactions)",
        "nearest before, next after; nothing was created",
        "--nearest or --allow-gap gap-7f2a";
    NO_USABLE_BACKUP = 302 exit 4:
        "no base backup, or not the one named, can reach it",
        "T is before the first usable base backup (2026-11-14T02:00:12Z)",
        "no earlier full copy, and not the whole history since the first binlog",
        "a time inside a window of status; omit --from-backup";
    AFTER_THE_END = 303 exit 4:
        "after the recoverable end",
        "T is 41s after the recoverable end (07:30:18.402117Z)",
        "nothing proves what was committed between; your clock is 2s fast",
        "--to latest, or wait";
    GTID_NOT_REACHABLE = 304 exit 4:
        "GTID not archived, or inside every base",
        "…:84999999 is not in the archive",
        "newest archived is …:84925816",
        "timeline --around";
    WITHOUT_GTIDS = 305 exit 4:
        "a binlog without GTIDs lies below the target",
        "binlog.000004 holds transactions without GTID",
        "no set can say what a base backup already contains of them",
        "enable GTIDs, then backup W";
    SEVERAL_BRANCHES = 306 exit 4:
        "several branches cover it, none known live",
        "br-3fa0 and br-c2d9 both cover T; 12 transactions differ",
        "a failover lost them on one side",
        "--branch br-3fa0";
    TIMES_STEP_BACK = 307 exit 4:
        "commit times step back too far below the target",
        "2026-11-21T07:14:03Z cannot be reached exactly: 1811 transactions at or before it follow …:84910222, which is later",
        "a clock was changed, or a client set the time; a restore by time stops before the later transaction",
        "--before-gtid …:84910222, --clock immediate, or --accept-early-stop";
    DAMAGED_BELOW_TARGET = 308 exit 4:
        "damaged segment below the target",
        "binlog.000409 is damaged at offset 88213",
        "the event's checksum is wrong; the bytes are kept",
        "--nearest";
    SERVER_TOO_OLD = 309 exit 4:
        "server image cannot run the base",
        "base is MySQL 8.4.6, image is 8.0.36",
        "a datadir never goes back a version",
        "--server-image mysql:8.4.6";
    IDENTITY_MISSING = 310 exit 4:
        "encrypted, no identity",
        "the archive is encrypted to age1qx…, no identity was given",
        "the sidecar holds public keys only",
        "--identity-secret NAME";
    WRONG_IDENTITY = 311 exit 4:
        "encrypted, and no identity at hand opens it",
        "no identity that was given opens s3://backups/shop/mysql, which is encrypted to age1qx…",
        "the public key of an identity stands in its file as a comment",
        "--identity-secret NAME with an identity of one of these recipients, or --from-backup ID";
    RESTORE_EXISTS = 401 exit 4:
        "that restore exists",
        "job \"mysql-pitr-20261121-071403\" exists",
        "it is running, 41 %",
        "restores attach, or --new-name";
    NOT_CONFIRMED = 402 exit 4:
        "not confirmed",
        "--confirm mysql is required when stdin is not a terminal",
        "this restarts or replaces \"mysql\"",
        "--confirm mysql";
    VOLUME_TOO_SMALL = 403 exit 4:
        "volume too small",
        "40Gi is too small, the plan needs 58Gi",
        "data 41.2 GiB, relay logs, redo",
        "--size 60Gi";
    NO_STORE_IDENTITY = 404 exit 4:
        "the Job has no store identity",
        "the Job cannot read s3://backups/shop/mysql",
        "your own credentials are never copied into the cluster",
        "--secret or --service-account";
    IN_PLACE_REFUSED = 405 exit 4:
        "a gate of a restore in place is not passed, or a server runs on its data",
        "refusing --in-place: 3 of 8 gates failed",
        "all failed gates listed",
        "one per gate";
    RESTORE_FAILED = 410 exit 5:
        "restore Job failed",
        "restore failed in phase \"fetch-base\": pod cannot start: exceeded quota",
        "from the verdict, else from the pod",
        "restores resume NAME";
    RESTORE_INCOMPLETE = 411 exit 5:
        "GTID set differs from the plan",
        "restore is incomplete: 12 planned transactions are not on the restored server",
        "the volume is marked incomplete",
        "restores resume NAME";
    VOLUME_OF_ANOTHER_PLAN = 412 exit 5:
        "volume carries another plan",
        "the volume holds a restore of plan sha256:77ab…",
        "one volume, one plan",
        "--new-name";
    EVENT_REFUSED = 413 exit 5:
        "the server refuses an event",
        "replay stopped at …:84100007: error 1062 on shop.orders",
        "no row is ever skipped; suspect an allowed gap or a skipped GTID",
        "an earlier target";
    WAIT_TIMED_OUT = 414 exit 6:
        "--timeout passed",
        "still in phase \"replay\" (41 %) after 30m",
        "the Job runs on",
        "restores attach NAME";
    PLANNED_OBJECT_GONE = 416 exit 5:
        "planned object gone or changed",
        "bytes 0..33554431 of binlog.000409 left the archive after planning",
        "no other object covers the range; never re-planned silently",
        "plan again";
    XA_UNDECIDED = 417 exit 5:
        "--xa=fail, and the target leaves XA transactions prepared",
        "2 XA transactions are prepared at the target and undecided",
        "X'6f72646572',X'',1 (the source committed it later)",
        "--xa rollback or --xa keep, or another target";
    TABLE_NOT_THERE = 418 exit 5:
        "a table to be dumped does not exist at the target",
        "\"shop.order\" is not in the data at the target",
        "\"shop\" has invoices, orders, stock",
        "another --tables, or an earlier target";
    VOLUME_SPOILED = 419 exit 5:
        "a volume that no restore can finish on",
        "restore is incomplete: the server has lost … in a crash",
        "the same volume would fail again",
        "restore onto an empty volume";
    NOT_THIS_RESTORE = 420 exit 5:
        "abort or finish of a restore whose data is not what the volume holds",
        "\"/var/lib/mysql\" holds the restore of another plan in place: sha256:77ab…",
        "nothing was changed: what is there belongs to that one",
        "restores, which lists them, then abort or finish with its name";
    END_TOO_OLD = 501 exit 3:
        "end older than --max-lag",
        "the end is 32m old (limit 5m)",
        "cause on the Archiver line",
        "logs W";
    OPEN_GAP = 502 exit 3:
        "open gap",
        "nothing after 03:10:44Z is reachable: gap-7f2a is open",
        "only a new base backup closes it",
        "backup W";
    NEVER_ARCHIVED = 503 exit 3:
        "never archived",
        "no binlog and no base backup reached the archive",
        "sidecar started 3d02h ago",
        "check W";
    BASE_BACKUP_MISSING = 504 exit 3:
        "base backup missing or overdue",
        "newest base backup is 30h old, scheduled every 24h",
        "replay time grows with its age",
        "backup W";
    BINLOG_UNREADABLE = 505 exit 3:
        "encrypted binlogs, or MariaDB InnoDB binlog",
        "binlog.000001 is encrypted",
        "a copy is useless without the keyring",
        "SET PERSIST binlog_encryption=OFF, then backup W";
    LOG_UNSUITED = 506 exit 3:
        "binary log off, not ROW, or GTID off",
        "gtid_mode is OFF",
        "no continuity over failover; time and position targets only",
        "enable GTIDs";
    TWO_CONTENTS = 507 exit 3:
        "one binlog, or one GTID, archived with two contents",
        "binlog.000042 was archived with two contents, from byte 88213 on",
        "two servers write as one: a copied volume, or a stale twin; both contents are kept",
        "stop one of them; status names both";
    SERVER_ON_ANOTHER_BRANCH = 508 exit 3:
        "two servers of a workload write, each on a branch of its own",
        "mysql-0 writes on branch br-3fa0, mysql-1 on br-c2d9",
        "both branches are archived; only one of them can be gone on with",
        "stop one of them; timeline W shows where they part";
    NUMBERS_RETURNED = 509 exit 0:
        "GTIDs were given again after RESET BINARY LOGS AND GTIDS",
        "…:1-335 mean other transactions before and after the reset",
        "both histories stay restorable; a restore by GTID asks which one is meant",
        "backup W";
    PURGE_IS_NEAR = 510 exit 3:
        "purge before archive is near",
        "the oldest unarchived binlog is purged in 1h12m",
        "expiry 3600s, lag reached 22m",
        "SET PERSIST binlog_expire_logs_seconds=86400";
    NO_ARCHIVER = 511 exit 3:
        "no archiver, or silent for 60 s",
        "statefulset/mysql has no archiver on mysql-1",
        "the pod is older than the injection, or the sidecar is down",
        "inject, or delete the pod";
    NOT_IN_GIT = 512 exit 0:
        "what was changed live is not in Git",
        "the sidecar was injected live and is not in Git",
        "recreating the object from Git drops it",
        "inject W -o kustomize";
    SERVER_LOST_TRANSACTIONS = 513 exit 3:
        "the server lost transactions in a crash that the archive holds",
        "the server lost …:84925810-84925816 in a crash; they are kept as a branch",
        "sync_binlog is not 1, or the disk lost what it had confirmed",
        "timeline W; restore the branch to a new volume";
    DRILL_FAILED = 514 exit 3:
        "the last restore drill failed",
        "the restore drill of 2026-11-21T02:00:11Z failed: PITR0606",
        "no drill was verified since; the archive may not be restorable",
        "run the drill again and read what it says: kubectl pitr drill W";
    STREAM_DOWN = 515 exit 3:
        "stream mode: no connection to the server, no TLS with it, or no room in the spool",
        "the server's binlogs cannot be read: the connection to db-1:3306: connection refused",
        "what is committed meanwhile is archived once it answers, if it is not purged before",
        "look at the server and at source.mysql";
    STREAM_DENIED = 516 exit 3:
        "stream mode: the server refuses the account",
        "the server's binlogs cannot be read: error 1227: you need the REPLICATION SLAVE privilege",
        "stream mode asks for the binlogs as a replica does",
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO pitr";
    STREAM_UNSOUND = 517 exit 3:
        "stream mode: the server cannot send a binlog, sends another one than before, or is another server",
        "the server's binlogs cannot be read: the server's binlog.000042 is not the one of which 88213 bytes were received",
        "a reset, a crash in which the server lost its end, or an address that moves between servers",
        "SHOW BINARY LOGS; then backup W";
    SERVER_LOG_REFUSED = 518 exit 3:
        "the server does not rotate or purge its binlogs, though the configuration asks it to, or one that cannot go holds up the rest for long",
        "the server does not purge its binlogs: error 1227: you need the BINLOG_ADMIN privilege",
        "purge_archived asks it to; they stay until it does so by itself",
        "GRANT BINLOG_ADMIN, REPLICATION CLIENT ON *.* TO pitr";
    STORE_UNREACHABLE = 601 exit 1:
        "store unreachable, TLS fails",
        "PutObject timed out 41 times in 1h",
        "host, port and certificate named",
        "check W";
    STORE_DENIES = 602 exit 1:
        "store denies",
        "PutObject s3://backups/old/legacy/: access denied",
        "the missing action is named",
        "docs/operations.md#rights-in-the-bucket";
    NO_ARCHIVE_THERE = 603 exit 1:
        "no archive, several, or a newer format at the URL",
        "s3://backups holds 3 archives",
        "the URL names one workload",
        "one of the listed URLs";
    CHECKSUM_MISMATCH = 606 exit 3:
        "checksum mismatch, dangling record",
        "1 of 2013 segments does not match its SHA-256",
        "the window ends before it",
        "backup W";
    VERBS_MISSING = 701 exit 7:
        "verbs missing",
        "2 permissions are missing in namespace \"shop\": create jobs.batch, get pods/log",
        "all asked at once; nothing was created",
        "bind manifests/rbac/restorer.yaml";
    NOT_REACHABLE = 702 exit 1:
        "object or cluster not reachable",
        "statefulset \"mysq\" not found in namespace \"shop\"",
        "did you mean \"mysql\"",
        "status -n shop";
    SCHEMA_TOO_NEW = 703 exit 1:
        "schemaVersion too new",
        "the sidecar speaks schema 4, the plugin up to 2",
        "the rows it understands are shown",
        "upgrade the plugin";
    SOURCE_SILENT = 704 exit 0:
        "one source failed",
        "db-1: no answer",
        "each transport with its reason",
        "--via";
    METHOD_IMPOSSIBLE = 801 exit 4:
        "method impossible",
        "clone is not possible: no BACKUP_ADMIN, 2 MyISAM tables",
        "clone copies tables of other engines empty",
        "GRANT … or --method dump";
    BACKUP_FAILED = 802 exit 1:
        "backup Job failed",
        "backup failed in phase \"clone\": …",
        "nothing partial is listed",
        "backup W";
    BACKUP_NOT_CONNECTED = 803 exit 3:
        "a base backup that no archived binlog continues",
        "no archived binlog continues bb-20261113-020010-07d3",
        "its GTID set meets a gap at once",
        "backup W";
    BACKUP_IN_CLEAR = 804 exit 4:
        "the archive is encrypted, and the backup would not be",
        "s3://backups/shop/mysql is encrypted to age1qx…, and this backup would not be",
        "nothing was stored",
        "--age-recipient age1qx… --hash-key-file FILE";
    PRUNE_BREAKS_PROMISE = 901 exit 4:
        "prune breaks the promise",
        "2026-11-14 .. 2026-11-16 would become unreachable",
        "retention promises 14d",
        "a longer --window, or --force";
    UNKNOWN_PIN = 902 exit 4:
        "a pin names no base backup",
        "no base backup is called bb-20261113-020010, which is pinned",
        "what the pin was meant to keep could expire; nothing was marked or deleted",
        "kubectl pitr backups W";
    BUG = 999 exit 1:
        "bug",
        "internal error",
        "the bundle holds what is needed",
        "support-bundle W";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_are_found() {
        assert!(CODES.windows(2).all(|pair| pair[0].number < pair[1].number));
        for code in CODES {
            assert_eq!(find(code.number), Some(code));
        }
        assert_eq!(find(103), None);
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        for code in CODES {
            assert!(code.exit <= 7, "{code}");
        }
        assert_eq!((TARGET_IN_GAP.exit, TIME_WITHOUT_ZONE.exit, VERBS_MISSING.exit), (4, 2, 7));
        assert_eq!(TARGET_IN_GAP.to_string(), "PITR0301");
    }

    #[test]
    fn messages_are_lower_case_without_full_stop() {
        for code in CODES {
            for text in [code.when, code.message, code.hint, code.fix] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{code}: {text:?}");
            }
        }
    }
}
