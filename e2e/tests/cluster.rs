//! On a real Kubernetes: from a plain StatefulSet to a dropped table that is back, and the accidents on the way. The shop is the demo's.
#![cfg(feature = "cluster")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::document::commands;
use pitr_e2e::kubernetes::Kubernetes;
use pitr_e2e::product::{Outcome, finish};
use serde_json::Value;

const MINUTE: Duration = Duration::from_secs(60);
const COUNTS: &str =
    "SELECT COUNT(*) FROM shop.orders; SELECT COUNT(*) FROM shop.invoices; CHECKSUM TABLE shop.orders, shop.invoices;";
const INJECT: &[&str] = &[
    "pitr",
    "inject",
    "mysql",
    "-n",
    "shop",
    "--archive",
    "s3://backups/shop/mysql",
    "--endpoint",
    "http://s3.store:9000",
    "--region",
    "us-east-1",
    "--set",
    "s3.path_style=true",
    "--secret",
    "pitr-s3",
    "--mysql-secret",
    "pitr-mysql",
];

fn demo(file: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("demo").join(file)
}

/// The accident: what was there, and the GTID of the DROP.
struct Accident {
    before: Vec<String>,
    dropped: String,
}

#[tokio::test]
async fn from_a_plain_statefulset_to_a_table_that_is_back() -> Result<()> {
    let cluster = Kubernetes::find()?;
    set_up(&cluster).await?;
    println!("--- nothing is archived yet");
    printing_changes_nothing(&cluster).await?;
    the_manifests_are_valid(&cluster).await?;
    inject(&cluster).await?;
    println!("--- no base backup yet");
    refused_without_a_base_backup(&cluster).await?;
    println!("--- backup");
    cluster.run(&["pitr", "backup", "mysql", "-n", "shop"]).await?;
    backups_are_listed(&cluster).await?;
    println!("--- Secrets that are not there");
    what_cannot_start_says_why(&cluster).await?;
    println!("--- verify, check, pins, prune");
    the_archive_is_kept(&cluster).await?;
    println!("--- accident");
    let accident = accident(&cluster).await?;
    bad_input_creates_nothing(&cluster).await?;
    println!("--- restore, its pod killed in the middle");
    restore_with_a_killed_pod(&cluster, &accident).await?;
    look_at(&cluster, "before-the-drop", &accident).await?;
    println!("--- a drill");
    a_drill_proves_a_restore(&cluster).await?;
    println!("--- the timeline, served and finished restores");
    the_accident_is_on_the_timeline(&cluster, &accident).await?;
    a_restore_is_served_and_finished(&cluster, &accident).await?;
    println!("--- our Roles, verb by verb, and a StatefulSet on the restored volume");
    whoever_has_our_roles_restores(&cluster, &accident).await?;
    println!("--- the sidecar's configuration");
    the_configuration_is_changed(&cluster).await?;
    println!("--- the same server, archived over a connection");
    a_server_is_archived_over_a_connection(&cluster).await?;
    println!("--- the stock role view, and what it lacks");
    a_viewer_sees_and_cannot_restore(&cluster).await?;
    println!("--- the runbook");
    the_runbook_works(&cluster, &accident).await?;
    println!("--- disaster: the namespace is gone");
    the_bucket_alone_is_enough(&cluster, &accident).await?;
    println!("--- another shop, restored in place and turned back");
    a_workload_is_restored_in_place(&cluster).await
}

async fn set_up(cluster: &Kubernetes) -> Result<()> {
    cluster.run(&["delete", "namespace", "shop", "still", "store", "rescue", "--ignore-not-found", "--wait"]).await?;
    cluster.apply(&demo("manifests/store.yaml")).await?;
    cluster.apply(&demo("manifests/shop.yaml")).await?;
    cluster.apply(&demo("manifests/archive-access.yaml")).await?;
    cluster.run(&["-n", "store", "rollout", "status", "deployment/s3", "--timeout=120s"]).await?;
    cluster.run(&["-n", "shop", "rollout", "status", "statefulset/mysql", "--timeout=180s"]).await?;
    cluster.sql("shop", "mysql-0", &std::fs::read_to_string(demo("schema.sql"))?).await?;
    Ok(())
}

/// Counts changes of what pods are made of.
async fn generation(cluster: &Kubernetes) -> Result<String> {
    cluster.run(&["-n", "shop", "get", "statefulset", "mysql", "-o", "jsonpath={.metadata.generation}"]).await
}

async fn printing_changes_nothing(cluster: &Kubernetes) -> Result<()> {
    let before = generation(cluster).await?;
    for format in ["patch", "yaml", "kustomize"] {
        let printed = cluster.run(&[INJECT, &["-o", format]].concat()).await?;
        ensure!(printed.contains("pitr-sidecar"), "inject -o {format} printed:\n{printed}");
    }
    ensure!(generation(cluster).await? == before, "printing changed the StatefulSet");
    Ok(())
}

/// The API server takes what we ship.
async fn the_manifests_are_valid(cluster: &Kubernetes) -> Result<()> {
    for folder in ["base", "jobs", "network", "rbac"] {
        let folder = demo(&format!("../../manifests/{folder}"));
        cluster.run(&["apply", "-n", "shop", "--dry-run=server", "-f", &folder.display().to_string()]).await?;
    }
    Ok(())
}

