//! The sidecar into manifests and out again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kubectl_pitr::cluster::FIELD_MANAGER;
use kubectl_pitr::inject::attach::{self, Stream, Surroundings};
use kubectl_pitr::inject::plan::{Found, find};
use kubectl_pitr::inject::report::{Circumstances, report, report_document};
use kubectl_pitr::inject::settings::Settings;
use kubectl_pitr::inject::survey::{Hints, Owner};
use kubectl_pitr::inject::{manifest, output, ownership, tree};
use serde_json::{Value, json};
use support::{compare, golden, manifest};

fn settings() -> Settings {
    Settings {
        archive: "s3://backups/shop/mysql".into(),
        region: Some("eu-west-1".into()),
        endpoint: None,
        secret: Some("pitr-s3".into()),
        mysql_secret: Some("pitr-mysql".into()),
        retention: "14d".into(),
        image: "pitr-sidecar:VERSION".into(),
        native: true,
        set: vec![("schedule.tail_interval".into(), "5s".into())],
        pins: Vec::new(),
        stream: None,
    }
}

fn found(text: &str) -> Found {
    find(text, &Hints::default(), &BTreeMap::new()).unwrap().pop().unwrap()
}

/// As the command does it: strip, find, add.
fn inject(text: &str, settings: &Settings) -> String {
    let text = manifest::strip(&manifest::strip_server_fields(text).unwrap(), false).unwrap();
    let found = found(&text);
    let injection = found.injection(None, found.owner().unwrap(), settings).unwrap();
    manifest::add(&text, found.place, &injection).unwrap()
}

#[test]
fn a_manifest_keeps_every_other_byte() {
    let text = manifest("mysql.yaml");
    let injected = inject(&text, &settings());
    golden("inject/mysql.yaml", &injected);
    for line in text.lines() {
        assert!(injected.contains(line), "lost: {line}");
    }
    assert_eq!(manifest::strip(&injected, false).unwrap(), text);
}

#[test]
fn datadir_and_binlogs_on_two_volumes() {
    let text = manifest("mariadb-two-volumes.yaml");
    let injected = inject(&text, &settings());
    golden("inject/mariadb-two-volumes.yaml", &injected);
    assert_eq!(manifest::strip(&injected, false).unwrap(), text);
}

#[test]
fn a_live_list_in_json_becomes_something_that_can_be_applied() {
    let injected = inject(&manifest("live.json"), &settings());
    golden("inject/live.yaml", &injected);
    for field in ["resourceVersion", "uid:", "managedFields", "status:", "creationTimestamp"] {
        assert!(!injected.contains(field), "{field} is still there");
    }
}

#[test]
fn a_second_run_changes_nothing() {
    for name in ["mysql.yaml", "mariadb-two-volumes.yaml", "live.json"] {
        let once = inject(&manifest(name), &settings());
        assert_eq!(inject(&once, &settings()), once, "{name}");
        let plain = Settings { native: false, secret: None, ..settings() };
        let changed = inject(&once, &plain);
        assert_eq!(inject(&changed, &settings()), once, "{name}: back from other settings");
        let stripped = manifest::strip(&once, false).unwrap();
        assert_eq!(manifest::strip(&stripped, false).unwrap(), stripped, "{name}");
    }
}

#[test]
fn any_layout_comes_back() {
    // The same object in many layouts: what is fed in must come out, byte for byte.
    let text = manifest("mysql.yaml");
    let layouts = [
        text.replace(
            "      volumes:\n        - name: config\n          configMap:\n            name: mysql-config\n",
            "",
        ),
        text.replace('\n', "\r\n"),
        text.trim_end().to_owned() + "\n",
        format!("---\n{text}"),
        text.replace(
            "      labels:\n        app: mysql   # the selector\n",
            "      labels:\n        app: mysql\n      annotations:\n        a: b\n",
        ),
        text.replace("---\n# not ours", "---\n---\n# not ours"),
    ];
    for (number, layout) in layouts.iter().enumerate() {
        let injected = inject(layout, &settings());
        assert_eq!(manifest::strip(&injected, false).unwrap(), *layout, "layout {number}");
        assert_eq!(inject(&injected, &settings()), injected, "layout {number}");
    }
}

