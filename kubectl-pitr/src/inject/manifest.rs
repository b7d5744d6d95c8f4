//! The sidecar into the text of manifests, and out of it.
//!
//! Each change is made twice: on the value, which says what the result means, and on the text, which keeps every other byte. If the
//! edited text does not mean the wanted value, the document is first written in our own layout, where line edits always work; so a
//! second run finds what a first one left, and `inject | inject` changes nothing.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::attach::COMPONENT;
use super::edit::{self, Edit};
use super::ours::{ENTRIES, LISTS, holds_ours, is_ours, our_container};
use super::sidecar::{ANNOTATION_CONFIG, Injection, LABEL_MANAGED, LABEL_WORKLOAD, MANAGER};
use super::tree::{self, Document, Kind, Node};
use crate::objects::LABEL_COMPONENT;

/// A workload in a stream: which document, and which item if that document is a List.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub document: usize,
    pub item: Option<usize>,
}

/// Fields that only an API server writes; a manifest that carries them cannot be applied.
const SERVER_FIELDS: [&str; 6] =
    ["resourceVersion", "uid", "managedFields", "creationTimestamp", "generation", "selfLink"];

/// Every StatefulSet of the stream but archivers of our own.
pub fn stateful_sets(documents: &[Document]) -> Vec<(Place, &Value)> {
    let is = |v: &Value| {
        v["kind"] == "StatefulSet"
            && v["apiVersion"].as_str().is_some_and(|a| a.starts_with("apps/"))
            && v["metadata"]["labels"][LABEL_COMPONENT] != COMPONENT
    };
    let mut found = Vec::new();
    for (document, Document { value, .. }) in documents.iter().enumerate() {
        if is(value) {
            found.push((Place { document, item: None }, value));
        }
        let items = value["items"].as_array().filter(|_| value["kind"].as_str().is_some_and(|k| k.ends_with("List")));
        for (item, value) in items.into_iter().flatten().enumerate().filter(|(_, v)| is(v)) {
            found.push((Place { document, item: Some(item) }, value));
        }
    }
    found
}

/// Image of the sidecar that an earlier run put in.
pub fn sidecar_image(text: &str) -> Result<Option<String>> {
    let documents = tree::parse(text)?;
    let found = stateful_sets(&documents)
        .into_iter()
        .find_map(|(_, object)| our_container(object)?["image"].as_str().map(str::to_owned));
    Ok(found)
}

/// Takes out of every StatefulSet what an earlier run put in, and our ConfigMaps unless they are to stay.
pub fn strip(text: &str, keep_config: bool) -> Result<String> {
    let mut text = text.to_owned();
    loop {
        let documents = tree::parse(&text)?;
        let ours = documents.iter().find(|d| !keep_config && is_our_config(&d.value));
        if let Some(ours) = ours {
            text.replace_range(ours.range.clone(), "");
            continue;
        }
        let Some(place) = stateful_sets(&documents).into_iter().find(|(_, v)| holds_ours(v)).map(|(p, _)| p) else {
            return Ok(text);
        };
        text = change(&text, place, &strip_value, &next_removal)?;
    }
}

/// Takes fields out that an API server wrote, so that the manifest can be applied.
pub fn strip_server_fields(text: &str) -> Result<String> {
    let mut text = text.to_owned();
    loop {
        let documents = tree::parse(&text)?;
        let with =
            |v: &Value| v.get("status").is_some() || SERVER_FIELDS.iter().any(|f| v["metadata"].get(f).is_some());
        let Some(place) = stateful_sets(&documents).into_iter().find(|(_, v)| with(v)).map(|(p, _)| p) else {
            return Ok(text);
        };
        text = change(&text, place, &strip_server_value, &next_server_removal)?;
    }
}

/// Puts the sidecar into the StatefulSet at `place`, and the ConfigMap behind the last document.
pub fn add(text: &str, place: Place, injection: &Injection) -> Result<String> {
    let structural = |value: &mut Value| add_value(value, injection);
    let textual = |text: &str, node: &Node, value: &Value| next_addition(text, node, value, injection);
    let mut text = change(text, place, &structural, &textual)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str("---\n");
    text.push_str(&tree::emit(&injection.config_map)?);
    Ok(text)
}

