//! `pitr-sidecar restore` with a real server: exact, again and again, and after being killed anywhere.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rig;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use self::rig::{Rig, State, listing, processes_with, state};

/// Events in every state, before and in the log.
const EVENTS_BEFORE: [&str; 2] = [
    "CREATE EVENT shop.kept ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.orders WHERE id < 0",
    "CREATE EVENT shop.off ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM shop.orders WHERE id < 0",
];
const EVENTS_IN_LOG: [&str; 3] = [
    "CREATE EVENT shop.fresh ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.orders WHERE id < 0",
    "CREATE EVENT shop.fresh_off ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM shop.orders WHERE id < 0",
    "ALTER EVENT shop.kept COMMENT 'touched'",
];

/// What follows the target, and must not be in any restore.
const ACCIDENT: &str =
    "DROP TABLE shop.orders; UPDATE shop.stock SET quantity = 0; DROP EVENT shop.kept; CREATE DATABASE later";

struct Scene {
    rig: Rig,
    target: String,
    state: State,
}

/// A server with a base backup, a log behind it, a moment to go back to, and an accident after it; all archived.
async fn scene(method: &str, transactions: u64) -> Option<Scene> {
    let rig = Rig::new().await?;
    for event in EVENTS_BEFORE {
        rig.server.sql(event).await.unwrap();
    }
    rig.load(1, 60).await;
    // Under load: the base's set must be exact all the same.
    let (_, backup) = tokio::join!(rig.load(2, 200), rig.backup(method, &[]));
    backup.expect_result("stored");
    rig.load(3, transactions).await;
    for event in EVENTS_IN_LOG {
        rig.server.sql(event).await.unwrap();
    }
    let state = state(&rig.server).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let target = format!("{:.6}", jiff::Timestamp::now());
    tokio::time::sleep(Duration::from_millis(5)).await;
    rig.server.sql(ACCIDENT).await.unwrap();
    rig.archive_once().await;
    Some(Scene { rig, target, state })
}

#[tokio::test]
async fn a_clone_goes_back_to_just_before_the_accident_and_is_the_user_s_own() {
    let Some(Scene { rig, target, state: expected }) = scene("clone", 200).await else { return };
    let datadir = rig.path("restored");
    let verdict = rig.restore(&["--to", &target], &datadir).await.expect_result("verified");
    assert_eq!(verdict["gtidSet"], expected.executed.as_str());
    assert_eq!((&verdict["missing"], &verdict["unexpected"]), (&"".into(), &"".into()));
    let report: Value = serde_json::from_slice(&std::fs::read(datadir.join(".pitr/RESTORED.json")).unwrap()).unwrap();
    assert_eq!(report["verdict"]["result"], "verified");
    assert_eq!(report["verdict"]["eventsToLookAt"], 0, "{report}");
    assert_eq!(processes_with(&datadir.display().to_string()), Vec::<i32>::new());

    // Again: nothing is left to do, and nothing is changed.
    let journal = std::fs::read(datadir.join(".pitr/journal.json")).unwrap();
    let again = rig.restore(&["--to", &target], &datadir).await.expect_result("verified");
    assert_eq!(again["gtidSet"], expected.executed.as_str());
    let said = again["message"].as_str().unwrap();
    assert_eq!(
        said,
        format!(
            "verified and handed over at {}; the data is not checked again",
            report["restoredAt"].as_str().unwrap()
        )
    );
    assert_eq!(std::fs::read(datadir.join(".pitr/journal.json")).unwrap(), journal);
    rig.restore(&["--to", "latest"], &datadir).await.expect(5, "refused", "PITR0412", "holds a restore of \"--to ");

    assert_eq!(rig.restored(&datadir).await, expected);
}

