//! A real server follows our source, which sends the real binlogs of another real server.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod log;
mod proxy;
mod replica;

use std::collections::BTreeMap;
use std::time::Duration;

use pitr_binlog::{Gtid, GtidSet};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::shop::{self, Load};
use pitr_replay::{END_OF_PLAN, SourceFailure};

use self::log::{Log, shared};
use self::proxy::Proxy;
use self::replica::{Source, executed, follow, receiver_error, replica, start, wait_for};

const LOAD: Load = Load { sessions: 4, transactions: 150, seed: 7, ddl_every: 12, flush_every: 120 };

/// What a log can hold beside plain transactions.
const SPECIALS: &str = "
    CREATE TABLE shop.blobs (id INT PRIMARY KEY, body LONGBLOB);
    INSERT INTO shop.blobs VALUES (1, REPEAT('x', 17 * 1024 * 1024));
    SET SESSION gtid_next = 'AUTOMATIC:night_job';
    INSERT INTO shop.blobs VALUES (2, 'tagged');
    UPDATE shop.stock SET quantity = quantity + 1;
    SET SESSION gtid_next = 'AUTOMATIC';
    SET SESSION binlog_transaction_compression = ON;
    INSERT INTO shop.blobs SELECT item, REPEAT('compressed', 1000) FROM shop.stock WHERE item > 2;
    SET SESSION binlog_transaction_compression = OFF;
    XA START 'transfer', 'branch', 3; UPDATE shop.stock SET quantity = 1 WHERE item = 7; XA END 'transfer', 'branch', 3;
    XA PREPARE 'transfer', 'branch', 3; XA COMMIT 'transfer', 'branch', 3;
    SET SESSION binlog_format = STATEMENT;
    UPDATE shop.stock SET quantity = 2 WHERE item = 8;
    SET SESSION binlog_format = ROW;
    CREATE TABLE shop.flat (id INT PRIMARY KEY) ENGINE = MyISAM; INSERT INTO shop.flat VALUES (1), (2);
    CREATE USER 'seller'@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON shop.* TO 'seller'@'%';
    FLUSH BINARY LOGS";

/// A server with rows and several binlogs.
async fn primary(installation: &Installation) -> Mysqld {
    let server = Mysqld::fresh(installation, 1).option("--max_binlog_size=4M").start().await.unwrap();
    server.sql(shop::SCHEMA).await.unwrap();
    shop::run(&server, LOAD).await.unwrap();
    server
}

#[tokio::test]
async fn a_replica_has_exactly_what_the_log_has_up_to_the_stop() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let primary = primary(&installation).await;
    primary.sql(SPECIALS).await.unwrap();
    let (at_stop, tables) = (executed(&primary).await.unwrap(), primary.checksums().await.unwrap());
    let stop = Log::of(primary.datadir()).unwrap().len();
    // What comes after the stop, in the same binlog.
    primary.sql("DROP TABLE shop.orders; DELETE FROM shop.stock; CREATE DATABASE later").await.unwrap();
    let log = Log::of(primary.datadir()).unwrap();
    assert_eq!(log.len(), stop + 3);
    assert!(log.files.len() >= 4, "{} binlogs", log.files.len());
    let log = log.first(stop);
    assert_eq!(log.executed(), at_stop);

    let replica = replica(&installation, 2).await.unwrap();
    let source = Source::start(shared(log), GtidSet::new()).await.unwrap();
    follow(&replica, source.port, source.password.expose()).await.unwrap();
    wait_for(&replica, &at_stop).await.unwrap();
    assert_eq!(receiver_error(&replica).await.unwrap().0, 13114);
    let (_, words) = receiver_error(&replica).await.unwrap();
    assert!(words.contains(END_OF_PLAN), "{words}");

    assert_eq!(executed(&replica).await.unwrap(), at_stop);
    assert_eq!(replica.checksums().await.unwrap(), tables);
    assert_eq!(replica.value::<u32>("SELECT COUNT(*) FROM mysql.user WHERE user = 'seller'").await.unwrap(), 1);
    let account = source.stop().await.unwrap();
    assert_eq!((account.finished, account.last_error, account.refused), (true, None, 0));
    assert_eq!(account.transactions_sent, stop as u64);
    assert_eq!(account.streams, 1);
}

