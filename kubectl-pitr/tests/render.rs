//! What `status`, `backups` and `restores` print, word for word.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use jiff::Timestamp;
use kubectl_pitr::render::{
    RestoreRow, backups_table, check_document, check_text, gap_story, restores_document, restores_table,
    status_document, status_table, status_text,
};
use kubectl_pitr::state::{
    Backups, Beat, ClusterFacts, Health, Heartbeat, Limits, Pod, Verify, Windows, WorkloadState, checks, from_archive,
    judge, merge,
};
use kubectl_pitr::terminal::Terminal;
use serde_json::{Value, json};
use support::golden;

const NOW: &str = "2026-11-21T07:30:20.500Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn limits() -> Limits {
    Limits { now: now(), max_lag_seconds: 300 }
}

/// The heartbeat of the contract.
fn heartbeat() -> Value {
    json!({"ts":"2026-11-21T07:30:20.114Z","level":"INFO","event":"heartbeat","schemaVersion":1,"version":"0.1.0",
        "workload":"shop/mysql","pod":"mysql-0","state":"ok","codes":[],
        "server":{"flavour":"mysql","version":"8.4.6-log","role":"primary","gtidMode":"on","binlogExpireSeconds":259200},
        "archive":{"url":"s3://backups/shop/mysql","format":1,"stream":"st-9c1d","branch":"br-3fa0"},
        "window":{"from":"2026-11-18T02:00:09.118204Z","to":"2026-11-21T07:30:18.402117Z",
            "provenTo":"2026-11-21T07:30:18.402117Z","resolutionSeconds":0.000001},
        "windowsTotal":2,"expectedLagSeconds":20,
        "gaps":[{"id":"gap-7f2a","state":"closed","from":"2026-11-17T03:10:44.902310Z","to":"2026-11-18T02:00:09.118204Z",
            "transactions":335,"reason":"purged-before-archive"}],"gapsTotal":1,
        "closed":{"binlog":"binlog.000412","archivedAt":"2026-11-21T06:58:43.120Z"},
        "active":{"binlog":"binlog.000413","positionBytes":48120993,"shippedBytes":48118450},
        "lagSeconds":2.1,"unarchivedBinlogs":0,"unarchivedBytes":2543,"secondsUntilPurge":255600,
        "baseBackups":{"usable":8,"newestId":"bb-20261121-020009-4c1d","newestAt":"2026-11-21T02:00:09.118Z"},
        "store":{"errors1h":0,"lastErrorCode":null},
        "verify":{"checksumsAt":"2026-11-21T01:12:00Z","drillAt":"2026-11-20T20:05:00Z","drillSeconds":842}})
}

fn windows() -> Windows {
    serde_json::from_value(json!({"items":[
        {"branch":"br-3fa0","live":true,"from":"2026-11-14T02:00:11.5Z","to":"2026-11-17T03:10:44.902310Z","endsAt":"gap-7f2a"},
        {"branch":"br-3fa0","live":true,"from":"2026-11-18T02:00:09.118204Z","to":"2026-11-21T07:30:17Z","endsAt":null},
        {"branch":"br-c2d9","live":false,"from":"2026-11-14T02:00:11.5Z","to":"2026-11-30T00:00:00Z"}],
        "gaps":[{"id":"gap-7f2a","branch":"br-3fa0","state":"closed","from":"2026-11-17T03:10:44.902310Z",
            "to":"2026-11-18T02:00:09.118204Z","transactions":335,"reason":"purged-before-archive",
            "text":"binlog.000301 is not archived","closedBy":"bb-20261118-020009-b07e"}]}))
    .unwrap()
}

fn backups() -> Backups {
    serde_json::from_value(json!({"items":[
        {"id":"bb-20261121-020009-4c1d","method":"clone","flavour":"mysql","serverVersion":"8.4.6",
         "source":"3e11fa47-71ca-11e1-9e33-c80aa9429562","consistentAt":"2026-11-21T02:00:09.118Z","rawBytes":44238013235u64,
         "storedBytes":14924860621u64,"gtidSet":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-83673813","usable":true,
         "reachesFrom":"2026-11-21T02:00:09.118Z","reachesTo":"2026-11-21T07:30:18.402117Z"},
        {"id":"bb-20261118-020009-b07e","method":"clone","flavour":"mysql","serverVersion":"8.4.6","source":"3e11fa47",
         "consistentAt":"2026-11-18T02:00:09.118204Z","rawBytes":43000000000u64,"storedBytes":1000000000,"usable":true,
         "reachesFrom":"2026-11-18T02:00:09.118204Z","reachesTo":"2026-11-21T07:30:18.402117Z"},
        {"id":"bb-20261113-020010-07d3","method":"dump","flavour":"mysql","serverVersion":"8.4.6","source":"77d0c2e1",
         "consistentAt":"2026-11-13T02:00:11Z","rawBytes":23622320128u64,"storedBytes":8697308774u64,"usable":false,
         "reason":"no archived binlog continues it"}]}))
    .unwrap()
}

