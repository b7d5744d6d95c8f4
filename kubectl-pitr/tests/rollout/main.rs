//! `inject --live` against an API server that keeps one StatefulSet and restarts its pods as a controller does: which pods get a
//! change, in which order, and what is left where it fails or is broken off.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use world::{Api, BAD, BETTER, GOOD, World, told};

fn all(image: &str) -> Vec<Option<String>> {
    vec![Some(image.to_owned()); 3]
}

#[test]
fn the_last_pod_goes_first_and_the_others_follow() {
    let api = Api::start(World::new(0));
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!((world.images(), &world.partitions, world.remembered()), (all(GOOD), &vec![2, 1, 0, 0], None), "{text}");
}

#[test]
fn an_upgrade_that_cannot_start_is_taken_back_to_what_ran_before() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    let map = api.world().map.clone().unwrap();
    api.world().partitions.clear();
    // Every pod archives, with the old image: none of that says anything about the new one.
    let (code, text) = api.inject(BAD, &["--timeout", "1s", "--retention", "30d"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("error[PITR0208]: mysql-2 does not archive"), "{text}");
    let world = api.world();
    assert_eq!(world.images(), all(GOOD), "{text}");
    assert_eq!((&world.partitions, world.remembered()), (&vec![2, 0], None), "{text}");
    assert_eq!(world.templates.len(), 3, "the template of before, not one like it: {text}");
    assert_eq!(world.map.as_ref().unwrap()["data"], map["data"]);
    assert!(world.pods[..2].iter().all(|revision| *revision == 1), "{:?}", world.pods);
}

