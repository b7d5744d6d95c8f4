//! From a stream of manifests to the injections it gets.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use pitr_recovery::code;
use serde_json::Value;

use super::manifest::{self, Place};
use super::ours;
use super::ownership;
use super::schema::{name_of, typed};
use super::settings::Settings;
use super::sidecar::{Injection, injection};
use super::survey::{self, Hints, Owner, Survey};
use super::tree;
use crate::failure::Failure;

/// A workload of the stream, and what was found out about it.
#[derive(Debug)]
pub struct Found {
    pub place: Place,
    pub name: String,
    pub namespace: Option<String>,
    pub object: StatefulSet,
    pub survey: Survey,
}

/// Every server in a stream of manifests, surveyed. ConfigMaps of the same stream are the option files.
pub fn find(text: &str, hints: &Hints, known_files: &BTreeMap<String, String>) -> Result<Vec<Found>> {
    let documents = tree::parse(text)?;
    let mut files = known_files.clone();
    files.extend(documents.iter().filter_map(|d| option_file(&d.value)));
    let mut found = Vec::new();
    for (place, value) in manifest::stateful_sets(&documents) {
        let object: StatefulSet = typed(value)?;
        if !survey::looks_like_server(&object) && hints.container.is_none() {
            continue;
        }
        let name = name_of(value).to_owned();
        ownership::refuse_operator(&name, &object)?;
        ours::refuse_foreign(value)?;
        let survey = survey::survey(&object, hints, &|map| files.get(map).cloned())?;
        found.push(Found { place, name, namespace: object.metadata.namespace.clone(), object, survey });
    }
    match found.len() {
        0 => Err(Failure::new(code::BINLOG_VOLUME_NOT_FOUND, "no StatefulSet in the input runs MySQL or MariaDB")
            .hint("looked at images and at the usual data directories")
            .fix("--container NAME")
            .into()),
        1 => Ok(found),
        count => Err(Failure::new(code::FOREIGN_ARCHIVE, format!("{count} servers in the input and one --archive"))
            .hint("two histories never share a prefix")
            .fix("inject them one by one, each with its own --archive")
            .into()),
    }
}

/// Name and text of a ConfigMap, all its keys together.
fn option_file(value: &Value) -> Option<(String, String)> {
    if value["kind"] != "ConfigMap" {
        return None;
    }
    let texts: Vec<_> = value["data"].as_object()?.values().filter_map(Value::as_str).collect();
    Some((name_of(value).to_owned(), texts.join("\n")))
}

impl Found {
    /// The objects for this workload.
    pub fn injection(&self, namespace: Option<&str>, owner: Owner, settings: &Settings) -> Result<Injection> {
        injection(&self.name, self.namespace.as_deref().or(namespace), &self.survey, owner, settings)
    }

    /// The owner of the binlogs, or the error that asks for it.
    pub fn owner(&self) -> Result<Owner, Failure> {
        self.survey.owner.ok_or_else(|| {
            Failure::new(code::OWNER_UNKNOWN, "the user that owns the binlogs is not known")
                .hint("no runAsUser in container or pod; directory not examined")
                .fix("--run-as-user 999:999")
        })
    }
}