async fn inject(cluster: &Kubernetes) -> Result<()> {
    // As "make images" names it.
    let image = concat!("pitr-sidecar:", env!("CARGO_PKG_VERSION"));
    cluster.run(&[INJECT, &["--image", image, "--live", "--confirm", "mysql"]].concat()).await?;
    cluster.run(&["-n", "shop", "rollout", "status", "statefulset/mysql", "--timeout=180s"]).await?;
    // A second time there is nothing to do: nothing is asked, and nothing restarts.
    let before = generation(cluster).await?;
    let again = cluster.kubectl(&[INJECT, &["--live"]].concat()).await?.expect(0)?;
    ensure!(again.stderr.contains("nothing was changed"), "a second injection said:\n{}", again.stderr);
    ensure!(generation(cluster).await? == before, "a second injection changed the StatefulSet");
    Ok(())
}

/// Names of all claims, Jobs and ConfigMaps: what a refused command must leave as it is.
async fn objects(cluster: &Kubernetes) -> Result<String> {
    cluster.run(&["-n", "shop", "get", "pvc,jobs,configmaps", "-o", "name"]).await
}

async fn refused(cluster: &Kubernetes, words: &[&str], exit: i32, code: &str) -> Result<Outcome> {
    let before = objects(cluster).await?;
    let outcome = cluster.kubectl(&[&["pitr", "restore", "mysql", "-n", "shop"], words].concat()).await?;
    ensure!(outcome.stderr.contains(code), "no {code} for {words:?}:\n{}{}", outcome.stdout, outcome.stderr);
    // kubectl passes on a plugin's exit code.
    let outcome = outcome.expect(exit)?;
    ensure!(objects(cluster).await? == before, "{words:?} was refused and created something");
    Ok(outcome)
}

async fn refused_without_a_base_backup(cluster: &Kubernetes) -> Result<()> {
    let status = cluster.until(&["pitr", "status", "mysql", "-n", "shop"], MINUTE).await?;
    ensure!(status.stdout.contains("kubectl pitr backup"), "status names no way to a base backup:\n{}", status.stdout);
    refused(cluster, &["--to", "latest"], 4, "PITR0302").await.map(drop)
}

async fn backups_are_listed(cluster: &Kubernetes) -> Result<()> {
    let listed: Value =
        serde_json::from_str(&cluster.run(&["pitr", "backups", "mysql", "-n", "shop", "-o", "json"]).await?)?;
    let backups = listed["items"].as_array().context("items")?;
    ensure!(backups.len() == 1 && backups[0]["method"] == "clone", "{listed:#}");
    let status: Value =
        serde_json::from_str(&cluster.run(&["pitr", "status", "mysql", "-n", "shop", "-o", "json"]).await?)?;
    ensure!(status["items"][0].to_string().contains("window"), "{status:#}");
    // The same, read from the archive by a Job that is gone afterwards.
    let before = objects(cluster).await?;
    let by_job = ["pitr", "backups", "mysql", "-n", "shop", "-o", "json", "--via=job"];
    let read: Value = serde_json::from_str(&cluster.run(&by_job).await?)?;
    ensure!(read["items"][0]["id"] == backups[0]["id"], "{read:#}");
    ensure!(objects(cluster).await? == before, "the Job that read the archive left something");
    Ok(())
}

/// A Secret that is not there is refused where pods would wait for it, and named where a Job's pod waits.
async fn what_cannot_start_says_why(cluster: &Kubernetes) -> Result<()> {
    let before = generation(cluster).await?;
    let nowhere: Vec<&str> = INJECT.iter().map(|word| if *word == "pitr-s3" { "nowhere" } else { word }).collect();
    let injected = cluster.kubectl(&[&nowhere[..], &["--live", "--confirm", "mysql"]].concat()).await?.expect(1)?;
    ensure!(injected.stderr.contains("PITR0702") && injected.stderr.contains("nothing was changed"), "{injected:?}");
    ensure!(generation(cluster).await? == before, "a refused injection changed the StatefulSet");
    let words = ["pitr", "verify", "mysql", "-n", "shop", "--secret", "nowhere", "--timeout", "20s"];
    let waited = cluster.kubectl(&words).await?.expect(6)?;
    let reason = "has not started after 20s: secret \"nowhere\" not found (FailedMount)";
    ensure!(waited.stderr.contains(reason) && waited.stderr.contains("waiting  "), "{waited:?}");
    cluster.run(&["-n", "shop", "delete", "jobs", "-l", "kubectl-pitr/component=verify"]).await.map(drop)
}