#[test]
fn a_later_pod_that_does_not_archive_stops_the_rollout_which_then_goes_on() {
    let mut world = World::new(0);
    // Ready, as its server is: a controller alone would go on.
    world.mute.insert(1);
    let api = Api::start(world);
    let (code, text) = api.inject(GOOD, &["--timeout", "1s"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("mysql-1 does not archive") && text.contains("held back by partition 1"), "{text}");
    assert_eq!(api.standing(), (1, Some("0".to_owned()), vec![None, Some(GOOD.to_owned()), Some(GOOD.to_owned())]));
    api.world().mute.clear();
    let (code, text) = api.inject(BETTER, &["--timeout", "10s"]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!((world.images(), world.partition(), world.remembered()), (all(BETTER), 0, None), "{text}");
}

#[test]
fn pods_that_their_owner_holds_back_stay_as_they_are() {
    let api = Api::start(World::new(3));
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("its partition 3 holds every pod back"), "{text}");
    assert_eq!(api.standing(), (3, None, vec![None; 3]));
    let api = Api::start(World::new(1));
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!(
        (&world.partitions, world.images()[0].as_ref(), world.images()[1].as_deref()),
        (&vec![2, 1, 1], None, Some(GOOD))
    );
}

#[test]
fn a_rollout_that_is_broken_off_holds_back_and_goes_on_with_the_same_command() {
    let mut world = World::new(0);
    world.stuck.insert(2);
    let api = Api::start(world);
    let child = api.command(GOOD, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while api.world().pods[2] == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let (code, text) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{text}");
    assert!(text.contains("statefulset/mysql is held back by its partition"), "{text}");
    assert_eq!(api.standing(), (2, Some("0".to_owned()), vec![None, None, Some(GOOD.to_owned())]));
    api.world().stuck.clear();
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!((world.images(), world.partition(), world.remembered()), (all(GOOD), 0, None), "{text}");
}

/// Waits until the last pod has the image that no node can pull, and breaks the command off.
fn break_off(api: &Api, command: &mut Command) {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while api.world().images()[2].as_deref() != Some(BAD) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(told(&child.wait_with_output().unwrap()).0, 130);
}

#[test]
fn what_nobody_has_proven_is_not_what_a_failure_comes_back_to() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    assert!(!api.world().has_before());
    let config = api.world().config();
    break_off(&api, &mut api.command(BAD, &["--retention", "30d"]));
    assert_eq!(api.standing().0, 2);
    let (code, text) = api.inject(BAD, &["--timeout", "1s", "--retention", "60d"]);
    assert_eq!(code, 1, "{text}");
    let world = api.world();
    assert_eq!((world.images(), world.partition(), world.remembered()), (all(GOOD), 0, None), "{text}");
    assert_eq!(world.config(), config);
    assert!(!world.has_before());
}

#[test]
fn a_heartbeat_of_before_the_server_was_there_proves_nothing() {
    let mut world = World::new(0);
    world.silent.insert(2);
    let api = Api::start(world);
    let (code, text) = api.inject(GOOD, &["--timeout", "1s"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("mysql-2 does not archive 1s after its restart: no heartbeat since it became ready"),
        "{text}"
    );
    assert_eq!(api.standing(), (0, None, vec![None; 3]));
    assert_eq!(api.world().map, None);
}

#[test]
fn what_is_pinned_during_a_rollout_stays_pinned() {
    for (image, code) in [(BETTER, 0), (BAD, 1)] {
        let api = Api::start(World::new(0));
        assert_eq!(api.inject(GOOD, &[]).0, 0);
        api.world().stuck.insert(2);
        let mut command = api.command(image, &["--timeout", "3s", "--retention", "30d"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        while api.world().config()["retention"]["window"] != "30d" {
            std::thread::sleep(Duration::from_millis(20));
        }
        api.world().pin("bb-7");
        api.world().stuck.clear();
        let (ended, text) = told(&child.wait_with_output().unwrap());
        assert_eq!(ended, code, "{text}");
        let window = if code == 0 { "30d" } else { "14d" };
        assert_eq!(api.world().config()["retention"], json!({"window": window, "run": "elsewhere", "pins": ["bb-7"]}));
        assert_eq!(api.inject(GOOD, &[]).0, 0);
        assert_eq!(api.world().config()["retention"]["pins"], json!(["bb-7"]), "the next one keeps it, too");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_not_written_over() {
    let api = Api::start(World::new(0));
    api.world().is_map_hidden = true;
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 7, "{text}");
    assert_eq!(api.world().changes, 0, "{text}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let api = Api::start(World::new(0));
    for (flags, shows) in [
        (&["--dry-run"][..], "kind: StatefulSet"),
        (&["--dry-run=client", "-o", "name"], "configmap/pitr-mysql\nstatefulset/mysql\n"),
        (&["--dry-run=server"], "the API server would accept this; nothing was changed"),
    ] {
        let output = api.command(GOOD, flags).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &told(&output).1;
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains(shows), "{text}");
    }
    assert_eq!(api.world().changes, 0);
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    let changes = api.world().changes;
    for flag in ["--dry-run", "--dry-run=server"] {
        let (code, text) = api.run(&["uninject", "mysql", "--live", flag]);
        assert_eq!(code, 0, "{text}");
    }
    assert_eq!(api.world().changes, changes);
}

#[test]
fn what_is_injected_already_is_not_injected_again() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    let changes = api.world().changes;
    let (code, text) = api.inject(GOOD, &["--dry-run=server"]);
    assert_eq!((code, text.contains("this would change nothing")), (0, true), "{text}");
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!((code, text.contains("is injected like that already, nothing was changed")), (0, true), "{text}");
    assert_eq!(api.world().changes, changes, "{text}");
    // The configuration alone is a change too.
    let (code, text) = api.inject(GOOD, &["--retention", "30d"]);
    assert_eq!(code, 0, "{text}");
    assert!(api.world().changes > changes, "{text}");
}

#[test]
fn what_was_proven_after_all_is_what_a_later_failure_comes_back_to() {
    let mut world = World::new(0);
    world.stuck.insert(2);
    let api = Api::start(world);
    let child =
        api.command(GOOD, &["--rollout", "rolling"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    while api.world().pods[2] == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(told(&child.wait_with_output().unwrap()).0, 130);
    let set = ["config", "set", "mysql", "retention.window=30d"];
    let (code, text) = api.run(&set);
    assert!(code == 1 && text.contains("has not come to its end"), "{code}: {text}");
    // Nobody watches, and it archives.
    api.world().stuck.clear();
    let (code, text) = api.run(&set);
    assert_eq!(code, 0, "{text}");
    assert!(api.world().has_before());
    let (code, text) = api.inject(BAD, &["--timeout", "1s"]);
    assert_eq!(code, 1, "{text}");
    let world = api.world();
    assert_eq!((world.images(), world.has_before()), (all(GOOD), false), "{text}");
    assert_eq!(world.config()["retention"]["window"], "30d", "{text}");
}

#[test]
fn a_configuration_that_a_pod_mounts_is_not_deleted() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    api.world().set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 2.into();
    let words = ["uninject", "mysql", "--live", "--confirm", "mysql"];
    let (code, text) = api.run(&words);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("configmap/pitr-mysql stays: mysql-0, mysql-1 would not start without"), "{text}");
    assert!(api.world().map.is_some());
    // Nothing goes without the name, though there is no sidecar in the template any more.
    api.world().set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into();
    let changes = api.world().changes;
    let (code, text) = api.run(&words[..3]);
    assert_eq!((code, api.world().changes), (4, changes), "{text}");
    let (code, text) = api.run(&words);
    assert_eq!(code, 0, "{text}");
    assert_eq!(api.world().map, None, "{text}");
}

#[test]
fn a_workload_of_no_pods_gets_the_change_with_the_first_one() {
    let mut world = World::new(0);
    world.set["spec"]["replicas"] = 0.into();
    let api = Api::start(world);
    let (code, text) = api.inject(GOOD, &[]);
    assert!(code == 0 && text.contains("it has no pods"), "{code}: {text}");
    assert!(!api.world().has_before() && api.world().remembered().is_none());
}

#[test]
fn a_setting_that_wants_a_restart_goes_to_one_pod_first() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    let restart = ["config", "set", "mysql", "s3.endpoint=https://s3.example.com", "--restart", "--timeout", "1s"];
    let (code, text) = api.run(&restart);
    assert_eq!(code, 4, "it wants the name: {text}");
    assert_eq!(api.world().config()["s3"]["endpoint"], json!(null));
    let (code, text) = api.run(&[&restart[..], &["--dry-run=server"]].concat());
    assert!(code == 0 && text.contains("would restart mysql-2, mysql-1, mysql-0"), "{code}: {text}");
    let before = api.world().pods.clone();
    api.world().stuck.insert(2);
    api.world().partitions.clear();
    let confirmed = [&restart[..], &["--confirm", "mysql"]].concat();
    let (code, text) = api.run(&confirmed);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("mysql-2 does not archive") && text.contains("held back by partition 2"), "{text}");
    assert_eq!(api.world().pods[..2], before[..2], "{text}");
    assert_eq!(api.standing().1, Some("0".to_owned()), "{text}");
    api.world().stuck.clear();
    let (code, text) = api.run(&confirmed);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("says so already") && text.contains("pod/mysql-0 archives"), "{text}");
    let world = api.world();
    let revision = world.revision();
    assert!(revision > before[0] && world.pods.iter().all(|pod| *pod == revision), "{:?}: {text}", world.pods);
    assert_eq!((world.partition(), world.remembered(), world.images()), (0, None, all(GOOD)));
}

#[test]
fn a_pod_whose_sidecar_cannot_start_is_named_and_deleted_when_that_is_asked_for() {
    let api = Api::start(World::new(0));
    break_off(&api, &mut api.command(BAD, &[]));
    api.world().waits_for_pods = true;
    let words = ["uninject", "mysql", "--live", "--confirm", "mysql", "--timeout", "1s"];
    let (code, text) = api.run(&words);
    assert_eq!(code, 6, "{text}");
    let image = format!("only deleting the pod helps: image \"{BAD}\" cannot be pulled (ImagePullBackOff)");
    assert!(text.contains(&image), "{text}");
    assert!(text.contains("kubectl delete pod mysql-2 -n shop, or --delete-wedged-pods"), "{text}");
    let (code, text) = api.run(&[&words[..], &["--delete-wedged-pods"]].concat());
    assert_eq!(code, 0, "{text}");
    assert_eq!((api.standing(), &api.world().map), ((0, None, vec![None; 3]), &None), "{text}");
}

#[test]
fn a_pod_that_cannot_start_below_one_that_runs_is_deleted_too() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    {
        let mut world = api.world();
        let bad = serde_json::from_str(&world.templates[1].to_string().replace(GOOD, BAD)).unwrap();
        world.templates.push(bad);
        world.pods[1] = world.templates.len() - 1;
        world.waits_for_pods = true;
    }
    let words = ["uninject", "mysql", "--live", "--confirm", "mysql", "--timeout", "1s"];
    let (code, text) = api.run(&words);
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("kubectl delete pod mysql-1 -n shop, or --delete-wedged-pods"), "{text}");
    assert_eq!(api.world().images()[2].as_deref(), Some(GOOD), "nothing is replaced while one is not ready: {text}");
    let (code, text) = api.run(&[&words[..], &["--delete-wedged-pods"]].concat());
    assert_eq!((code, api.standing()), (0, (0, None, vec![None; 3])), "{text}");
}