#[tokio::test]
async fn a_replica_goes_on_after_broken_connections_and_after_its_own_death() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let primary = primary(&installation).await;
    let (whole, tables) = (executed(&primary).await.unwrap(), primary.checksums().await.unwrap());
    let mut log = Log::of(primary.datadir()).unwrap();
    (log.piece, log.pause) = (1_009, Duration::from_millis(1));

    let mut replica = replica(&installation, 2).await.unwrap();
    let source = Source::start(shared(log), GtidSet::new()).await.unwrap();
    let proxy = Proxy::start(source.port, vec![3_000, 40_000, 90_001]).await.unwrap();
    follow(&replica, proxy.port, source.password.expose()).await.unwrap();
    let some = GtidSet::new();
    wait_for(&replica, &some).await.unwrap();
    while proxy.broken() < 3 || executed(&replica).await.unwrap().count() < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    replica.kill().await.unwrap();
    assert!(!source.progress.borrow().finished, "the log was sent before the replica was killed: make it larger");
    replica.start().await.unwrap();
    let before = executed(&replica).await.unwrap();
    assert!(before.is_subset_of(&whole) && before != whole);
    start(&replica, source.password.expose()).await.unwrap();
    wait_for(&replica, &whole).await.unwrap();
    assert_eq!((executed(&replica).await.unwrap(), replica.checksums().await.unwrap()), (whole, tables));
    let account = source.stop().await.unwrap();
    assert!(account.streams >= 4, "{account:?}");
}

#[tokio::test]
async fn skipped_transactions_leave_their_gtids_and_nothing_else() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let primary = Mysqld::fresh(&installation, 1).start().await.unwrap();
    primary.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY); INSERT INTO d.t VALUES (1)").await.unwrap();
    primary.sql("INSERT INTO d.t VALUES (2); SET gtid_next='AUTOMATIC:oops'; DROP TABLE d.t").await.unwrap();
    primary.sql("CREATE TABLE d.after (i INT PRIMARY KEY); INSERT INTO d.after VALUES (9)").await.unwrap();
    let log = Log::of(primary.datadir()).unwrap();
    let gtids: Vec<Gtid> = log.files.iter().flat_map(|file| &file.transactions).filter_map(|(gtid, _)| *gtid).collect();
    let skip = [gtids[2], gtids[4]].into_iter().fold(GtidSet::new(), |mut set, gtid| {
        set.insert(&gtid);
        set
    });
    let replica = replica(&installation, 2).await.unwrap();
    let source = Source::start(shared(log.clone()), skip).await.unwrap();
    follow(&replica, source.port, source.password.expose()).await.unwrap();
    wait_for(&replica, &log.executed()).await.unwrap();
    assert_eq!(executed(&replica).await.unwrap(), executed(&primary).await.unwrap());
    assert_eq!(replica.value::<u32>("SELECT SUM(i) FROM d.t").await.unwrap(), 2);
    assert_eq!(replica.value::<u32>("SELECT SUM(i) FROM d.after").await.unwrap(), 9);
    let account = source.stop().await.unwrap();
    assert_eq!((account.transactions_sent, account.transactions_emptied), (5, 2));
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_to_the_replica_and_nothing_after_it_is_applied() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let primary = Mysqld::fresh(&installation, 77).start().await.unwrap();
    primary.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY); INSERT INTO d.t VALUES (1)").await.unwrap();
    let good = Log::of(primary.datadir()).unwrap();
    let name = good.files[0].name.clone();
    let mut cases: Vec<(Log, u32, SourceFailure)> = Vec::new();
    // The reader gives up after the head and one byte.
    let failing = Log { piece: 1, fails_after: Some(2), ..good.clone() };
    cases.push((failing, 2, SourceFailure::Unreadable { reason: "the archive is on fire".to_owned() }));
    // A replica would drop events with its own number without a word.
    let offset = good.files[0].head.length;
    cases.push((good.clone(), 77, SourceFailure::SharedServerId { binlog: name.clone(), offset, server_id: 77 }));
    // An event shorter than its header.
    let mut damaged = good.clone();
    let at = damaged.files[0].transactions[0].1;
    let mut bytes = damaged.files[0].bytes.to_vec();
    bytes[at as usize + 9..at as usize + 13].fill(0);
    damaged.files[0].bytes = bytes.into();
    let reason = "an event shorter than its header";
    cases.push((damaged, 2, SourceFailure::Damaged { binlog: name, offset: at, reason }));
    for (log, server_id, failure) in cases {
        let replica = replica(&installation, server_id).await.unwrap();
        let source = Source::start(shared(log), GtidSet::new()).await.unwrap();
        follow(&replica, source.port, source.password.expose()).await.unwrap();
        let (_, words) = receiver_error(&replica).await.unwrap();
        assert!(words.contains(&format!("pitr: {failure}")), "{words}");
        assert!(executed(&replica).await.unwrap().count() <= 1);
        let account = source.stop().await.unwrap();
        assert_eq!((account.finished, account.last_error), (false, Some(failure)));
    }
}