fn pod(name: &str, heartbeat: Option<&Value>) -> Pod {
    let beat = heartbeat.map(|h| Beat::at(Heartbeat::read(h).unwrap(), now()));
    let silences = if beat.is_some() { vec![] } else { vec!["log: forbidden".into(), "exec: forbidden".into()] };
    Pod { name: name.into(), carries_sidecar: true, beat, silences }
}

fn workload(name: &str, pods: Vec<Pod>) -> WorkloadState {
    let replicas = u32::try_from(pods.len()).unwrap();
    WorkloadState { namespace: "shop".into(), name: name.into(), replicas, pods, ..WorkloadState::default() }
}

fn text(state: &WorkloadState) -> String {
    status_text(state, &judge(state, limits()), limits(), (Terminal::PLAIN, false))
}

fn healthy() -> WorkloadState {
    let mut replica = heartbeat();
    replica["server"]["role"] = json!("replica");
    let pods = vec![pod("mysql-0", Some(&heartbeat())), pod("mysql-1", Some(&replica))];
    merge(workload("mysql", pods), Some(windows()), Some(backups()))
}

fn degraded() -> WorkloadState {
    let mut late = heartbeat();
    late["window"]["to"] = json!("2026-11-21T06:58:11Z");
    late["window"]["provenTo"] = Value::Null;
    late["window"]["resolutionSeconds"] = json!(1);
    late["server"] = json!({"flavour":"mariadb","version":"11.4.4-MariaDB","role":"primary"});
    late["gaps"] = json!([]);
    late["gapsTotal"] = json!(0);
    late["unarchivedBinlogs"] = json!(4);
    late["unarchivedBytes"] = json!(4_187_593_113u64);
    late["secondsUntilPurge"] = json!(4320);
    late["store"] = json!({"errors1h": 41, "lastErrorCode": "PITR0601", "retryInSeconds": 20});
    merge(workload("db", vec![pod("db-0", Some(&late)), pod("db-1", None)]), None, None)
}

fn never() -> WorkloadState {
    let mut idle = heartbeat();
    for key in ["window", "closed", "active", "lagSeconds"] {
        idle[key] = Value::Null;
    }
    idle["gaps"] = json!([]);
    idle["gapsTotal"] = json!(0);
    idle["baseBackups"] = json!({"usable": 0});
    merge(workload("legacy", vec![pod("legacy-0", Some(&idle))]), None, None)
}

#[test]
fn status_of_one_workload() {
    golden("render/status.txt", &text(&healthy()));
    golden("render/status-degraded.txt", &text(&degraded()));
    golden("render/status-never.txt", &text(&never()));
    golden("render/status-unknown.txt", &text(&workload("mysql", vec![pod("mysql-0", None)])));
}

#[test]
fn status_by_heartbeat_alone() {
    let state = merge(workload("mysql", vec![pod("mysql-0", Some(&heartbeat()))]), None, None);
    golden("render/status-heartbeat.txt", &text(&state));
}

#[test]
fn status_of_an_archive_without_a_cluster() {
    let state = WorkloadState {
        namespace: "shop".into(),
        name: "mysql".into(),
        server: Some(("mysql".into(), "8.4.6".into())),
        archive_url: Some("s3://backups/shop/mysql".into()),
        archive_flags: " --archive s3://backups/shop/mysql --region eu-west-1".into(),
        ..WorkloadState::default()
    };
    let verify = Heartbeat::read(&heartbeat()).unwrap().verify;
    let state = from_archive(state, &windows(), backups(), verify);
    golden("render/status-archive.txt", &text(&state));
    // An old end is no comfort because nobody is there to be asked.
    assert_eq!(judge(&state, limits()).health, Health::Ok);
    let failed =
        Verify { drill_failed_at: Some(now()), drill_failed_code: Some("PITR0606".into()), ..Verify::default() };
    let failed = from_archive(state.clone(), &windows(), backups(), failed);
    let judged = judge(&failed, limits());
    assert!(judged.health == Health::Degraded && judged.findings.iter().any(|f| f.code.number == 514), "{judged:?}");
    let later = Limits { now: now() + jiff::Span::new().hours(3), ..limits() };
    let judged = judge(&state, later);
    assert_eq!(judged.health, Health::Degraded);
    assert!(
        judged.findings.iter().any(|f| f.text.starts_with("the end is 3h") && f.text.contains("idle")),
        "{judged:?}"
    );
}