#[test]
fn a_secret_that_is_not_there_ends_an_injection_before_it_begins() {
    let api = Api::start(World::new(0));
    api.world().has_secret = Some(false);
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("error[PITR0702]: secret \"pitr-s3\" not found in namespace \"shop\""), "{text}");
    assert!(text.contains("fix:  kubectl create secret generic pitr-s3 -n shop"), "{text}");
    assert_eq!(api.world().changes, 0, "{text}");
    // Whoever may not look is told that nobody did.
    api.world().has_secret = None;
    let (code, text) = api.inject(GOOD, &[]);
    assert!(code == 0 && text.contains("secret   \"pitr-s3\" could not be looked at (forbidden)"), "{code}: {text}");
}

#[test]
fn a_pod_that_waits_for_a_secret_says_so_and_counts_as_one_that_cannot_start() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    // It goes after it was looked at; the next pod to start waits for it.
    api.world().has_secret = None;
    let child = api.command(BETTER, &["--timeout", "4s"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while api.world().images()[2].as_deref() != Some(BETTER) {
        api.world().stuck.insert(2);
        std::thread::sleep(Duration::from_millis(20));
    }
    api.world().has_secret = Some(false);
    let (code, text) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, 1, "{text}");
    let said = "error[PITR0208]: mysql-2 does not archive 4s after its restart: no heartbeat yet; secret \"pitr-s3\" not found (FailedMount)";
    assert!(text.contains(said), "{text}");
    assert!(text.contains("waiting      mysql-2: secret \"pitr-s3\" not found (FailedMount)\n"), "{text}");
    // Its controller waits for the pod that it has, and so does whoever takes the sidecar out.
    api.world().waits_for_pods = true;
    let words = ["uninject", "mysql", "--live", "--confirm", "mysql", "--timeout", "1s"];
    let (code, text) = api.run(&words);
    assert!(code == 6 && text.contains("only deleting the pod helps: secret \"pitr-s3\" not found"), "{code}: {text}");
    let (code, text) = api.run(&[&words[..], &["--delete-wedged-pods"]].concat());
    assert_eq!((code, api.standing()), (0, (0, None, vec![None; 3])), "{text}");
}
