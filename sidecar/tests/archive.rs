//! `pitr-sidecar run` and `archive --once` against a real server: the archive is read back and compared with the server's files.

#![allow(clippy::unwrap_used, clippy::panic)]

mod archiving;

use std::time::Duration;

use pitr_recovery::Closed;
use rand::RngExt as _;
use serde_json::Value;

use self::archiving::{Archiving, terminate, text};

const QUICK: &str = "schedule: {archive_interval: 500ms, tail_interval: 200ms}";
/// Small segments: many hand-overs from the tail, and transactions that are cut inside.
const SMALL: &str = "schedule: {archive_interval: 300ms, tail_interval: 100ms}\npipeline: {segment_bytes: 64KiB}";

#[tokio::test]
async fn everything_that_is_whole_is_archived_once() {
    let Some(scene) = Archiving::new(SMALL).await else { return };
    for _ in 0..3 {
        scene.insert(40, 6400).await;
        // Larger than two segments: cut inside.
        scene.insert(1, 640_000).await;
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    }
    scene.insert(10, 640).await;
    let (exit, said) = scene.once().await;
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.archived().await, scene.files());
    let inventory = scene.inventory().await;
    let open: Vec<&str> =
        inventory.binlogs.iter().filter(|b| b.closed == Closed::Open).map(|b| b.name.as_str()).collect();
    assert_eq!(open, [scene.files().keys().next_back().unwrap().as_str()]);
    assert!(inventory.binlogs.iter().flat_map(|b| &b.ranges).any(|range| range.flags.ends_in_transaction));

    // Nothing new: nothing is stored again.
    let objects = scene.objects();
    let (exit, said) = scene.once().await;
    assert_eq!((exit, scene.objects()), (0, objects), "{said}");

    let status = scene.ask(&["status", "--archive", &scene.url()]).await;
    assert!(status.status.success() && text(&status).contains("[PITR0504]"), "{}", text(&status));
    let status = scene.ask(&["status", "--archive", &scene.url(), "-o", "json"]).await;
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        (&status["workload"], &status["newest"]["binlogs"]),
        (&"test/mysql".into(), &inventory.binlogs.len().into())
    );
}

#[tokio::test]
async fn the_tail_is_there_within_seconds_and_complete_at_the_end() {
    let Some(scene) = Archiving::new(QUICK).await else { return };
    let mut run = scene.run();
    scene.until_archived().await;
    for _ in 0..5 {
        scene.insert(3, 640).await;
        let took = scene.until_archived().await;
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    scene.insert(3, 640).await;
    // No time for another tick: the end flushes the tail.
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    assert_eq!(scene.archived().await, scene.files());
    let heartbeats: Vec<Value> = scene.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let heartbeats: Vec<&Value> = heartbeats.iter().filter(|line| line["event"] == "heartbeat").collect();
    let last = heartbeats.last().unwrap();
    assert_eq!((&last["schemaVersion"], &last["workload"]), (&1.into(), &"test/mysql".into()));
    assert!(heartbeats.iter().all(|line| line.to_string().len() <= 4096));
}

#[tokio::test]
async fn a_kill_at_any_moment_costs_nothing() {
    let Some(scene) = Archiving::new(SMALL).await else { return };
    let load = async {
        for round in 0..30 {
            scene.insert(20, 3200).await;
            scene.insert(1, 200_000).await;
            if round % 4 == 3 {
                scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
            }
        }
    };
    let kills = async {
        for _ in 0..12 {
            let mut run = scene.run();
            let pause = rand::rng().random_range(20..900);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            run.kill().await.unwrap();
            // Whatever the moment: what a reader finds is what the server wrote.
            if scene.path("archive/archive.json").exists() {
                let files = scene.files();
                for (name, bytes) in scene.archived().await {
                    assert!(files[&name].starts_with(&bytes), "{name} differs within its first {} bytes", bytes.len());
                }
            }
        }
    };
    tokio::join!(load, kills);
    let (exit, said) = scene.once().await;
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.archived().await, scene.files());
    let inventory = scene.inventory().await;
    assert!(pitr_recovery::Timeline::new(inventory).problems().is_empty());
}

