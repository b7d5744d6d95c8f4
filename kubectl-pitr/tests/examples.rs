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
    assert_eq!(roles, 4);
}
