//! Lists of restores: selected, in order, and again when something changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::api::{program, refusal, start, told};

/// A restore's Job, whether it is verified, and the size of its name's target.
fn job(name: &str, workload: &str, end: Option<&str>) -> Value {
    let conditions =
        end.map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-11-21T07:30:00Z"}));
    json!({"metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-11-21T07:14:03Z",
            "labels": {"kubectl-pitr/workload": workload, "kubectl-pitr/restore": name},
            "annotations": {"kubectl-pitr/target": "2026-11-21T07:14:03Z"}},
        "status": {"conditions": conditions.into_iter().collect::<Vec<_>>()}})
}

fn list(kind: &str, items: &[Value]) -> (u16, Value) {
    (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// The exit code of a program that is to end now: one that goes on is ended, and told of.
fn ended(child: &mut Child) -> Option<i32> {
    for _ in 0..600 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    panic!("it has not ended within a minute");
}

/// A volume of a restore whose Job was deleted.
fn claim() -> Value {
    json!({"metadata": {"name": "left", "namespace": "shop", "labels": {"kubectl-pitr/workload": "mysql", "kubectl-pitr/restore": "left"}}})
}

#[test]
fn restores_are_selected_and_in_order() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let address = start(move |_, target, _| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        seen.lock().unwrap().push(format!("{path} {query}"));
        match path {
            "/apis/batch/v1/jobs" => list(
                "JobList",
                &[job("b", "mysql", Some("Complete")), job("a", "mysql", Some("Failed")), job("c", "orders", None)],
            ),
            "/api/v1/persistentvolumeclaims" => list("PersistentVolumeClaimList", &[claim()]),
            path if path.ends_with("/pods") => list("PodList", &[]),
            _ => refusal(404, "NotFound"),
        }
    });
    let run = |words: &[&str]| {
        let all = [&["restores"][..], words, &["-A", "--server", &address]].concat();
        told(&program(&all).output().unwrap())
    };
    let (code, out, errors) = run(&["--sort-by", ".name", "--no-headers"]);
    let names: Vec<_> = out.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!((code, names), (0, vec!["a", "b", "c", "left"]), "{out}{errors}");
    let (_, out, _) = run(&["--sort-by", ".state", "-o", "jsonpath={range .items[*]}{.state} {end}"]);
    assert_eq!(out.trim(), "failed job deleted verified waiting for its pod");
    asked.lock().unwrap().clear();
    let (code, out, errors) =
        run(&["list", "-l", "kubectl-pitr/workload=mysql", "--field-selector", "status.successful=1", "-o", "name"]);
    assert_eq!(code, 0, "{errors}");
    assert!(!out.contains("left"), "a volume has no fields of a Job: {out}");
    let asked = asked.lock().unwrap();
    let jobs = asked.iter().find(|asked| asked.starts_with("/apis/batch/v1/jobs ")).unwrap();
    assert!(
        jobs.contains("kubectl-pitr%2Fworkload%3Dmysql") && jobs.contains("fieldSelector=status.successful%3D1"),
        "{jobs}"
    );
    let (code, _, errors) = run(&["--sort-by", "[["]);
    assert_eq!(code, 2, "{errors}");
}

#[test]
fn a_watch_ends_when_nobody_reads_it_and_by_ctrl_c_also_while_it_looks() {
    let looks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&looks);
    let address = start(move |_, target, _| match target.split('?').next().unwrap() {
        "/apis/batch/v1/namespaces/shop/jobs" => {
            let look = seen.fetch_add(1, Ordering::SeqCst);
            // The second look of the first command takes its time.
            std::thread::sleep(Duration::from_secs(if look == 1 { 30 } else { 0 }));
            list("JobList", &[job(&format!("look-{look}"), "mysql", Some("Complete"))])
        }
        path if path.ends_with("/pods") => list("PodList", &[]),
        _ => refusal(404, "NotFound"),
    });
    let watch =
        || program(&["restores", "-w", "-n", "shop", "--server", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let mut child = watch();
    while looks.load(Ordering::SeqCst) < 2 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let begun = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(ended(&mut child), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(10), "it went on looking: {:?}", begun.elapsed());
    let mut child = watch();
    drop(child.stdout.take());
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn a_restore_is_shown_again_when_it_has_ended() {
    let looks = Arc::new(AtomicUsize::new(0));
    let address = start(move |_, target, _| match target.split('?').next().unwrap() {
        "/apis/batch/v1/namespaces/shop/jobs" => {
            let ended = (looks.fetch_add(1, Ordering::SeqCst) > 0).then_some("Complete");
            list("JobList", &[job("still", "mysql", Some("Complete")), job("soon", "mysql", ended)])
        }
        path if path.ends_with("/pods") => list("PodList", &[]),
        _ => refusal(404, "NotFound"),
    });
    let mut child =
        program(&["restores", "-w", "-n", "shop", "--server", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen: Vec<String> = (&mut lines).take(4).map(Result::unwrap).collect();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(ended(&mut child), Some(130));
    let words = |line: &String| line.split_whitespace().next().unwrap().to_owned();
    let mut first: Vec<String> = seen[1..3].iter().map(words).collect();
    first.sort();
    assert_eq!((words(&seen[0]).as_str(), first), ("NAME", vec!["soon".to_owned(), "still".to_owned()]), "{seen:#?}");
    assert!(seen[3].starts_with("soon") && seen[3].contains("verified"), "{seen:#?}");
    assert!(lines.next().is_none(), "the row that did not change came again");
}