#[tokio::test]
async fn a_killed_server_is_followed_over_its_restart() {
    let Some(mut scene) = Archiving::new(SMALL).await else { return };
    let mut run = scene.run();
    for _ in 0..3 {
        scene.insert(50, 6400).await;
        scene.server.kill().await.unwrap();
        scene.server.start().await.unwrap();
    }
    scene.insert(5, 640).await;
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    let (exit, said) = scene.once().await;
    assert_eq!(exit, 0, "{said}");
    let archived = scene.archived().await;
    assert_eq!(archived, scene.files());
    let executed: pitr_binlog::GtidSet = scene.server.gtid_executed().await.unwrap().parse().unwrap();
    let inventory = scene.inventory().await;
    let ranges = inventory.binlogs.iter().flat_map(|binlog| &binlog.ranges);
    assert_eq!(ranges.fold(pitr_binlog::GtidSet::new(), |set, range| set.union(&range.gtids)), executed);
    let crashed = inventory.binlogs.iter().filter(|binlog| binlog.closed == Closed::Crashed).count();
    assert_eq!(crashed, 3);
}

#[tokio::test]
async fn damage_is_marked_and_holds_nothing_else_up() {
    let Some(mut scene) = Archiving::new(SMALL).await else { return };
    scene.insert(30, 6400).await;
    scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    scene.insert(30, 6400).await;
    scene.server.stop().await.unwrap();
    let names: Vec<String> = scene.files().into_keys().collect();
    let damaged = scene.server.datadir().join(&names[0]);
    let mut bytes = std::fs::read(&damaged).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    std::fs::write(&damaged, &bytes).unwrap();
    let (exit, said) = scene.once().await;
    assert!(
        exit == 3 && said.contains("error[PITR0308]") && said.contains(&names[0]) && said.contains("fix:"),
        "{exit}: {said}"
    );
    // All bytes are kept, the damage is marked, and what follows is archived.
    assert_eq!(scene.archived().await, scene.files());
    let inventory = scene.inventory().await;
    let marked = inventory.binlogs.iter().find(|binlog| binlog.name.as_str() == names[0]).unwrap();
    assert!(marked.damage.as_ref().unwrap().offset <= at as u64 && marked.closed != Closed::Open);
    let inspected = scene.ask(&["inspect", &damaged.display().to_string()]).await;
    assert!(inspected.status.code() == Some(3) && text(&inspected).contains("damaged"), "{}", text(&inspected));
}