#[test]
fn brackets_are_written_anew_and_then_stay() {
    let flow = r#"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: shop}, spec: {serviceName: db, selector: {matchLabels: {a: b}},
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: db, image: "mysql:9.7", securityContext: {runAsUser: 999}, volumeMounts: [{name: d, mountPath: /var/lib/mysql}]}]}}}}
"#;
    let injected = inject(flow, &settings());
    assert_eq!(inject(&injected, &settings()), injected);
    let back = tree::parse(&manifest::strip(&injected, false).unwrap()).unwrap();
    assert_eq!(back[0].value, tree::parse(flow).unwrap()[0].value);
}

#[test]
fn anchors_do_not_get_lost() {
    let text = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: db\nspec:\n  serviceName: db\n  selector:\n    matchLabels: &labels\n      a: b\n  template:\n    metadata:\n      labels: *labels\n    spec:\n      containers:\n      - name: db\n        image: mysql:9.7\n        securityContext: {runAsUser: 999}\n        volumeMounts:\n        - {name: d, mountPath: /var/lib/mysql}\n";
    let injected = inject(text, &settings());
    let documents = tree::parse(&injected).unwrap();
    // The label must not end up in the selector, which cannot be changed.
    assert_eq!(documents[0].value["spec"]["selector"]["matchLabels"], serde_json::json!({"a": "b"}));
    assert_eq!(documents[0].value["spec"]["template"]["metadata"]["labels"]["kubectl-pitr/workload"], "db");
    assert_eq!(inject(&injected, &settings()), injected);
}

#[test]
fn other_forms() {
    let text = manifest("mysql.yaml");
    let found = found(&text);
    let injection = found.injection(None, found.owner().unwrap(), &settings()).unwrap();
    golden("inject/patch.yaml", &output::patch(&injection, found.namespace.as_deref()).unwrap());
    golden("inject/kustomize.yaml", &output::kustomize(&injection).unwrap());
    let around = Circumstances {
        restarts: vec!["mysql-2".into(), "mysql-1".into(), "mysql-0".into()],
        deployer: Some("Argo CD app \"shop\"".into()),
        live: false,
        assumed_native: false,
    };
    golden(
        "inject/report.txt",
        &report("mysql", &found.survey, Owner { uid: 999, gid: Some(999) }, &settings(), &around),
    );
    let objects = [output::named_patch(&injection, Some("shop")), injection.config_map.clone()];
    let owner = Owner { uid: 999, gid: Some(999) };
    let place = ("mysql", Some("shop"));
    let document = report_document(place, &found.survey, owner, &settings(), (&around, &objects));
    golden("inject/report.json", &(serde_json::to_string_pretty(&document).unwrap() + "\n"));
}

fn refusal(text: &str) -> String {
    let found = find(text, &Hints::default(), &BTreeMap::new());
    let error = match found {
        Err(error) => error,
        Ok(found) => found[0].owner().unwrap_err().into(),
    };
    kubectl_pitr::failure::of(&error).text()
}

#[test]
fn what_cannot_be_known_is_refused() {
    let text = manifest("mysql.yaml");
    let owned = text.replace(
        "  namespace: shop\n",
        "  namespace: shop\n  ownerReferences: [{apiVersion: k8s.mariadb.com/v1alpha1, kind: MariaDB, name: db, uid: x, controller: true}]\n",
    );
    let mut texts = vec![
        refusal(&owned),
        refusal(&text.replace("        runAsUser: 999\n", "")),
        refusal(&text.replace("            - --server-id=1", "            - --datadir=/somewhere/else")),
        refusal(&text.replace("  replicas: 3", "  replica: 3")),
        refusal("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"),
        refusal(&format!("{text}---\n{}", manifest("mariadb-two-volumes.yaml"))),
    ];
    let object = found(&text).object;
    assert_eq!(ownership::deployer(&object), None);
    let helm =
        text.replace("  namespace: shop\n", "  namespace: shop\n  annotations: {meta.helm.sh/release-name: shop-db}\n");
    texts.push(ownership::refuse_deployer("mysql", &found(&helm).object).unwrap_err().text());
    golden("inject/refusals.txt", &texts.join("\n"));
}

#[test]
fn every_changed_setting_restarts_the_pods() {
    let found = found(&manifest("mysql.yaml"));
    let hash = |settings: &Settings| {
        found.injection(Some("shop"), Owner { uid: 999, gid: Some(999) }, settings).unwrap().config_hash
    };
    let plain = Settings { set: Vec::new(), ..settings() };
    let before = hash(&plain);
    assert_eq!(hash(&plain), before);
    for (key, value) in [("s3.endpoint", "http://s3:9000"), ("schedule.tail_interval", "5s"), ("pipeline.workers", "2")]
    {
        assert_ne!(hash(&Settings { set: vec![(key.into(), value.into())], ..plain.clone() }), before, "{key}");
    }
    assert_ne!(hash(&Settings { retention: "99d".into(), ..plain.clone() }), before);
    // Pins are read while it runs.
    let pinned = Settings { pins: vec!["bb-1".into()], ..plain.clone() };
    assert_eq!(hash(&pinned), before);
    let map = found.injection(Some("shop"), Owner { uid: 999, gid: Some(999) }, &pinned).unwrap().config_map;
    assert!(map["data"]["config.yaml"].as_str().unwrap().contains("pins:\n  - bb-1"), "{map}");
}