#[test]
fn several_histories_of_which_none_goes_on_are_not_nothing() {
    let mut state = never();
    for beat in state.pods.iter_mut().filter_map(|pod| pod.beat.as_mut()) {
        beat.heartbeat.codes = vec!["PITR0306".into()];
    }
    let judged = judge(&state, limits());
    let codes: Vec<u16> = judged.findings.iter().map(|finding| finding.code.number).collect();
    assert_eq!(judged.health, Health::Degraded, "{judged:?}");
    assert!(codes.contains(&306) && !codes.contains(&503), "{judged:?}");
}

#[test]
fn status_of_many() {
    let rows: Vec<_> =
        [degraded(), never(), healthy()].into_iter().map(|state| (state.clone(), judge(&state, limits()))).collect();
    golden("render/status-table.txt", &status_table(&rows, true, false));
    golden("render/status-wide.txt", &status_table(&rows, false, true));
    golden("render/status.json", &(serde_json::to_string_pretty(&status_document(&rows)).unwrap() + "\n"));
}

#[test]
fn every_instant_shown_lies_in_its_window() {
    let state = healthy();
    let text = text(&state);
    let shown: Vec<Timestamp> = text
        .split([' ', '\n'])
        .filter_map(|word| word.trim_end_matches([',', ';', ':']).parse().ok())
        .filter(|at| *at <= now())
        .collect();
    assert!(shown.len() >= 5, "{shown:?}");
    for at in &shown[..4] {
        assert!(
            state
                .windows
                .iter()
                .filter_map(kubectl_pitr::state::WindowRow::span)
                .any(|(from, to)| from <= *at && *at <= to),
            "{at}"
        );
    }
}

#[test]
fn base_backups_in_rows() {
    golden("render/backups.txt", &backups_table(&backups(), true, false));
}

#[test]
fn the_story_of_a_gap() {
    golden("render/gap.txt", &gap_story(&windows().gaps[0], "kubectl pitr backup mysql -n shop"));
}

#[test]
fn restores_in_rows() {
    let row = RestoreRow {
        namespace: "shop".into(),
        name: "mysql-pitr-20261121-071403".into(),
        workload: "mysql".into(),
        target: "2026-11-21T07:14:03Z".into(),
        job: Some("mysql-pitr-20261121-071403".into()),
        done_percent: Some(100),
        state: "verified".into(),
        ended_seconds_ago: Some(720),
        volume: Some("mysql-pitr-20261121-071403".into()),
        ..RestoreRow::default()
    };
    let running = RestoreRow {
        name: "mysql-pitr-20261119-220000".into(),
        target: "2026-11-19T22:00:00Z".into(),
        phase: Some("replay".into()),
        done_percent: Some(41),
        state: "running".into(),
        detail: Some("pod replaced".into()),
        ended_seconds_ago: None,
        volume: Some("mysql-pitr-20261119-220000".into()),
        ..row.clone()
    };
    let rows = [row, running];
    golden("render/restores.txt", &restores_table(&rows, true, false));
    golden("render/restores.json", &(serde_json::to_string_pretty(&restores_document(&rows)).unwrap() + "\n"));
}

#[test]
fn what_waits_has_a_time_until_which_it_may() {
    let mut waiting = heartbeat();
    waiting["unarchivedBinlogs"] = json!(2);
    let of = |beat: &Value| text(&merge(workload("mysql", vec![pod("mysql-0", Some(beat))]), None, None));
    assert!(of(&waiting).contains("; the server purges the oldest of it in 2d23h"), "{}", of(&waiting));
    assert!(!of(&heartbeat()).contains("purges"), "nothing waits");
}