/// Jobs and schedules that look after the archive; none of them restarts a pod or deletes what was not confirmed.
async fn the_archive_is_kept(cluster: &Kubernetes) -> Result<()> {
    let before = generation(cluster).await?;
    let verified = cluster.run(&["pitr", "verify", "mysql", "-n", "shop", "--deep"]).await?;
    ensure!(verified.contains("all of it is what was stored"), "{verified}");
    let checked = cluster.kubectl(&["pitr", "check", "mysql", "-n", "shop"]).await?;
    ensure!(checked.stdout.contains("a small object was written, read, listed and deleted"), "{checked:?}");

    cluster.run(&["pitr", "backups", "pin", "mysql", "bb-", "-n", "shop"]).await?;
    let plan = cluster.run(&["pitr", "prune", "mysql", "-n", "shop", "--keep-last", "1"]).await?;
    ensure!(plan.contains("pinned") && plan.contains("nothing expires"), "{plan}");
    let wrong = cluster.kubectl(&["pitr", "prune", "mysql", "-n", "shop", "--confirm", "other"]).await?.expect(4)?;
    ensure!(wrong.stderr.contains("PITR0402"), "{wrong:?}");
    let done = cluster.run(&["pitr", "prune", "mysql", "-n", "shop", "--confirm", "mysql", "-o", "json"]).await?;
    let done: Value = serde_json::from_str(&done)?;
    ensure!(done["done"]["refused"] == false && done["done"]["deletedObjects"] == 0, "{done:#}");
    cluster.run(&["pitr", "backups", "unpin", "mysql", "bb-", "-n", "shop"]).await?;

    cluster.run(&["pitr", "verify", "mysql", "-n", "shop", "--sample", "20%", "--schedule", "30 4 * * *"]).await?;
    cluster.run(&["-n", "shop", "create", "job", "verify-now", "--from=cronjob/pitr-verify-mysql"]).await?;
    cluster.run(&["-n", "shop", "wait", "--for=condition=Complete", "job/verify-now", "--timeout=120s"]).await?;
    let scheduled = ["--schedule", "15 3 * * *", "--confirm", "mysql", "--dry-run=server"];
    cluster.run(&[&["pitr", "prune", "mysql", "-n", "shop"][..], &scheduled].concat()).await?;
    cluster.run(&["pitr", "backup", "mysql", "-n", "shop", "--schedule", "0 2 * * *"]).await?;
    let made = cluster.run(&["-n", "shop", "get", "cronjobs", "-o", "name"]).await?;
    ensure!(
        made.split_whitespace().collect::<Vec<_>>()
            == ["cronjob.batch/pitr-backup-mysql", "cronjob.batch/pitr-verify-mysql"],
        "{made}"
    );
    ensure!(generation(cluster).await? == before, "looking after the archive changed the StatefulSet");
    Ok(())
}

async fn the_configuration_is_changed(cluster: &Kubernetes) -> Result<()> {
    let view = async || -> Result<Value> {
        let printed = cluster.run(&["pitr", "config", "view", "mysql", "-n", "shop", "-o", "json"]).await?;
        let document: Value = serde_json::from_str(&printed)?;
        let mut items = document["items"].as_array().context("items")?.iter();
        items.find(|item| item["key"] == "schedule.archive_interval").cloned().context("the key")
    };
    let before = (view().await?, generation(cluster).await?);
    ensure!(before.0["value"] == "60s", "{before:?}");
    let set = ["pitr", "config", "set", "mysql", "-n", "shop"];
    for (wrong, exit) in
        [("schedule.archive_intervall=5s", 2), ("schedule.archive_interval=soon", 2), ("archive=s3://x/y", 2)]
    {
        cluster.kubectl(&[&set[..], &[wrong]].concat()).await?.expect(exit)?;
    }
    cluster.run(&[&set[..], &["schedule.archive_interval=45s", "--dry-run=server"]].concat()).await?;
    ensure!(view().await? == before.0, "a wrong word or a dry run changed something");
    let told = cluster.kubectl(&[&set[..], &["schedule.archive_interval=45s"]].concat()).await?.expect(0)?;
    ensure!(told.stderr.contains("without a restart"), "{told:?}");
    let after = view().await?;
    ensure!(after["value"] == "45s" && after["from"] == "configuration", "{after:#}");
    ensure!(generation(cluster).await? == before.1, "the StatefulSet was changed");
    Ok(())
}