#[tokio::test]
async fn a_truncated_binlog_is_archived_as_far_as_it_is_whole() {
    let Some(mut scene) = Archiving::new(SMALL).await else { return };
    scene.insert(30, 6400).await;
    scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    scene.insert(30, 6400).await;
    scene.server.stop().await.unwrap();
    let names: Vec<String> = scene.files().into_keys().collect();
    let truncated = scene.server.datadir().join(&names[0]);
    let length = std::fs::metadata(&truncated).unwrap().len();
    std::fs::File::options().write(true).open(&truncated).unwrap().set_len(length / 2).unwrap();
    let (exit, said) = scene.once().await;
    assert!(exit == 3 && said.contains("error[PITR0308]") && said.contains(&names[0]), "{exit}: {said}");
    assert_eq!(scene.archived().await, scene.files());
    let timeline = pitr_recovery::Timeline::new(scene.inventory().await);
    assert!(matches!(timeline.problems(), [pitr_recovery::Problem::Damaged { .. }]), "{:?}", timeline.problems());
    assert_eq!(timeline.streams().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_archived_is_refused_by_name() {
    let Some(scene) = Archiving::new(QUICK).await else { return };
    let refused = async |exit: i32, code: &str| {
        let (code_of_exit, said) = scene.once().await;
        assert!(code_of_exit == exit && said.contains(&format!("error[{code}]")), "{code_of_exit}: {said}");
        assert!(said.contains("hint:") && said.contains("fix:"), "{said}");
    };
    scene.configure("test/mysql", "schedule: {tail_intervall: 2s}");
    refused(2, "PITR0209").await;
    scene.configure("test/mysql", "s3: {ca_file: /no/such.pem}\n");
    let config = std::fs::read_to_string(scene.path("config.yaml")).unwrap();
    std::fs::write(scene.path("config.yaml"), config.replace(&scene.url(), "s3://bucket/prefix")).unwrap();
    refused(1, "PITR0601").await;
    assert_eq!(scene.objects(), 0);

    scene.configure("test/mysql", "");
    assert_eq!(scene.once().await.0, 0);
    let objects = scene.objects();
    scene.configure("billing/db", "");
    refused(4, "PITR0207").await;
    assert_eq!(scene.objects(), objects);

    // Encrypted, closed: the rest is archived.
    scene.configure("test/mysql", "");
    let index = scene.server.datadir().join("binlog.index");
    let names = std::fs::read_to_string(&index).unwrap();
    std::fs::write(scene.server.datadir().join("binlog.000000"), [&b"\xfdbin"[..], &[7; 4096]].concat()).unwrap();
    std::fs::write(&index, format!("./binlog.000000\n{names}")).unwrap();
    scene.insert(3, 640).await;
    refused(3, "PITR0505").await;
    let (archived, mut files) = (scene.archived().await, scene.files());
    files.remove("binlog.000000");
    assert_eq!(archived, files);
}

#[tokio::test]
async fn the_control_api_answers() {
    let Some(scene) = Archiving::new(QUICK).await else { return };
    let mut run = scene.run();
    scene.insert(3, 640).await;
    scene.until_archived().await;
    let get = async |path: &str, data: Option<&str>| {
        let mut arguments = vec!["get", path, "--address", &scene.control];
        arguments.extend(data.iter().flat_map(|data| ["--data", data]));
        let output = scene.ask(&arguments).await;
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (exit, status) = get("/v1/status", None).await;
    assert_eq!(
        (exit, &json(&status)["event"], &json(&status)["server"]["flavour"]),
        (0, &"heartbeat".into(), &"mysql".into())
    );
    assert_eq!(json(&get("/v1/windows", None).await.1)["kind"], "WindowList");
    assert_eq!(json(&get("/v1/backups", None).await.1)["kind"], "BackupList");
    let (exit, refused) = get("/v1/plan", Some(r#"{"target":{"latest":true}}"#)).await;
    assert_eq!((exit, &json(&refused)["code"]), (4, &"PITR0302".into()));
    let (exit, refused) = get("/v1/plan", Some(r#"{"target":{"time":"2026-11-21 08:14"}}"#)).await;
    assert_eq!((exit, &json(&refused)["code"]), (2, &"PITR0102".into()));
    assert_eq!(get("/livez", None).await, (0, "ok\n".to_owned()));
    assert_eq!(get("/readyz", None).await, (0, "ok\n".to_owned()));
    let (_, metrics) = get("/metrics", None).await;
    assert!(metrics.contains("pitr_recoverable_lag_seconds{workload=\"test/mysql\"}"), "{metrics}");
    for (path, data) in [
        ("/v1/none", None),
        ("/v1/plan", None),
        ("/v1/archive", None),
        ("/v1/status", Some("{}")),
        ("/v1/gaps/gap-none", None),
        ("/v1/windows?branch=br-none", None),
        ("/v1/windows?limit=1", None),
        ("/v1/binlogs?limit=0", None),
        ("/v1/binlogs?cursor=x", None),
    ] {
        let (exit, refused) = get(path, data).await;
        let refused = json(&refused);
        let is_whole = ["code", "message", "hint", "fix"].iter().all(|key| refused[*key].is_string());
        assert!(exit != 0 && refused["kind"] == "Error" && is_whole, "{path}: {refused}");
    }
    scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    scene.insert(1, 640).await;
    scene.until_archived().await;
    let first = json(&get("/v1/binlogs?limit=1", None).await.1);
    let rest = get(&format!("/v1/binlogs?cursor={}", first["next"].as_str().unwrap()), None).await.1;
    let items = [&first["items"], &json(&rest)["items"]].map(|items| items.as_array().unwrap().clone()).concat();
    let names: Vec<_> = items.iter().map(|item| item["binlog"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, scene.files().into_keys().collect::<Vec<_>>());
    let alone = scene.ask(&["get", "/v1/archive", "--data", "{}", "--archive", &scene.url()]).await;
    assert_eq!(json(&String::from_utf8(alone.stdout).unwrap())["code"], "PITR0108");
    // The same documents from the archive alone.
    let alone = scene.ask(&["get", "/v1/windows", "--archive", &scene.url()]).await;
    assert_eq!(serde_json::from_slice::<Value>(&alone.stdout).unwrap()["kind"], "WindowList");
    // And in a log, where an error is an answer, too.
    let in_log = async |url: &str, words: &[&str]| {
        let output = scene.ask(&[&["get", "--archive", url, "--in-log", "--log-format=json"], words].concat()).await;
        let line = json(String::from_utf8(output.stdout).unwrap().trim_end());
        assert_eq!((&line["kind"], line["ok"].as_bool()), (&"Answer".into(), Some(output.status.success())));
        (output.status.code().unwrap(), json(line["body"].as_str().unwrap()))
    };
    assert_eq!(in_log(&scene.url(), &["/v1/windows"]).await.1["kind"], "WindowList");
    let (exit, refused) = in_log(&scene.url(), &["/v1/plan", "--data", r#"{"target":{"latest":true}}"#]).await;
    assert_eq!((exit, &refused["code"]), (4, &"PITR0302".into()));
    let (exit, refused) = in_log("file:///nowhere/at/all", &["/v1/backups"]).await;
    assert!(exit != 0 && refused["kind"] == "Error" && refused["code"].is_string(), "{refused}");
    assert_eq!(terminate(&mut run).await, Some(0));
}

#[tokio::test]
async fn a_cycle_out_of_turn_archives_everything_at_once() {
    // Nothing is due by itself for as long as this takes.
    let Some(scene) = Archiving::new("schedule: {tail_interval: 1h, archive_interval: 1h}").await else { return };
    let mut run = scene.run();
    scene.until_status(|status| status["state"] == "ok" || status["state"] == "degraded").await;
    let cycle = async || {
        let asked = scene.ask(&["get", "/v1/archive", "--data", "{}", "--address", &scene.control]).await;
        assert!(asked.status.success(), "{}", text(&asked));
        serde_json::from_slice::<Value>(&asked.stdout).unwrap()
    };
    cycle().await;
    for _ in 0..3 {
        scene.insert(2, 640).await;
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
        scene.insert(2, 640).await;
        let told = cycle().await;
        assert!(told["kind"] == "ArchiveCycle" && told["complete"] == true, "{told}");
        let files = scene.files();
        assert_eq!(scene.archived().await, files, "{told}");
        let (closed, active) = (files.keys().rev().nth(1).unwrap(), files.iter().next_back().unwrap());
        assert_eq!(told["closed"]["binlog"], closed.as_str());
        assert_eq!(
            (&told["active"]["binlog"], &told["active"]["shippedBytes"]),
            (&active.0.as_str().into(), &active.1.len().into())
        );
    }
    // Several who ask at once are all answered.
    let (one, other) = tokio::join!(cycle(), cycle());
    assert!(one["complete"] == true && other["complete"] == true, "{one} {other}");
    // What cannot be archived is no complete cycle.
    let mut index = std::fs::read_to_string(scene.server.datadir().join("binlog.index")).unwrap();
    let bad = scene.server.datadir().join("binlog.000000");
    std::fs::write(&bad, [&b"\xfdbin"[..], &[7; 4096]].concat()).unwrap();
    index.insert_str(0, "./binlog.000000\n");
    std::fs::write(scene.server.datadir().join("binlog.index"), index).unwrap();
    let told = cycle().await;
    assert!(told["complete"] == false && told["codes"].as_array().unwrap().contains(&"PITR0505".into()), "{told}");
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
}

#[tokio::test]
async fn a_server_that_is_asked_says_its_role_and_how_long_it_keeps_binlogs() {
    let Some(scene) = Archiving::new(QUICK).await else { return };
    scene.log_in().await;
    scene
        .server
        .sql("SET GLOBAL binlog_expire_logs_seconds = 90000; SET GLOBAL binlog_format = 'MIXED'")
        .await
        .unwrap();
    let mut run = scene.run();
    scene.until_archived().await;
    let status = scene.until_status(|status| !status["server"]["role"].is_null()).await;
    assert_eq!(
        (&status["server"]["role"], &status["server"]["gtidMode"], &status["server"]["binlogExpireSeconds"]),
        (&"primary".into(), &"on".into(), &90000.into()),
        "{status}"
    );
    let until = status["secondsUntilPurge"].as_f64().unwrap();
    assert!((89_000.0..=90_000.0).contains(&until), "{until}");
    assert!(status["codes"].as_array().unwrap().contains(&"PITR0506".into()), "{status}");
    // No account: unknown, and archiving goes on.
    scene.server.sql("DROP USER pitr@localhost").await.unwrap();
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    let mut run = scene.run();
    scene.insert(1, 64).await;
    scene.until_archived().await;
    let status = scene.until_status(|status| status["codes"].as_array().unwrap().contains(&"PITR0704".into())).await;
    assert!(status["server"]["gtidMode"].is_null() && status["secondsUntilPurge"].is_null(), "{status}");
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    assert!(!scene.log().contains("sesame"));
}

#[tokio::test]
async fn limits_hold_and_everything_is_archived_all_the_same() {
    let Some(scene) = Archiving::new("").await else { return };
    scene.server.sql("CREATE TABLE shop.noise (noise BLOB)").await.unwrap();
    let noise = "INSERT INTO shop.noise WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
                 SELECT RANDOM_BYTES(1000) FROM n";
    for _ in 0..6 {
        scene.server.sql(noise).await.unwrap();
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    }
    let limited = "pipeline: {segment_bytes: 256KiB, workers: 3, bandwidth_limit: 1MiB, read_limit: 4MiB, nice: 5}";
    scene.configure("test/mysql", limited);
    let begun = std::time::Instant::now();
    let (exit, said) = scene.once().await;
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.archived().await, scene.files());
    // All but the last object is paid for, and a second may have been saved up before.
    let segments = scene.inventory().await.binlogs.into_iter().flat_map(|binlog| binlog.ranges.clone());
    let lengths: Vec<u64> = segments.flat_map(|range| range.objects).map(|object| object.length).collect();
    let paid = lengths.iter().sum::<u64>() - lengths.iter().max().unwrap();
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let least = paid as f64 / f64::from(1 << 20) - 1.0;
    assert!(least > 1.0 && took >= least, "{took} s for {paid} bytes");
    scene.configure("test/mysql", "pipeline: {workers: 9}");
    let (exit, said) = scene.once().await;
    assert!(exit == 2 && said.contains("\"pipeline.memory_limit\" is too small"), "{exit}: {said}");
}

#[tokio::test]
async fn archived_binlogs_come_back_as_one_stream_and_segments_are_described() {
    let Some(scene) = Archiving::new(SMALL).await else { return };
    for _ in 0..2 {
        scene.insert(20, 6400).await;
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    }
    scene.insert(3, 640).await;
    assert_eq!(scene.once().await.0, 0);
    let files = scene.files();
    let url = scene.url();
    let cat = scene.ask(&["cat", "--archive", &url]).await;
    assert!(cat.status.success(), "{}", text(&cat));
    let mut expected: Vec<u8> = b"\xfebin".to_vec();
    expected.extend(files.values().flat_map(|bytes| &bytes[4..]));
    assert!(cat.stdout == expected, "{} bytes instead of {}", cat.stdout.len(), expected.len());
    // The server's own tool reads it, and finds every transaction.
    let stream = scene.path("stream");
    std::fs::write(&stream, &cat.stdout).unwrap();
    let installation = pitr_e2e::mysqld::Installation::find().unwrap().unwrap();
    let listed = tokio::process::Command::new(installation.program("mysqlbinlog"))
        .args(["--no-defaults", "--verify-binlog-checksum", "--base64-output=decode-rows"])
        .arg(&stream)
        .output()
        .await
        .unwrap();
    let listing = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let executed: pitr_binlog::GtidSet = scene.server.gtid_executed().await.unwrap().parse().unwrap();
    let uuid = executed.to_string().split(':').next().unwrap().to_owned();
    assert_eq!(listing.matches(&format!("SET @@SESSION.GTID_NEXT= '{uuid}")).count() as u64, executed.count());

    let second = files.keys().nth(1).unwrap();
    let one = scene.ask(&["cat", "--archive", &url, "--binlog", second]).await;
    assert!(one.status.success() && one.stdout == files[second], "{}", text(&one));
    let unknown = scene.ask(&["cat", "--archive", &url, "--binlog", "binlog.000099"]).await;
    assert!(unknown.status.code() == Some(2) && unknown.stdout.is_empty(), "{}", text(&unknown));

    let inventory = scene.inventory().await;
    let range = inventory.binlogs.iter().flat_map(|b| &b.ranges).find(|range| range.transactions > 1).unwrap();
    let object = scene.path("archive").join(&range.objects[0].key).display().to_string();
    let inspected = scene.ask(&["inspect", &object, "--transactions", "-o", "jsonl"]).await;
    let lines: Vec<Value> =
        inspected.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!((&lines[0]["kind"], &lines[0]["content"]), (&"Segment".into(), &"verified".into()));
    assert_eq!(lines.len() as u64, range.transactions + 1);
    let mut damaged = std::fs::read(&object).unwrap();
    let last = damaged.len() - 9;
    damaged[last] ^= 1;
    std::fs::write(scene.path("damaged"), damaged).unwrap();
    let inspected = scene.ask(&["inspect", &scene.path("damaged").display().to_string()]).await;
    assert!(inspected.status.code() == Some(3) && text(&inspected).contains("damaged"), "{}", text(&inspected));
}
