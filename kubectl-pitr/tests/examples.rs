//! The manifests that people copy are what the plugin makes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kubectl_pitr::inject::plan::find;
use kubectl_pitr::inject::settings::{Settings, default_image};
use kubectl_pitr::inject::survey::Hints;
use kubectl_pitr::inject::{output, tree};
use support::compare;

fn manifests() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../manifests")
}

#[test]
fn the_kustomize_example_is_what_inject_prints() {
    let example = manifests().join("examples/mysql");
    let text = std::fs::read_to_string(example.join("mysql.yaml")).unwrap();
    let found = find(&text, &Hints::default(), &BTreeMap::new()).unwrap().pop().unwrap();
    let settings = Settings {
        archive: "s3://backups/shop/mysql".into(),
        region: Some("eu-west-1".into()),
        endpoint: None,
        secret: Some("pitr-s3".into()),
        mysql_secret: Some("pitr-mysql".into()),
        retention: "14d".into(),
        image: default_image(),
        native: true,
        set: Vec::new(),
        pins: Vec::new(),
        stream: None,
    };
    let injection = found.injection(Some("shop"), found.owner().unwrap(), &settings).unwrap();
    compare(&example.join("pitr/kustomization.yaml"), &output::kustomize(&injection).unwrap());
}

#[test]
fn roles_are_namespaced_and_name_no_secret() {
    let mut roles = 0;
    for entry in std::fs::read_dir(manifests().join("rbac")).unwrap() {
        let path = entry.unwrap().path();
        for document in tree::parse(&std::fs::read_to_string(&path).unwrap()).unwrap() {
            assert_eq!(document.value["kind"], "Role", "{}", path.display());
            for rule in document.value["rules"].as_array().unwrap() {
                for key in ["resources", "verbs", "apiGroups"] {
                    for word in rule[key].as_array().unwrap() {
                        assert!(word != "*" && word != "secrets", "{}", path.display());
                    }
                }
            }
            roles += 1;
        }
    }
    assert_eq!(roles, 5);
}

/// Names of metrics in a text.
fn metrics_in(text: &str) -> Vec<String> {
    let word = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    text.split(word).filter(|name| name.starts_with("pitr_")).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let source = std::fs::read_to_string(manifests().join("../sidecar/src/status/metrics.rs")).unwrap();
    let known = metrics_in(&source);
    let mut asked = 0;
    for file in ["prometheusrule.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(manifests().join("monitoring").join(file)).unwrap();
        for name in metrics_in(&text) {
            // Counters get their unit and their end when they are written.
            let registered = name.trim_end_matches("_total").trim_end_matches("_bytes").to_owned();
            assert!(
                known.contains(&name) || (name.ends_with("_total") && known.contains(&registered)),
                "{file}: {name}"
            );
            asked += 1;
        }
    }
    assert!(asked > 25, "{asked}");
}

#[test]
fn rules_have_what_an_alert_needs() {
    let text = std::fs::read_to_string(manifests().join("monitoring/prometheusrule.yaml")).unwrap();
    let rules = tree::parse(&text).unwrap().pop().unwrap().value;
    let alerts: Vec<_> =
        rules["spec"]["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()).collect();
    assert_eq!(alerts.len(), 17);
    for alert in alerts {
        let expr = alert["expr"].as_str().unwrap();
        let balanced = |open: char, close: char| expr.matches(open).count() == expr.matches(close).count();
        assert!(balanced('(', ')') && balanced('{', '}') && expr.matches('"').count() % 2 == 0, "{expr}");
        assert!(
            alert["annotations"]["runbook"].as_str().is_some_and(|words| words.contains("kubectl pitr")),
            "{alert}"
        );
    }
    let json = std::fs::read_to_string(manifests().join("monitoring/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(dashboard["panels"].as_array().unwrap().len(), 10);
}