/// An archiver of its own, which no pod of the server knows of: what is committed is recoverable, and a base backup makes it restorable.
async fn a_server_is_archived_over_a_connection(cluster: &Kubernetes) -> Result<()> {
    let account = "CREATE USER stream@'%' IDENTIFIED BY 'demo-stream-password' REQUIRE SSL;
        GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO stream@'%'";
    cluster.sql("shop", "mysql-0", account).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "[client]\nuser = root\npassword = demo-root-password\n")?;
    let (file, password) = (format!("--from-file=my.cnf={}", file.path().display()), "demo-stream-password");
    let password = format!("--from-literal=password={password}");
    cluster.run(&["-n", "shop", "create", "secret", "generic", "far-db", &password, &file]).await?;
    let before = generation(cluster).await?;

    let image = concat!("pitr-sidecar:", env!("CARGO_PKG_VERSION"));
    let server = ["--host", "mysql-0.mysql", "--mysql-user", "stream", "--mysql-secret", "far-db", "--image", image];
    let store = ["--archive", "s3://backups/shop/far", "--endpoint", "http://s3.store:9000", "--region", "us-east-1"];
    let more = ["--set", "s3.path_style=true", "--secret", "pitr-s3", "--spool-size", "2Gi"];
    let words = [&["pitr", "attach", "far", "-n", "shop"][..], &server, &store, &more].concat();
    let printed = cluster.run(&words).await?;
    let manifest = tempfile::NamedTempFile::new()?;
    std::fs::write(manifest.path(), &printed)?;
    cluster.run(&["apply", "--dry-run=server", "-f", &manifest.path().display().to_string()]).await?;
    cluster.run(&[&words[..], &["--live"]].concat()).await?;
    cluster.run(&["-n", "shop", "rollout", "status", "statefulset/far", "--timeout=120s"]).await?;
    for refused in [["inject", "far"], ["uninject", "far"], ["detach", "mysql"]] {
        let more: &[&str] = if refused[0] == "inject" { &store[..2] } else { &[] };
        let words = [&["pitr"][..], &refused, &["-n", "shop"], more].concat();
        cluster.kubectl(&words).await?.expect(2)?;
    }

    let copy = ["--server-image", "pitr.local/mysql:9.7", "--scratch-class", "emptydir", "--method", "dump"];
    cluster.run(&[&["pitr", "backup", "far", "-n", "shop"][..], &copy].concat()).await?;
    cluster.sql("shop", "mysql-0", "INSERT INTO shop.orders (customer, amount) VALUES ('far', 1)").await?;
    let now = cluster.sql("shop", "mysql-0", "SELECT COUNT(*) FROM shop.orders; CHECKSUM TABLE shop.orders").await?;
    let last = cluster.sql("shop", "mysql-0", "SELECT REPLACE(@@gtid_executed, '\\n', '')").await?.concat();
    let (uuid, numbers) = last.split_once(':').context("one server's set")?;
    let last = format!("{uuid}:{}", numbers.rsplit(['-', ':']).next().unwrap_or(numbers));
    let target = ["pitr", "restore", "far", "-n", "shop", "--through-gtid", &last];
    cluster.until(&[&target[..], &["--plan"]].concat(), MINUTE).await?;
    let job = ["--new-name", "from-afar", "--server-image", "pitr.local/mysql:9.7"];
    cluster.run(&[&target[..], &job].concat()).await?;
    cluster.run(&["pitr", "restores", "serve", "from-afar", "-n", "shop"]).await?;
    let client = ["mysql", "-h127.0.0.1", "-uroot", "-pdemo-root-password", "-N", "-B", "-e"];
    let ask = ["SELECT COUNT(*) FROM shop.orders; CHECKSUM TABLE shop.orders"];
    let pod = ["-n", "shop", "exec", "from-afar-serve", "-c", "serve", "--"];
    let served = cluster.run(&[&pod[..], &client, &ask].concat()).await?;
    ensure!(served.lines().eq(now.iter()), "restored {served:?}, on the server {now:?}");
    cluster.run(&["pitr", "restores", "finish", "from-afar", "-n", "shop"]).await?;

    cluster.kubectl(&["pitr", "detach", "far", "-n", "shop"]).await?.expect(4)?;
    cluster.run(&["pitr", "detach", "far", "-n", "shop", "--confirm", "far"]).await?;
    for object in ["statefulset/far", "configmap/pitr-far", "pod/far-0", "pvc/spool-far-0"] {
        cluster.run(&["-n", "shop", "wait", "--for=delete", object, "--timeout=60s"]).await?;
    }
    ensure!(generation(cluster).await? == before, "attaching changed the server's StatefulSet");
    Ok(())
}