#[test]
fn checks_of_a_workload() {
    let step = |operation: &str, action: &str, reason: Option<&str>| {
        serde_json::json!({"operation": operation, "action": action, "ok": reason.is_none(), "tookMilliseconds": 12,
            "denied": reason.is_some(), "reason": reason})
    };
    let tried = |steps: Vec<Value>, ahead: f64| {
        let document = serde_json::json!({"apiVersion": "kubectl-pitr/v1", "kind": "StoreCheck", "schemaVersion": 1,
            "archive": "s3://backups/shop/mysql", "key": "tail/probe-0.json", "steps": steps, "clockAheadSeconds": ahead});
        Some(Ok(serde_json::from_value(document).unwrap()))
    };
    let cycle = |complete: bool, binlogs: u64| {
        let document = serde_json::json!({"apiVersion": "kubectl-pitr/v1", "kind": "ArchiveCycle", "schemaVersion": 1,
            "archive": "s3://backups/shop/mysql", "complete": complete, "tookMilliseconds": 230,
            "closed": {"binlog": "binlog.000412", "closedAt": null, "archivedAt": null},
            "active": {"binlog": "binlog.000413", "positionBytes": 48_120_993, "shippedBytes": 48_120_993},
            "unarchivedBinlogs": binlogs, "unarchivedBytes": binlogs << 30, "codes": []});
        Some(Ok(serde_json::from_value(document).unwrap()))
    };
    let facts = ClusterFacts {
        cycle: cycle(true, 0),
        store: tried(vec![step("put", "PutObject", None), step("delete", "DeleteObject", None)], 0.2),
        plugin_version: "0.1.0".into(),
        volumes_go: true,
        held_back: None,
        rights: vec![
            ("backup".into(), vec![]),
            ("restore".into(), vec!["create jobs.batch".into(), "create persistentvolumeclaims".into()]),
        ],
    };
    let of = |state: &WorkloadState| checks(state, &judge(state, limits()), &facts, limits());
    let (well, late) = (of(&healthy()), of(&degraded()));
    let denied = |operation: &str, action: &str| step(operation, action, Some("it was denied: AccessDenied"));
    let stores = [
        tried(vec![denied("put", "PutObject")], 0.0),
        tried(
            vec![step("put", "PutObject", None), denied("list", "ListBucket"), denied("delete", "DeleteObject")],
            -75.0,
        ),
        Some(Err("no pod answers".into())),
    ];
    let mut cycles = [cycle(false, 4), cycle(false, 0), Some(Err("no pod answers".into()))].into_iter();
    let stores = stores.map(|store| {
        let facts = ClusterFacts { store, cycle: cycles.next().unwrap(), rights: Vec::new(), ..facts.clone() };
        let checks = checks(&healthy(), &judge(&healthy(), limits()), &facts, limits());
        check_text(&checks, true, Terminal::PLAIN)
    });
    golden("render/check-store.txt", &stores.join("\n"));
    let text = format!(
        "{}\n{}\n{}",
        check_text(&well, false, Terminal::PLAIN),
        check_text(&late, false, Terminal::PLAIN),
        check_text(&late, true, Terminal::PLAIN)
    );
    golden("render/check.txt", &text);
    let document = check_document("shop", "mysql", &late);
    assert_eq!(document["worst"], "error");
    golden("render/check.json", &(serde_json::to_string_pretty(&document).unwrap() + "\n"));
}

#[test]
fn windows_of_another_history_are_no_comfort() {
    for (live, is_told) in [(true, false), (false, true)] {
        let mut state = healthy();
        state.windows.iter_mut().for_each(|window| window.live = live);
        let beats = state.pods.iter_mut().filter_map(|pod| pod.beat.as_mut());
        beats.for_each(|beat| beat.heartbeat.codes = vec!["PITR0504".to_owned()]);
        assert!(!state.windows.is_empty() && state.usable_backups() > Some(0) && state.backups.is_some());
        let judged = judge(&state, limits());
        assert_eq!(judged.findings.iter().any(|finding| finding.code.number == 504), is_told, "{judged:?}");
        let text = status_text(&state, &judged, limits(), (Terminal::PLAIN, false));
        let fix = "nothing of it is recoverable until there is one";
        assert_eq!(
            text.contains(fix) && text.contains("Fix          kubectl pitr backup mysql -n shop"),
            is_told,
            "{text}"
        );
    }
}

#[test]
fn two_servers_that_write_on_two_branches_are_a_finding() {
    let mut other = heartbeat();
    other["archive"]["branch"] = "br-c2d9".into();
    let told = |other: &Value| {
        let state = workload("mysql", vec![pod("mysql-0", Some(&heartbeat())), pod("mysql-1", Some(other))]);
        let findings = judge(&merge(state, Some(windows()), Some(backups())), limits()).findings;
        findings.into_iter().find(|finding| finding.code.number == 508).map(|finding| finding.text)
    };
    assert!(told(&other).unwrap().starts_with("mysql-0 writes on branch br-3fa0, mysql-1 on br-c2d9"), "PITR0508");
    other["server"]["role"] = "replica".into();
    assert_eq!(told(&other), None, "a replica goes where its source goes");
    assert_eq!(told(&heartbeat()), None);
}
