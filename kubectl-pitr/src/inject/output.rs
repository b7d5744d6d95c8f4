//! Other forms of an injection than the whole manifest: a patch, a Kustomize component, values of a Helm chart.

use anyhow::Result;
use serde_json::{Value, json};

use super::sidecar::Injection;
use super::tree;
use crate::failure::Failure;

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

/// Values for a chart that lets its users add containers and volumes. Any other chart takes the injection as a post-renderer.
pub fn helm_values(injection: &Injection, chart: &str) -> Result<String> {
    if chart != "bitnami-mysql" {
        return Err(Failure::usage(format!("the values of a chart \"{chart}\" are not known"))
            .hint("any chart takes it as a post-renderer: a script that runs kubectl pitr inject -f - with these flags")
            .fix("-o helm-values=bitnami-mysql, or helm upgrade --post-renderer SCRIPT")
            .into());
    }
    let containers = if injection.native { "initContainers" } else { "sidecars" };
    let mut map = injection.config_map.clone();
    map["apiVersion"] = "v1".into();
    map["kind"] = "ConfigMap".into();
    tree::emit(&json!({
        "primary": {
            containers: [injection.container],
            "extraVolumes": injection.volumes,
            "podLabels": {super::sidecar::LABEL_WORKLOAD: injection.workload},
            "podAnnotations": {super::sidecar::ANNOTATION_CONFIG: injection.config_hash},
        },
        "extraDeploy": [map],
    }))
}