/// A real restore to scratch: the archive keeps what it proved, and with its Job goes its volume.
async fn a_drill_proves_a_restore(cluster: &Kubernetes) -> Result<()> {
    let drill = ["pitr", "drill", "mysql", "-n", "shop", "--assert"];
    let told = cluster.run(&[&drill[..], &["SELECT COUNT(*) > 0 FROM shop.orders"]].concat()).await?;
    ensure!(told.contains("Drill passed"), "{told}");
    let wrong = cluster.kubectl(&[&drill[..], &["SELECT COUNT(*) = 0 FROM shop.orders"]].concat()).await?.expect(5)?;
    ensure!(wrong.stderr.contains("SELECT COUNT(*) = 0 FROM shop.orders"), "{wrong:?}");
    let jobs = ["delete", "jobs", "-l", "kubectl-pitr/component=drill", "--wait", "--cascade=foreground"];
    cluster.run(&[&["-n", "shop"][..], &jobs].concat()).await?;
    let begun = Instant::now();
    while cluster.run(&["-n", "shop", "get", "persistentvolumeclaims", "-o", "name"]).await?.contains("drill") {
        ensure!(begun.elapsed() < Duration::from_secs(60), "a drill left its volume");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let schedule = ["pitr", "drill", "mysql", "-n", "shop", "--schedule", "0 4 * * 0", "--dry-run=server"];
    cluster.run(&schedule).await.map(|_| ())
}

async fn the_accident_is_on_the_timeline(cluster: &Kubernetes, accident: &Accident) -> Result<()> {
    let asked = ["pitr", "timeline", "mysql", "-n", "shop", "--grep", "DROP TABLE"];
    let told = cluster.run(&asked).await?;
    ensure!(told.contains(&format!("--before-gtid {}", accident.dropped)), "{told}");
    let page = cluster.run(&[&asked[..], &["-o", "html"]].concat()).await?;
    ensure!(page.contains("<svg") && page.contains("DROP TABLE"), "{page}");
    Ok(())
}

async fn a_restore_is_served_and_finished(cluster: &Kubernetes, accident: &Accident) -> Result<()> {
    cluster.run(&["pitr", "restores", "serve", "before-the-drop", "-n", "shop"]).await?;
    let ask = async |sql: &str| {
        let client = ["mysql", "-h127.0.0.1", "-uroot", "-pdemo-root-password", "-N", "-B", "-e", sql];
        let pod = ["-n", "shop", "exec", "before-the-drop-serve", "-c", "serve", "--"];
        cluster.kubectl(&[&pod[..], &client].concat()).await
    };
    let served = ask(COUNTS).await?.expect(0)?;
    ensure!(served.stdout.lines().eq(accident.before.iter()), "served {served:?}, before {:?}", accident.before);
    ensure!(ask("DROP DATABASE shop").await?.code != Some(0), "a served restore was written to");
    cluster.run(&["pitr", "restores", "finish", "before-the-drop", "-n", "shop"]).await?;
    let left = objects(cluster).await?;
    ensure!(
        left.contains("persistentvolumeclaim/before-the-drop") && !left.contains("job.batch/before-the-drop"),
        "{left}"
    );
    Ok(())
}

/// The restorer's Role and what of it a restore cannot do without.
const RESTORER: [(&str, &str); 5] = [
    ("create", "jobs"),
    ("get", "jobs"),
    ("create", "persistentvolumeclaims"),
    ("get", "persistentvolumeclaims"),
    ("create", "configmaps"),
];

async fn whoever_has_our_roles_restores(cluster: &Kubernetes, accident: &Accident) -> Result<()> {
    cluster.run(&["-n", "shop", "create", "serviceaccount", "restorer"]).await?;
    for role in ["viewer", "restorer"] {
        let file = demo(&format!("../../manifests/rbac/{role}.yaml"));
        cluster.run(&["-n", "shop", "apply", "-f", &file.display().to_string()]).await?;
        let (binding, role) = (format!("restorer-{role}"), format!("--role=pitr-{role}"));
        cluster
            .run(&["-n", "shop", "create", "rolebinding", &binding, &role, "--serviceaccount=shop:restorer"])
            .await?;
    }
    let identity = ["--as", "system:serviceaccount:shop:restorer"];
    for (verb, resource) in RESTORER {
        without(cluster, (verb, resource), &identity).await.with_context(|| format!("without {verb} {resource}"))?;
    }
    let wanted = ["--new-name", "stand", "--statefulset", "rescued"];
    cluster.run(&[&restore(accident, &wanted)[..], &identity].concat()).await?;
    let printed =
        cluster.run(&[&["pitr", "restores", "statefulset", "stand", "-n", "shop"][..], &identity].concat()).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), printed)?;
    cluster.apply(file.path()).await?;
    cluster.run(&["-n", "shop", "rollout", "status", "statefulset/rescued", "--timeout=180s"]).await?;
    let after = cluster.sql("shop", "rescued-0", COUNTS).await?;
    ensure!(after == accident.before, "restored {after:?}, before the DROP {:?}", accident.before);
    let selected = ["-n", "shop", "get", "endpointslices", "-l", "kubernetes.io/service-name=mysql", "-o", "json"];
    let selected: Value = serde_json::from_str(&cluster.run(&selected).await?)?;
    ensure!(
        !selected.to_string().contains("rescued"),
        "the workload's Service sends to the restored server: {selected:#}"
    );
    let pruned =
        ["pitr", "restores", "prune", "--older-than", "0s", "--with-volumes", "--confirm", "shop", "-n", "shop"];
    let pruned = cluster.kubectl(&pruned).await?.expect(0)?;
    ensure!(pruned.stderr.contains("data-rescued-0 stays"), "{pruned:?}");
    cluster
        .run(&["-n", "shop", "delete", "statefulset,service,pvc", "rescued", "data-rescued-0", "--ignore-not-found"])
        .await?;
    Ok(())
}