type OnValue<'a> = dyn Fn(&mut Value) + 'a;
/// The next edit that brings the text nearer to the goal; `Err(())` where lines cannot do it, `Ok(None)` when it is reached.
type OnText<'a> = dyn Fn(&str, &Node, &Value) -> Result<Option<Edit>, ()> + 'a;

/// Applies a change to the object at `place`: on the text where that works, else after writing its document anew.
fn change(text: &str, place: Place, structural: &OnValue<'_>, textual: &OnText<'_>) -> Result<String> {
    let documents = tree::parse(text)?;
    let document = documents.get(place.document).context("the document went missing")?;
    let mut wanted = document.value.clone();
    structural(object_in(&mut wanted, place).context("the object went missing")?);
    if let Some(edited) = edit_until(text, place, &wanted, textual) {
        return Ok(edited);
    }
    let mut own = tree::emit(&document.value)?;
    let range = document.root.start..document.root.end;
    if text[range.end..].starts_with('\n') {
        own.truncate(own.trim_end_matches('\n').len());
    }
    // A document that begins behind its "---" cannot hold block lines there.
    if !text[..range.start].is_empty() && !text[..range.start].ends_with('\n') {
        own.insert(0, '\n');
    }
    let mut normal = text.to_owned();
    normal.replace_range(range, &own);
    match edit_until(&normal, place, &wanted, textual) {
        Some(edited) => Ok(edited),
        None => bail!("cannot change this manifest: its text does not say what its value says"),
    }
}

fn edit_until(text: &str, place: Place, wanted: &Value, textual: &OnText<'_>) -> Option<String> {
    /// More edits than an injection has parts: a loop that does not end is a bug, not a hang.
    const EDITS_MAX: usize = 64;
    let mut text = text.to_owned();
    for _ in 0..EDITS_MAX {
        let documents = tree::parse(&text).ok()?;
        let document = documents.get(place.document)?;
        let (node, value) = match place.item {
            None => (&document.root, &document.value),
            Some(item) => (document.root.get("items")?.items().get(item)?, &document.value["items"][item]),
        };
        match textual(&text, node, value).ok()? {
            Some(next) => text = edit::apply(&text, vec![next]),
            None => return (document.value == *wanted).then_some(text),
        }
    }
    None
}

fn object_in(document: &mut Value, place: Place) -> Option<&mut Value> {
    match place.item {
        None => Some(document),
        Some(item) => document.get_mut("items")?.get_mut(item),
    }
}