#[test]
fn secrets_do_not_go_into_configuration() {
    let found = found(&manifest("mysql.yaml"));
    for key in ["source.mysql.password", "s3.secret_key", "a..b", "UPPER-CASE", ""] {
        let settings = Settings { set: vec![(key.into(), "x".into())], ..settings() };
        assert!(found.injection(None, Owner { uid: 1, gid: None }, &settings).is_err(), "{key}");
    }
}

#[test]
fn a_second_run_keeps_the_image_that_runs() {
    let text = manifest("mysql.yaml");
    assert_eq!(manifest::sidecar_image(&text).unwrap(), None);
    assert_eq!(manifest::sidecar_image(&inject(&text, &settings())).unwrap().as_deref(), Some("pitr-sidecar:VERSION"));
}

#[test]
fn a_wrong_setting_is_refused_before_anything_restarts() {
    let found = found(&manifest("mysql.yaml"));
    let owner = Owner { uid: 1, gid: None };
    for changed in [
        Settings { retention: "soon".into(), ..settings() },
        Settings { set: vec![("schedule.tail_intervall".into(), "5s".into())], ..settings() },
    ] {
        let error = found.injection(None, owner, &changed).unwrap_err();
        assert_eq!(kubectl_pitr::failure::of(&error).number(), Some(209), "{error:#}");
    }
}

