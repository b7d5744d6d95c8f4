//! Lists of many workloads. `status -A` over fifty: two lists and one log each, at most sixteen at a time, whatever the API server takes
//! for each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kubectl_pitr::render::{JsonPath, backups_document, backups_table};
use kubectl_pitr::state::Backups;
use serde_json::{Value, json};

const WORKLOADS: usize = 50;
/// Pods that the plugin asks at once.
const AT_ONCE: usize = 16;

#[derive(Default)]
struct Seen {
    paths: Mutex<Vec<String>>,
    open: AtomicUsize,
    open_max: AtomicUsize,
}

fn container() -> Value {
    json!({"name": "pitr", "image": "pitr-sidecar:test"})
}

fn stateful_sets() -> Value {
    let set = |n: usize| {
        json!({"metadata": {"name": format!("db{n:02}"), "namespace": format!("ns{:02}", n % 5)},
            "spec": {"replicas": 1, "serviceName": "x", "selector": {}, "template": {"spec": {"containers": [container()]}}}})
    };
    json!({"kind": "StatefulSetList", "apiVersion": "apps/v1", "metadata": {}, "items": (0..WORKLOADS).map(set).collect::<Vec<_>>()})
}

fn pods() -> Value {
    let pod = |n: usize| {
        json!({"metadata": {"name": format!("db{n:02}-0"), "namespace": format!("ns{:02}", n % 5), "ownerReferences":
            [{"kind": "StatefulSet", "name": format!("db{n:02}"), "apiVersion": "apps/v1", "uid": "u"}]},
            "spec": {"containers": [container()]}})
    };
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": (0..WORKLOADS).map(pod).collect::<Vec<_>>()})
}

fn heartbeat() -> String {
    let now = jiff::Timestamp::now().to_string();
    json!({"ts": now, "event": "heartbeat", "state": "ok", "server": {"flavour": "mysql", "version": "9.7.0", "role": "primary"},
        "window": {"from": "2026-11-18T02:00:09Z", "to": now}, "active": {"binlog": "b.1", "positionBytes": 9, "shippedBytes": 9},
        "baseBackups": {"usable": 1, "newestId": "bb-1", "newestAt": now}})
    .to_string()
}

fn answer(stream: TcpStream, seen: &Seen) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut header = String::new();
        while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
            header.clear();
        }
        let is_log = path.contains("/log?");
        let body = match path.split('?').next().unwrap_or_default() {
            "/apis/apps/v1/statefulsets" => stateful_sets().to_string(),
            "/api/v1/pods" => pods().to_string(),
            _ if is_log => heartbeat(),
            other => panic!("{other} was not to be asked"),
        };
        if is_log {
            let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
            seen.open_max.fetch_max(open, Ordering::SeqCst);
            // Long enough that all that may be asked at once is.
            std::thread::sleep(Duration::from_millis(100));
            seen.open.fetch_sub(1, Ordering::SeqCst);
        }
        seen.paths.lock().unwrap().push(path);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(body.as_bytes())).is_err() {
            return;
        }
    }
}

#[test]
fn fifty_workloads_take_two_lists_and_one_log_each() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let server = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&server);
            std::thread::spawn(move || answer(stream, &seen));
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-pitr"))
        .args(["status", "-A", "--sort-by", ".workload", "--server", &format!("http://{address}")])
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().count(), WORKLOADS + 1, "{text}");
    assert!(
        text.lines().nth(1).is_some_and(|line| line.contains("statefulset/db00") && line.contains(" OK ")),
        "{text}"
    );
    let paths = seen.paths.lock().unwrap();
    assert_eq!(paths.len(), WORKLOADS + 2, "{paths:?}");
    let most = seen.open_max.load(Ordering::SeqCst);
    assert!((2..=AT_ONCE).contains(&most), "{most} logs at once");
}

#[test]
fn base_backups_of_several_workloads_say_whose_they_are_and_stand_in_order() {
    let backup = |id: &str, stored: u64, workload: Option<&str>| {
        json!({"id": id, "method": "clone", "flavour": "mysql", "serverVersion": "9.7.4", "usable": true, "storedBytes": stored,
            "namespace": workload.map(|_| "shop"), "workload": workload})
    };
    let list = |items: Value| serde_json::from_value::<Backups>(json!({"items": items})).unwrap();
    let several = list(json!([backup("bb-1", 9 << 20, Some("mysql")), backup("bb-2", 1 << 20, Some("orders"))]));
    let mut items = backups_document(&several)["items"].as_array().unwrap().clone();
    JsonPath::path(".storedBytes").unwrap().sort(&mut items, Clone::clone);
    let order: Vec<_> = items.iter().map(|item| (&item["namespace"], &item["workload"], &item["id"])).collect();
    assert_eq!(
        order,
        [(&json!("shop"), &json!("orders"), &json!("bb-2")), (&json!("shop"), &json!("mysql"), &json!("bb-1"))]
    );
    let table = backups_table(&several, true, false);
    assert!(
        table.starts_with("NAMESPACE   WORKLOAD   ID ") && table.contains("\nshop        orders     bb-2 "),
        "{table}"
    );
    let one = list(json!([backup("bb-1", 9, None)]));
    assert!(backups_table(&one, true, false).starts_with("ID "));
    assert!(backups_document(&one)["items"][0].get("workload").is_none());
}