#[tokio::test]
async fn a_damaged_row_is_found_by_the_replica() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let primary = Mysqld::fresh(&installation, 1).start().await.unwrap();
    primary.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY, t TEXT)").await.unwrap();
    primary.sql("INSERT INTO d.t VALUES (1, 'untouched')").await.unwrap();
    let mut log = Log::of(primary.datadir()).unwrap();
    let mut bytes = log.files[0].bytes.to_vec();
    let at = bytes.windows(9).rposition(|window| window == b"untouched").unwrap();
    bytes[at] ^= 1;
    log.files[0].bytes = bytes.into();
    let replica = replica(&installation, 2).await.unwrap();
    let source = Source::start(shared(log.clone()), GtidSet::new()).await.unwrap();
    follow(&replica, source.port, source.password.expose()).await.unwrap();
    let (number, words) = receiver_error(&replica).await.unwrap();
    assert_ne!(number, 0, "{words}");
    // The applier may be behind the receiver, but it never gets further than what came whole.
    let whole = log.first(2).executed();
    wait_for(&replica, &whole).await.unwrap();
    assert_eq!(executed(&replica).await.unwrap(), whole);
    assert_eq!(replica.value::<u32>("SELECT COUNT(*) FROM d.t").await.unwrap(), 0);
}

#[tokio::test]
async fn transactions_without_gtids_are_refused_by_name() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let primary = Mysqld::fresh(&installation, 1).option("--gtid_mode=OFF").start().await.unwrap();
    primary.sql("CREATE DATABASE d").await.unwrap();
    let log = Log::of(primary.datadir()).unwrap();
    let replica = replica(&installation, 2).await.unwrap();
    let source = Source::start(shared(log), GtidSet::new()).await.unwrap();
    follow(&replica, source.port, source.password.expose()).await.unwrap();
    let (_, words) = receiver_error(&replica).await.unwrap();
    assert!(words.contains("has no GTID"), "{words}");
    assert_eq!(replica.checksums().await.unwrap(), BTreeMap::new());
}

#[tokio::test]
async fn only_the_one_time_password_opens_the_log() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let primary = Mysqld::fresh(&installation, 1).start().await.unwrap();
    primary.sql("CREATE DATABASE d").await.unwrap();
    let log = Log::of(primary.datadir()).unwrap();
    let replica = replica(&installation, 2).await.unwrap();
    let source = Source::start(shared(log.clone()), GtidSet::new()).await.unwrap();
    follow(&replica, source.port, "guessed").await.unwrap();
    let mut progress = source.progress.clone();
    progress.wait_for(|now| now.refused >= 1).await.unwrap();
    assert_eq!(executed(&replica).await.unwrap(), GtidSet::new());
    replica.sql("STOP REPLICA FOR CHANNEL 'pitr'").await.unwrap();
    start(&replica, source.password.expose()).await.unwrap();
    wait_for(&replica, &log.executed()).await.unwrap();
}
