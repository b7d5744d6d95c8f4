//! Other forms of an injection than the whole manifest: a patch, a Kustomize component.

use anyhow::Result;
use serde_json::{Value, json};

use super::sidecar::Injection;
use super::tree;

/// A strategic-merge patch and the ConfigMap, as two documents.
pub fn patch(injection: &Injection, namespace: Option<&str>) -> Result<String> {
    let patch = tree::emit(&named_patch(injection, namespace))?;
    Ok(format!("{patch}---\n{}", tree::emit(&injection.config_map)?))
}

/// Our entries of the StatefulSet, as they are applied and printed.
pub fn named_patch(injection: &Injection, namespace: Option<&str>) -> Value {
    let mut head = json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": injection.workload},
    });
    if let Some(namespace) = namespace {
        head["metadata"]["namespace"] = json!(namespace);
    }
    injection.patch(&head)
}

/// A Kustomize component: everything in one file, to be named under `components:`.
pub fn kustomize(injection: &Injection) -> Result<String> {
    let map = &injection.config_map;
    let config = map["data"]["config.yaml"].as_str().unwrap_or_default();
    let mut options = json!({"disableNameSuffixHash": true, "labels": map["metadata"]["labels"]});
    // It names the account for base backups.
    if let Some(annotations) = map["metadata"].get("annotations") {
        options["annotations"] = annotations.clone();
    }
    tree::emit(&json!({
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "configMapGenerator": [{
            "name": map["metadata"]["name"],
            "literals": [format!("config.yaml={config}")],
            "options": options,
        }],
        "patches": [{
            "target": {"group": "apps", "version": "v1", "kind": "StatefulSet", "name": injection.workload},
            "patch": tree::emit(&named_patch(injection, None))?,
        }],
    }))
}