#[test]
fn the_report_warns_of_what_would_not_work() {
    let around = Circumstances { assumed_native: true, ..Circumstances::default() };
    let told = |name: &str, image: String| {
        let found = found(&manifest(name));
        let settings = Settings { image, ..settings() };
        report("db", &found.survey, Owner { uid: 1, gid: None }, &settings, &around)
    };
    let text = told("mariadb-two-volumes.yaml", kubectl_pitr::inject::settings::default_image());
    for words in ["Kubernetes 1.29", "restores of it do not exist", "is in no public registry"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = told("mysql.yaml", "registry/pitr-sidecar:1".to_owned());
    assert!(!text.contains("warning"), "{text}");
}

#[test]
fn values_for_a_chart_hold_the_whole_injection() {
    let found = found(&manifest("mysql.yaml"));
    let injection = found.injection(Some("shop"), Owner { uid: 999, gid: Some(999) }, &settings()).unwrap();
    golden("inject/helm-values.yaml", &output::helm_values(&injection, "bitnami-mysql").unwrap());
    let plain = Settings { native: false, ..settings() };
    let plain = found.injection(Some("shop"), Owner { uid: 999, gid: Some(999) }, &plain).unwrap();
    assert!(output::helm_values(&plain, "bitnami-mysql").unwrap().contains("\n  sidecars:\n"));
    let refused = output::helm_values(&injection, "my-chart").unwrap_err().to_string();
    assert!(refused.contains("my-chart"), "{refused}");
}

#[test]
fn a_server_elsewhere_gets_an_archiver_of_its_own() {
    let stream =
        Stream { host: "orders.example.com".into(), port: 3307, user: "pitr".into(), secret: "orders-db".into() };
    let settings = Settings {
        archive: "s3://backups/shop/orders".into(),
        set: vec![("source.mysql.tls".into(), "verify-identity".into())],
        stream: Some(stream.clone()),
        native: false,
        ..settings()
    };
    let around = Surroundings {
        service_account: Some("archiver".into()),
        spool_size: "5Gi".into(),
        spool_class: Some("fast".into()),
    };
    let [map, set] = attach::objects("orders", "shop", &settings, &around).unwrap();
    let text = format!("{}---\n{}", tree::emit(&map).unwrap(), tree::emit(&set).unwrap());
    golden("inject/attach.yaml", &text);
    golden("inject/attach.txt", &attach::report("orders", "shop", &stream, &settings));

    // No other command takes it for a server: there would be nothing left of it.
    let set: k8s_openapi::api::apps::v1::StatefulSet = serde_json::from_value(set).unwrap();
    assert!(attach::is_archiver(&set));
    assert_eq!(attach::refuse_archiver("orders", &set).unwrap_err().exit(), 2);
    let with_server = manifest("mysql.yaml") + "---\n" + &text;
    assert_eq!(manifest::strip(&with_server, true).unwrap(), with_server);
}

#[test]
fn what_only_has_our_names_is_not_ours() {
    let text = manifest("mysql.yaml")
        .replace(
            "        # scraped by the shop's Prometheus\n",
            "        - name: pitr\n          image: corp/own-pitr-uploader\n          volumeMounts: [{name: pitr-s3, mountPath: /s3}]\n",
        )
        .replace("      volumes:\n", "      volumes:\n        - name: pitr-s3\n          secret: {secretName: theirs}\n");
    assert_eq!(manifest::strip(&text, false).unwrap(), text);
    let told = refusal(&text);
    for words in ["PITR0206", "statefulset/mysql has container \"pitr\", volume \"pitr-s3\"", "another name"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Nor is a volume that somebody else mounts, once there is an injection beside it.
    let injected = inject(&manifest("mysql.yaml"), &settings());
    let shared = injected.replace(
        "            - name: data\n              mountPath: /var/lib/mysql\n            - name: config\n",
        "            - name: data\n              mountPath: /var/lib/mysql\n            - {name: pitr-s3, mountPath: /s3}\n            - name: config\n",
    );
    assert_ne!(shared, injected);
    let stripped = manifest::strip(&shared, false).unwrap();
    assert!(stripped.contains("secretName: pitr-s3") && !stripped.contains("name: pitr\n"), "{stripped}");
}

/// What we ship for people to lay over their own objects: below `manifests/`.
fn shipped(name: &str) -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../manifests").join(name)
}

fn emit(head: &str, value: &Value) -> String {
    format!("{head}\n{}", tree::emit(value).unwrap())
}

#[test]
fn what_is_shipped_for_git_is_what_inject_writes() {
    let found = found(&manifest("mysql.yaml"));
    let settings = Settings { set: Vec::new(), ..settings() };
    let injection = found.injection(None, found.owner().unwrap(), &settings).unwrap();
    let head = "# The sidecar's configuration, as \"kubectl pitr inject\" writes it. All keys: docs/configuration.md";
    compare(&shipped("base/configmap.yaml"), &emit(head, &injection.config_map));

    let head = "# A Flux Kustomization that adds the sidecar: lay it over yours. The patch is \"kubectl pitr inject mysql -o patch\". See README.md here.";
    let target = json!({"group": "apps", "version": "v1", "kind": "StatefulSet", "name": "mysql"});
    let patch = tree::emit(&output::named_patch(&injection, None)).unwrap();
    let flux = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "shop", "namespace": "flux-system"}, "spec": {"patches": [{"target": target, "patch": patch}]}});
    compare(&shipped("gitops/flux-patch.yaml"), &emit(head, &flux));

    let text = std::fs::read_to_string(shipped("gitops/argocd-ignore-differences.yaml")).unwrap();
    let application = tree::parse(&text).unwrap().pop().unwrap().value;
    let ignored = &application["spec"]["ignoreDifferences"][0];
    assert_eq!(ignored["managedFieldsManagers"], json!([FIELD_MANAGER]));
    assert_eq!((&ignored["kind"], &ignored["name"]), (&json!("StatefulSet"), &json!("mysql")));
}

#[test]
fn what_is_shipped_for_an_operator_is_the_container_that_inject_adds() {
    // As Percona's operator makes its pods.
    let pod = json!({"securityContext": {"runAsUser": 1001, "runAsGroup": 1001}, "containers": [{"name": "mysql",
        "image": "percona/percona-server:8.4", "volumeMounts": [{"name": "datadir", "mountPath": "/var/lib/mysql"}]}]});
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "ps-mysql", "namespace": "shop"},
        "spec": {"serviceName": "ps-mysql", "selector": {}, "template": {"spec": pod}}});
    let found = found(&tree::emit(&set).unwrap());
    let settings = Settings { native: false, set: Vec::new(), ..settings() };
    let injection = found.injection(None, found.owner().unwrap(), &settings).unwrap();
    let head = "# The sidecar in a PerconaServerMySQL: lay it over yours. See README.md here.";
    let ours = json!({"spec": {"mysql": {"sidecars": [injection.container], "sidecarVolumes": injection.volumes}}});
    compare(&shipped("operators/percona-ps.yaml"), &emit(head, &ours));
}