fn is_our_config(value: &Value) -> bool {
    value["kind"] == "ConfigMap"
        && value["metadata"]["labels"][LABEL_MANAGED] == MANAGER
        && value["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("pitr-"))
}

fn strip_value(object: &mut Value) {
    for list in LISTS {
        let whole = object.clone();
        let template = &mut object["spec"]["template"];
        let Some(items) = template["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        let before = items.len();
        items.retain(|item| !is_ours(&whole, list, item));
        if items.is_empty() && before > 0 {
            remove_key(&mut template["spec"], list);
        }
    }
    let metadata = &mut object["spec"]["template"]["metadata"];
    for (parent, key) in ENTRIES {
        let Some(entries) = metadata.get_mut(parent).and_then(Value::as_object_mut) else { continue };
        if entries.remove(key).is_some() && entries.is_empty() {
            remove_key(metadata, parent);
        }
    }
}

fn remove_key(object: &mut Value, key: &str) {
    if let Some(entries) = object.as_object_mut() {
        entries.remove(key);
    }
}

fn next_removal(text: &str, object: &Node, value: &Value) -> Result<Option<Edit>, ()> {
    let Some(template) = object.get("spec").and_then(|s| s.get("template")) else { return Ok(None) };
    let of_value = &value["spec"]["template"];
    let spec = template.get("spec");
    for list in LISTS {
        let items = of_value["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
        let Some(index) = items.iter().position(|item| is_ours(value, list, item)) else { continue };
        let spec = spec.ok_or(())?;
        let edit = match items.len() {
            1 => edit::remove_entry(text, spec, list),
            _ => edit::remove_item(text, spec.get(list).ok_or(())?, index),
        };
        return edit.map(Some).ok_or(());
    }
    for (parent, key) in ENTRIES {
        if of_value["metadata"][parent].get(key).is_none() {
            continue;
        }
        let metadata = template.get("metadata").ok_or(())?;
        let entries = metadata.get(parent).ok_or(())?;
        let edit = match entries.children() {
            1 => edit::remove_entry(text, metadata, parent),
            _ => edit::remove_entry(text, entries, key),
        };
        return edit.map(Some).ok_or(());
    }
    Ok(None)
}

fn strip_server_value(object: &mut Value) {
    remove_key(object, "status");
    for field in SERVER_FIELDS {
        remove_key(&mut object["metadata"], field);
    }
}

fn next_server_removal(text: &str, object: &Node, value: &Value) -> Result<Option<Edit>, ()> {
    if value.get("status").is_some() {
        return edit::remove_entry(text, object, "status").map(Some).ok_or(());
    }
    let Some(field) = SERVER_FIELDS.iter().find(|f| value["metadata"].get(f).is_some()) else { return Ok(None) };
    let metadata = object.get("metadata").ok_or(())?;
    edit::remove_entry(text, metadata, field).map(Some).ok_or(())
}

fn add_value(object: &mut Value, injection: &Injection) {
    let template = &mut object["spec"]["template"];
    template["metadata"]["labels"][LABEL_WORKLOAD] = injection.workload.clone().into();
    template["metadata"]["annotations"][ANNOTATION_CONFIG] = injection.config_hash.clone().into();
    push(&mut template["spec"], injection.list(), &injection.container);
    for volume in &injection.volumes {
        push(&mut template["spec"], "volumes", volume);
    }
}

/// Nothing, `{}`, `[]`: what is there in name only. It is taken out before something is added, so that it does not matter whether a
/// manifest had it: a second run finds the same as the first.
fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn push(spec: &mut Value, list: &str, item: &Value) {
    match spec.get_mut(list).and_then(Value::as_array_mut) {
        Some(items) => items.push(item.clone()),
        None => spec[list] = Value::Array(vec![item.clone()]),
    }
}

fn next_addition(text: &str, object: &Node, value: &Value, injection: &Injection) -> Result<Option<Edit>, ()> {
    let template = object.get("spec").and_then(|s| s.get("template")).ok_or(())?;
    let spec = template.get("spec").ok_or(())?;
    if !matches!(spec.kind, Kind::Mapping(_)) {
        return Err(());
    }
    let of_value = &value["spec"]["template"];
    let has = |list: &str, item: &Value| of_value["spec"][list].as_array().is_some_and(|l| l.contains(item));
    let wanted = std::iter::once((injection.list(), &injection.container))
        .chain(injection.volumes.iter().map(|v| ("volumes", v)));
    for (list, item) in wanted {
        if of_value["spec"].get(list).is_some_and(is_empty) {
            return edit::remove_entry(text, spec, list).map(Some).ok_or(());
        }
        if !has(list, item) {
            let item = tree::emit(item).map_err(|_| ())?;
            return edit::append_item(text, spec, list, &item).map(Some).ok_or(());
        }
    }
    let entries =
        [("labels", LABEL_WORKLOAD, &injection.workload), ("annotations", ANNOTATION_CONFIG, &injection.config_hash)];
    for (parent, key, wanted) in entries {
        if of_value["metadata"][parent].get(key).is_none() {
            let metadata = template.get("metadata").ok_or(())?;
            if of_value["metadata"].get(parent).is_some_and(is_empty) {
                return edit::remove_entry(text, metadata, parent).map(Some).ok_or(());
            }
            let text_of = tree::emit(&Value::from(wanted.as_str())).map_err(|_| ())?;
            return edit::append_entry(text, metadata, parent, (key, text_of.trim_end())).map(Some).ok_or(());
        }
    }
    Ok(None)
}
