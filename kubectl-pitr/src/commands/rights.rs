//! The Roles that we ship are what the commands ask for: no verb less, and none that nobody asks for.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{
    attach, backup, config, ending, in_place, inject, inspecting, pins, restore, restores, scheduling, serving,
    uninject, upkeep,
};
use crate::cluster::Need;
use crate::inject::tree;

/// `get pods/log`, as in a Role's rules.
fn granted(role: &str) -> BTreeSet<String> {
    let file =
        PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(format!("../manifests/rbac/{role}.yaml"));
    let document = tree::parse(&std::fs::read_to_string(file).unwrap()).unwrap().pop().unwrap().value;
    let words = |rule: &serde_json::Value, key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in document["rules"].as_array().unwrap() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                let (name, sub) = resource.split_once('/').map_or((resource.as_str(), ""), |(name, sub)| (name, sub));
                for verb in words(rule, "verbs") {
                    all.insert(text(&verb, &group, (name, sub)));
                }
            }
        }
    }
    all
}

fn text(verb: &str, group: &str, (resource, sub): (&str, &str)) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let slash = if sub.is_empty() { "" } else { "/" };
    format!("{verb} {resource}{dot}{group}{slash}{sub}")
}

fn asked(needs: &[&[Need]]) -> BTreeSet<String> {
    let words = |need: &Need| text(need.verb, need.group, (need.resource, need.subresource));
    needs.iter().flat_map(|needs| needs.iter()).map(words).collect()
}

#[test]
fn whoever_restores_in_place_needs_the_restorer_and_what_is_added_to_it() {
    let (own, restorer, viewer) = (granted("restorer-in-place"), granted("restorer"), granted("viewer"));
    let asked = asked(&[&in_place::NEEDS]);
    let all: BTreeSet<_> = own.iter().chain(&restorer).chain(&viewer).cloned().collect();
    let missing: Vec<_> = asked.difference(&all).collect();
    assert!(missing.is_empty(), "restorer-in-place.yaml lacks {missing:?}");
    // The first gate: without it nobody knows what scales the workload.
    let optional = "list horizontalpodautoscalers.autoscaling";
    let idle: Vec<_> = own.iter().filter(|words| !asked.contains(*words) && *words != optional).collect();
    assert!(idle.is_empty(), "nobody asks for {idle:?} of restorer-in-place.yaml");
    let twice: Vec<_> =
        own.intersection(&all).filter(|words| restorer.contains(*words) || viewer.contains(*words)).collect();
    assert!(twice.is_empty(), "restorer-in-place.yaml repeats {twice:?}");
}

/// `optional`: what is used when it may be, and asked of nobody.
fn assert_fits(role: &str, needs: &[&[Need]], optional: &[&str]) {
    let (own, viewer, asked) = (granted(role), granted("viewer"), asked(needs));
    let both: BTreeSet<_> = own.union(&viewer).cloned().collect();
    let missing: Vec<_> = asked.difference(&both).collect();
    assert!(missing.is_empty(), "{role}.yaml lacks {missing:?}");
    let optional: BTreeSet<String> = optional.iter().map(|words| (*words).to_owned()).collect();
    let idle: Vec<_> = own.iter().filter(|words| !asked.contains(*words) && !optional.contains(*words)).collect();
    assert!(idle.is_empty(), "nobody asks for {idle:?} of {role}.yaml");
    let twice: Vec<_> = own.intersection(&viewer).collect();
    assert!(twice.is_empty(), "{role}.yaml repeats {twice:?} of viewer.yaml");
}

#[test]
fn whoever_restores_needs_our_restorer_and_no_more() {
    let restores: [&[Need]; 4] =
        [&restores::RESUME_NEEDS, &ending::ABORT_NEEDS, &serving::SERVE_NEEDS, &serving::FINISH_NEEDS];
    let restore: [&[Need]; 4] = [&restore::NEEDS, &restore::ASKING, &restore::FORWARDING, &inspecting::NEEDS];
    // A list of restores shows the volumes, too.
    assert_fits("restorer", &[&restores[..], &restore].concat(), &["list persistentvolumeclaims"]);
}

#[test]
fn whoever_takes_backups_needs_our_backup_role_and_no_more() {
    let needs: [&[Need]; 4] = [&backup::NEEDS, &scheduling::NEEDS, &upkeep::NEEDS, &pins::NEEDS];
    // The data's volume says how much room the copy needs.
    assert_fits("backup", &needs, &["get persistentvolumeclaims"]);
}

#[test]
fn whoever_injects_needs_our_injector_and_no_more() {
    let attached: [&[Need]; 2] = [&attach::ATTACH_NEEDS, &attach::DETACH_NEEDS];
    let sidecars: [&[Need]; 5] = [
        &inject::LIVE_NEEDS,
        &uninject::LIVE_NEEDS,
        &uninject::WEDGED_NEEDS,
        &config::SET_NEEDS,
        &config::RESTART_NEEDS,
    ];
    let needs = [&attached[..], &sidecars].concat();
    // "uninject --live" takes the ConfigMap away; a running pod is asked who owns the data where nothing else says it.
    assert_fits("injector", &needs, &["delete configmaps", "get pods/exec", "create pods/exec"]);
}