/// A Role that lacks one verb: the restore is refused before anything is made, and the error names it.
async fn without(cluster: &Kubernetes, (verb, resource): (&str, &str), identity: &[&str]) -> Result<()> {
    let whole = cluster.run(&["-n", "shop", "get", "role", "pitr-restorer", "-o", "json"]).await?;
    let mut less: Value = serde_json::from_str(&whole)?;
    for rule in less["rules"].as_array_mut().into_iter().flatten() {
        if rule["resources"][0] == resource || rule["resources"][1] == resource {
            rule["verbs"].as_array_mut().context("verbs")?.retain(|held| held != verb);
        }
    }
    // A rule that allows nothing is not valid.
    less["rules"].as_array_mut().context("rules")?.retain(|rule| rule["verbs"] != serde_json::json!([]));
    let patch = serde_json::json!({"rules": less["rules"]}).to_string();
    let set = ["-n", "shop", "patch", "role", "pitr-restorer", "--type=merge", "-p"];
    cluster.run(&[&set[..], &[&patch]].concat()).await?;
    let before = objects(cluster).await?;
    let mut outcome = None;
    // The API server hears of a change a moment later.
    for _ in 0..20 {
        let words = ["pitr", "restore", "mysql", "-n", "shop", "--to", "latest", "--dry-run=server"];
        let tried = cluster.kubectl(&[&words[..], identity].concat()).await?;
        if tried.code == Some(7) {
            outcome = Some(tried);
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let outcome = outcome.context("it was not refused")?;
    ensure!(outcome.stderr.contains(&format!("{verb} {resource}")), "it is not named:\n{}", outcome.stderr);
    ensure!(objects(cluster).await? == before, "something was created");
    let whole: Value = serde_json::from_str(&whole)?;
    let patch = serde_json::json!({"rules": whole["rules"]}).to_string();
    cluster.run(&[&set[..], &[&patch]].concat()).await.map(drop)
}

async fn accident(cluster: &Kubernetes) -> Result<Accident> {
    for _ in 0..50 {
        let sale = "INSERT INTO shop.orders (customer, amount) VALUES ('late', 1); INSERT INTO shop.invoices (order_id, amount) VALUES (1, 1);";
        cluster.sql("shop", "mysql-0", sale).await?;
    }
    let before = cluster.sql("shop", "mysql-0", COUNTS).await?;
    cluster.sql("shop", "mysql-0", "DROP TABLE shop.invoices").await?;
    let executed = cluster.sql("shop", "mysql-0", "SELECT REPLACE(@@gtid_executed, '\\n', '')").await?.concat();
    let (uuid, numbers) = executed.split_once(':').context("one server's set")?;
    let last = numbers.rsplit(['-', ':']).next().unwrap_or(numbers);
    cluster.sql("shop", "mysql-0", "INSERT INTO shop.orders (customer, amount) VALUES ('after', 1)").await?;
    Ok(Accident { before, dropped: format!("{uuid}:{last}") })
}

async fn bad_input_creates_nothing(cluster: &Kubernetes) -> Result<()> {
    let naive = refused(cluster, &["--to", "2026-11-21T08:14:03"], 2, "PITR0102").await?;
    ensure!(naive.stderr.contains('Z'), "no reading of the time is offered:\n{}", naive.stderr);
    refused(cluster, &["--to", "yesterday"], 2, "PITR0101").await?;
    refused(cluster, &["--to", "2020-01-01T00:00:00Z"], 4, "PITR0302").await?;
    refused(cluster, &["--to", "2099-01-01T00:00:00Z"], 4, "PITR0303").await?;
    refused(cluster, &["--before-gtid", "nonsense"], 2, "PITR0104").await?;
    Ok(())
}

fn restore<'a>(accident: &'a Accident, more: &[&'a str]) -> Vec<&'a str> {
    [&["pitr", "restore", "mysql", "-n", "shop", "--before-gtid", accident.dropped.as_str()], more].concat()
}

/// Deletes the pod of the restore `before-the-drop` by force as soon as it says how far it is.
async fn kill_the_pod_at_work(cluster: &Kubernetes) -> Result<()> {
    let pods = ["-n", "shop", "get", "pods", "-l", "batch.kubernetes.io/job-name=before-the-drop", "-o", "name"];
    let pod = loop {
        let name = cluster.run(&pods).await?.trim().to_owned();
        let log = ["-n", "shop", "logs", &name, "-c", "restore"];
        if !name.is_empty() && cluster.kubectl(&log).await?.stdout.contains("\"progress\"") {
            break name;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    cluster.run(&["-n", "shop", "delete", &pod, "--grace-period=0", "--force"]).await?;
    Ok(())
}

async fn restore_with_a_killed_pod(cluster: &Kubernetes, accident: &Accident) -> Result<()> {
    cluster.until(&restore(accident, &["--plan"]), MINUTE).await?;
    let objects_before = objects(cluster).await?;
    let plan = cluster.run(&restore(accident, &["--plan"])).await?;
    ensure!(plan.contains("DROP TABLE"), "the plan does not name what it leaves out:\n{plan}");
    ensure!(objects(cluster).await? == objects_before, "a plan created something");

    let mut running = cluster.command(&restore(accident, &["--new-name", "before-the-drop"]));
    let (outcome, killed) = tokio::join!(finish(&mut running), kill_the_pod_at_work(cluster));
    killed?;
    let outcome = outcome?;
    if outcome.code != Some(0) {
        ensure!(outcome.stderr.contains("resume"), "no way to go on is named:\n{}", outcome.stderr);
        cluster.run(&["pitr", "restores", "resume", "before-the-drop", "-n", "shop"]).await?;
    }
    let listed = cluster.run(&["pitr", "restores", "-n", "shop"]).await?;
    ensure!(listed.contains("before-the-drop"), "{listed}");
    Ok(())
}

/// Starts a server on the restored volume and compares.
async fn look_at(cluster: &Kubernetes, claim: &str, accident: &Accident) -> Result<()> {
    let manifest = std::fs::read_to_string(demo("manifests/look.yaml"))?.replace("before-the-drop", claim);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), manifest)?;
    cluster.apply(file.path()).await?;
    cluster.run(&["-n", "shop", "wait", "--for=condition=Ready", "pod/look", "--timeout=120s"]).await?;
    let after = cluster.sql("shop", "look", COUNTS).await?;
    cluster.run(&["-n", "shop", "delete", "pod", "look", "--wait"]).await?;
    ensure!(after == accident.before, "restored {after:?}, before the DROP {:?}", accident.before);
    Ok(())
}

async fn a_viewer_sees_and_cannot_restore(cluster: &Kubernetes) -> Result<()> {
    cluster.run(&["-n", "shop", "create", "serviceaccount", "viewer"]).await?;
    let role = ["-n", "shop", "create", "rolebinding", "viewer", "--clusterrole=view", "--serviceaccount=shop:viewer"];
    cluster.run(&role).await?;
    let identity = ["--as", "system:serviceaccount:shop:viewer"];
    let status = cluster.run(&[&["pitr", "status", "mysql", "-n", "shop"][..], &identity].concat()).await?;
    ensure!(status.contains("Recoverable"), "{status}");
    let outcome = refused(cluster, &[&["--to", "latest"][..], &identity].concat(), 7, "PITR0701").await?;
    for verb in ["jobs", "configmaps", "persistentvolumeclaims"] {
        ensure!(outcome.stderr.contains(verb), "{verb} is not named:\n{}", outcome.stderr);
    }
    Ok(())
}

async fn the_runbook_works(cluster: &Kubernetes, accident: &Accident) -> Result<()> {
    let log = cluster.run(&restore(accident, &["--plan", "-o", "json"])).await?;
    let plan: Value = serde_json::from_str(&log)?;
    let target = plan["lastApplied"]["committedAt"].as_str().context("the plan's last transaction")?;
    for line in commands("restore-runbook.md", "sh")? {
        let mut shell = cluster.command(&[]);
        let path = shell
            .as_std()
            .get_envs()
            .find(|(name, _)| *name == "PATH")
            .and_then(|(_, v)| v)
            .context("PATH")?
            .to_owned();
        shell = tokio::process::Command::new("sh");
        shell.args(["-ec", &line]).env("PATH", path).env("KUBECONFIG", cluster.kubeconfig());
        shell.envs([("WORKLOAD", "mysql"), ("NAMESPACE", "shop"), ("TARGET", target)]);
        finish(&mut shell).await?.expect(0).with_context(|| line.clone())?;
    }
    look_at(cluster, "rescue", accident).await
}

/// Everything of the shop is deleted but the bucket. The plugin runs where it can reach the store.
async fn the_bucket_alone_is_enough(cluster: &Kubernetes, accident: &Accident) -> Result<()> {
    cluster.run(&["delete", "namespace", "shop", "--wait"]).await?;
    cluster.run(&["create", "namespace", "shop"]).await?;
    cluster.apply(&demo("manifests/archive-access.yaml")).await?;
    cluster
        .run(&["-n", "shop", "create", "secret", "generic", "mysql", "--from-literal=root-password=demo-root-password"])
        .await?;
    let address = cluster.run(&["-n", "store", "get", "service", "s3", "-o", "jsonpath={.spec.clusterIP}"]).await?;
    let endpoint = format!("http://{address}:9000");
    let store = ["--archive", "s3://backups/shop/mysql", "--endpoint", &endpoint, "--region", "us-east-1"];
    let status = inside(cluster, &[&["status"][..], &store].concat()).await?.expect(0)?;
    ensure!(status.stdout.contains("Recoverable"), "{}", status.stdout);
    let target = ["--before-gtid", accident.dropped.as_str(), "--new-name", "phoenix", "-n", "shop"];
    let job = ["--secret", "pitr-s3", "--server-image", "pitr.local/mysql:9.7", "--run-as-user", "999:999"];
    let outcome = inside(cluster, &[&["restore"][..], &target, &store, &job].concat()).await?.expect(0)?;
    ensure!(outcome.stdout.contains("Verified") || outcome.stderr.contains("Verified"), "{outcome:?}");
    look_at(cluster, "phoenix", accident).await
}

/// A shop with a namespace and an archive of its own, archived and backed up.
async fn another_shop(cluster: &Kubernetes) -> Result<()> {
    for file in ["shop.yaml", "archive-access.yaml"] {
        let manifest = std::fs::read_to_string(demo("manifests").join(file))?;
        let manifest = manifest.replace("namespace: shop", "namespace: still").replace("{name: shop}", "{name: still}");
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), manifest)?;
        cluster.apply(file.path()).await?;
    }
    cluster.run(&["-n", "still", "rollout", "status", "statefulset/mysql", "--timeout=180s"]).await?;
    cluster.sql("still", "mysql-0", &std::fs::read_to_string(demo("schema.sql"))?).await?;
    let words = INJECT.iter().map(|word| match *word {
        "shop" => "still",
        "s3://backups/shop/mysql" => "s3://backups/still/mysql",
        word => word,
    });
    let image = concat!("pitr-sidecar:", env!("CARGO_PKG_VERSION"));
    let words: Vec<&str> = words.chain(["--image", image, "--live", "--confirm", "mysql"]).collect();
    cluster.run(&words).await?;
    cluster.run(&["-n", "still", "rollout", "status", "statefulset/mysql", "--timeout=180s"]).await?;
    cluster.until(&["pitr", "status", "mysql", "-n", "still"], MINUTE).await?;
    cluster.run(&["pitr", "backup", "mysql", "-n", "still"]).await.map(drop)
}

/// Whoever has these Roles, and no other right.
async fn in_place_identity(cluster: &Kubernetes) -> Result<&'static str> {
    cluster.run(&["-n", "still", "create", "serviceaccount", "restorer"]).await?;
    for role in ["viewer", "backup", "restorer", "restorer-in-place"] {
        let file = demo(&format!("../../manifests/rbac/{role}.yaml"));
        cluster.run(&["-n", "still", "apply", "-f", &file.display().to_string()]).await?;
        let (binding, role) = (format!("restorer-{role}"), format!("--role=pitr-{role}"));
        let bind = ["-n", "still", "create", "rolebinding", &binding, &role, "--serviceaccount=still:restorer"];
        cluster.run(&bind).await?;
    }
    Ok("system:serviceaccount:still:restorer")
}