#[tokio::test]
async fn a_plan_file_is_carried_out_as_it_is_and_a_job_s_exit_code_says_what_to_do() {
    let Some(Scene { rig, target, state: expected }) = scene("dump", 60).await else { return };
    let first = rig.path("first");
    rig.restore(&["--to", &target], &first).await.expect_result("verified");
    assert_eq!(rig.restored(&first).await, expected);

    // The same plan, as a Job gets it; what is archived later does not change it.
    rig.server.sql("INSERT INTO shop.stock (item, quantity) VALUES (5000, 1)").await.unwrap();
    rig.archive_once().await;
    let (plan, packed) = (rig.path("plan.json"), rig.path("plan.json.gz"));
    std::fs::copy(first.join(".pitr/plan.json"), &plan).unwrap();
    let gzip = std::process::Command::new("gzip").arg("-k").arg(&plan).status().unwrap();
    assert!(gzip.success());
    let second = rig.path("second");
    let verdict = rig.restore(&["--plan-file", packed.to_str().unwrap()], &second).await.expect_result("verified");
    let again = rig.restore(&["--plan-file", plan.to_str().unwrap()], &second).await.expect_result("verified");
    assert_eq!(verdict["planHash"], again["planHash"]);
    assert!(verdict["planHash"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(rig.restored(&second).await, expected);

    // Bad plan: 64. Volume of another: 65.
    let mut other = std::fs::read_to_string(&plan).unwrap();
    other.truncate(other.len() / 2);
    std::fs::write(rig.path("half.json"), &other).unwrap();
    let half = rig.restore(&["--plan-file", rig.path("half.json").to_str().unwrap()], &rig.path("third")).await;
    half.expect(64, "refused", "PITR0410", "read the plan in");
    std::fs::create_dir(rig.path("taken")).unwrap();
    std::fs::write(rig.path("taken/ibdata1"), "mine").unwrap();
    let taken = rig.restore(&["--plan-file", plan.to_str().unwrap()], &rig.path("taken")).await;
    taken.expect(65, "refused", "PITR0412", "is not empty and holds no restore of ours: it has \"ibdata1\"");
    assert_eq!(listing(&rig.path("taken")), [rig.path("taken/ibdata1")]);
    assert!(!rig.path("third").exists());
}

/// Starts a restore and lets it run until it says that a phase has begun.
async fn until_phase(rig: &Rig, target: &str, datadir: &Path, phase: &str) -> Child {
    let mut command = rig.restoring(&["--to", target], datadir);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let words = format!("\"phase\":\"{phase}\"");
    let mut seen = Vec::new();
    loop {
        let line = lines.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended before \"{phase}\": {seen:?}"));
        if line.contains(&words) {
            return child;
        }
        seen.push(line);
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn killed_in_every_phase_it_goes_on_and_is_exact() {
    for (method, phases) in [
        ("clone", ["fetch-base", "start-server", "replay", "verify", "stop-server"].as_slice()),
        ("dump", &["prepare", "replay"]),
    ] {
        let Some(Scene { rig, target, state: expected }) = scene(method, 150).await else { return };
        let datadir = rig.path("restored");
        for phase in phases {
            let mut child = until_phase(&rig, &target, &datadir, phase).await;
            child.kill().await.unwrap();
        }
        let verdict = rig.restore(&["--to", &target], &datadir).await.expect_result("verified");
        assert_eq!(verdict["gtidSet"], expected.executed.as_str());
        assert_eq!(processes_with(&datadir.display().to_string()), Vec::<i32>::new());
        assert_eq!(rig.restored(&datadir).await, expected);
    }
}

#[tokio::test]
async fn asked_to_end_it_ends_in_order_and_two_never_run_at_once() {
    let Some(Scene { rig, target, state: expected }) = scene("dump", 150).await else { return };
    let datadir = rig.path("restored");
    for phase in ["prepare", "start-server", "replay"] {
        let mut child = until_phase(&rig, &target, &datadir, phase).await;
        // It stands still meanwhile: else it could come to its end first.
        signal(&child, rustix::process::Signal::STOP);
        let second = rig.restore(&["--to", &target], &datadir).await;
        second.expect(5, "refused", "PITR0412", "another restore is running on");
        signal(&child, rustix::process::Signal::TERM);
        signal(&child, rustix::process::Signal::CONT);
        assert_eq!(child.wait().await.unwrap().code(), Some(130), "{phase}");
        assert_eq!(processes_with(&datadir.display().to_string()), Vec::<i32>::new(), "{phase}");
    }
    rig.restore(&["--to", &target], &datadir).await.expect_result("verified");
    assert_eq!(rig.restored(&datadir).await, expected);
}

#[tokio::test]
async fn what_somebody_else_wrote_to_the_volume_is_never_verified() {
    let Some(Scene { rig, target, .. }) = scene("dump", 60).await else { return };
    let datadir = rig.path("restored");
    until_phase(&rig, &target, &datadir, "replay").await.kill().await.unwrap();
    for pid in processes_with(&format!("--pid-file={}", datadir.join(".pitr/mysqld.pid").display())) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
    }
    while !processes_with(&datadir.display().to_string()).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut stranger = pitr_e2e::mysqld::Mysqld::on(&rig.installation, &datadir, 5).start().await.unwrap();
    stranger.sql("CREATE DATABASE not_planned").await.unwrap();
    stranger.stop().await.unwrap();
    let outcome = rig.restore(&["--to", &target], &datadir).await;
    outcome.expect(5, "incomplete", "PITR0419", "something else wrote to this volume");
    assert_ne!(outcome.verdict()["unexpected"], "");
    assert!(!datadir.join(".pitr/RESTORED.json").exists());
}

#[tokio::test]
async fn an_assertion_that_does_not_hold_is_not_verified() {
    let Some(Scene { rig, target, state: expected }) = scene("dump", 20).await else { return };
    let datadir = rig.path("restored");
    let asserted = |sql: &'static str| ["--to".to_owned(), target.clone(), "--assert".to_owned(), sql.to_owned()];
    let wrong = asserted("SELECT COUNT(*) < 0 FROM shop.orders");
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    rig.restore(&wrong, &datadir).await.expect(5, "incomplete", "PITR0411", "is not true");
    let right = asserted("SELECT COUNT(*) > 0 FROM shop.orders");
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    rig.restore(&right, &datadir).await.expect_result("verified");
    assert_eq!(rig.restored(&datadir).await, expected);
}