/// What the other shop holds: the server that it is, its tables, and whatever was written since the accident.
async fn holdings(cluster: &Kubernetes) -> Result<[String; 3]> {
    let sql = "SELECT @@server_uuid; SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'shop'; \
               SELECT GROUP_CONCAT(customer ORDER BY customer) FROM shop.orders WHERE customer IN ('after', 'since')";
    let lines = cluster.sql("still", "mysql-0", sql).await?;
    lines.try_into().map_err(|lines| anyhow::anyhow!("answered {lines:?}"))
}

async fn write_an_order(cluster: &Kubernetes, customer: &str) -> Result<()> {
    let sql = format!("INSERT INTO shop.orders (customer, amount) VALUES ('{customer}', 1)");
    cluster.sql("still", "mysql-0", &sql).await.map(drop)
}

async fn a_workload_is_restored_in_place(cluster: &Kubernetes) -> Result<()> {
    another_shop(cluster).await?;
    let identity = in_place_identity(cluster).await?;
    let before = cluster.sql("still", "mysql-0", COUNTS).await?;
    let old = holdings(cluster).await?;
    let now = "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')";
    let target = cluster.sql("still", "mysql-0", now).await?.concat();
    cluster.sql("still", "mysql-0", "DROP TABLE shop.invoices").await?;
    write_an_order(cluster, "after").await?;

    let lines = commands("restore-runbook.md", "sh cluster in-place")?.into_iter().map(|line| {
        let line = line.replace("$WORKLOAD", "mysql").replace("$NAMESPACE", "still").replace("$TARGET", &target);
        format!("{line} --as {identity}")
    });
    let lines: Vec<String> = lines.collect();
    let lines: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().skip(1).collect()).collect();
    let [plan, restore, backup, abort, finish] = lines.as_slice() else { anyhow::bail!("the runbook says {lines:?}") };
    let planned = cluster.until(plan, MINUTE).await?.stdout;
    ensure!(planned.contains("√ nothing is unarchived") && !planned.contains('×'), "{planned}");
    // The machine that drives it goes to sleep as soon as the Job is there.
    let mut driving = cluster.command(restore);
    let mut driving = driving.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    cluster.until(&["-n", "still", "get", "job", "back"], 2 * MINUTE).await?;
    driving.kill().await?;
    cluster.run(&["pitr", "restores", "resume", "back", "-n", "still", "--as", identity]).await?;
    let restored = cluster.sql("still", "mysql-0", COUNTS).await?;
    ensure!(restored == before, "restored {restored:?}, before the DROP {before:?}");
    let new = holdings(cluster).await?;
    ensure!(new[0] != old[0] && new[1..] == [old[1].clone(), "NULL".to_owned()], "{new:?}, before {old:?}");
    let listed = cluster.run(&["pitr", "restores", "-n", "still", "--as", identity]).await?;
    ensure!(listed.contains("verified") && listed.contains("in place; in use"), "{listed}");
    cluster.run(backup).await?;
    write_an_order(cluster, "since").await?;

    cluster.run(abort).await?;
    cluster.run(&["-n", "still", "rollout", "status", "statefulset/mysql", "--timeout=180s"]).await?;
    let back = holdings(cluster).await?;
    ensure!(back[0] == old[0] && back[1] != old[1] && back[2] == "after", "{back:?} is not the old data");
    // Once the old server has written again, its history is the one that goes on, and nobody has to name it.
    write_an_order(cluster, "again").await?;
    let plan = ["pitr", "restore", "mysql", "-n", "still", "--to", "latest", "--plan", "-o", "json", "--as", identity];
    let planned = cluster.until(&plan, MINUTE).await?.stdout;
    // The base may be one of the restored server: it was taken before that one wrote, and is a state of the old one, too.
    let plan: Value = serde_json::from_str(&planned)?;
    let mut files = plan["files"].as_array().context("files")?.iter();
    ensure!(files.len() > 0 && files.all(|file| file["source"] == old[0]), "not the old server's log:\n{planned}");
    cluster.run(finish).await?;
    let left = cluster.run(&["-n", "still", "get", "jobs,configmaps", "-o", "name"]).await?;
    ensure!(!left.contains("/back"), "{left}");
    cluster.run(&["delete", "namespace", "still", "--wait=false"]).await.map(drop)
}

/// The plugin, run in the node's network with the user's own credentials of the store: the API server has its service's address there.
async fn inside(cluster: &Kubernetes, words: &[&str]) -> Result<Outcome> {
    let enter = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("parts/node/enter.sh");
    let plugin = pitr_e2e::product::Product::find()?.plugin_path();
    let mut command = tokio::process::Command::new(enter);
    command
        .arg("--net")
        .arg(plugin)
        .args(words)
        .args(["--server", "https://10.96.0.1"])
        .env("KUBECONFIG", cluster.kubeconfig());
    command.env("PITR_NODE_STATE", cluster.kubeconfig().parent().context("the node's folder")?);
    command.envs([("AWS_ACCESS_KEY_ID", "demo"), ("AWS_SECRET_ACCESS_KEY", "demo-secret-key")]);
    finish(&mut command).await
}
