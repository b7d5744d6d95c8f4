//! Who else writes this object: an operator, Git, or Helm. They would undo a change, or lose it silently.

use k8s_openapi::api::apps::v1::StatefulSet;

use crate::failure::Failure;
use pitr_recovery::code;

/// Field managers of what keeps objects as they are declared elsewhere.
const RECONCILERS: [(&str, &str); 3] =
    [("argocd-controller", "Argo CD"), ("kustomize-controller", "Flux"), ("helm-controller", "Flux")];

/// The operator that owns the object, as `Kind/name (group)`.
pub fn operator(object: &StatefulSet) -> Option<String> {
    let owners = object.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|o| o.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("core", |(group, _)| group);
    Some(format!("{}/{} ({group})", owner.kind, owner.name))
}

/// What deploys the object: `Argo CD app "shop"`, `Helm release "db"`, `Flux`.
pub fn deployer(object: &StatefulSet) -> Option<String> {
    let meta = &object.metadata;
    let annotation = |key: &str| meta.annotations.as_ref()?.get(key).cloned();
    let label = |key: &str| meta.labels.as_ref()?.get(key).cloned();
    if let Some(id) = annotation("argocd.argoproj.io/tracking-id") {
        return Some(format!("Argo CD app \"{}\"", id.split(':').next().unwrap_or(&id)));
    }
    if let Some(name) = label("kustomize.toolkit.fluxcd.io/name") {
        return Some(format!("Flux kustomization \"{name}\""));
    }
    if let Some(name) = label("helm.toolkit.fluxcd.io/name") {
        return Some(format!("Flux Helm release \"{name}\""));
    }
    if let Some(name) = annotation("meta.helm.sh/release-name") {
        return Some(format!("Helm release \"{name}\""));
    }
    manager(object, &RECONCILERS).or_else(|| manager(object, &[("Helm", "Helm")]))
}

/// The first of these that manages a field of the object.
fn manager(object: &StatefulSet, known: &[(&str, &str)]) -> Option<String> {
    let mut managers = object.metadata.managed_fields.iter().flatten().filter_map(|f| f.manager.as_deref());
    managers.find_map(|m| known.iter().find(|(name, _)| *name == m)).map(|(_, deployer)| (*deployer).to_owned())
}

/// What keeps the object as it is declared elsewhere, all the time. Helm is none: between two upgrades it does nothing.
pub fn reconciler(object: &StatefulSet) -> Option<String> {
    let reconciles = |owner: &String| !owner.starts_with("Helm");
    deployer(object).filter(reconciles).or_else(|| manager(object, &RECONCILERS))
}

/// Refuses what an operator owns, in any mode: it would revert the change.
pub fn refuse_operator(name: &str, object: &StatefulSet) -> Result<(), Failure> {
    match operator(object) {
        None => Ok(()),
        Some(owner) => Err(Failure::new(code::OPERATOR_OWNED, format!("statefulset/{name} is managed by {owner}"))
            .hint("the operator would revert this change")
            .fix("add the sidecar through the operator's own resource")),
    }
}

/// Refuses a live change of what Git or Helm deploys.
pub fn refuse_deployer(name: &str, object: &StatefulSet) -> Result<(), Failure> {
    match deployer(object) {
        None => Ok(()),
        Some(owner) => Err(Failure::new(code::GITOPS_OWNED, format!("statefulset/{name} is managed by {owner}"))
            .hint("the next sync from Git drops a live change silently")
            .fix(format!("kubectl pitr inject {name} -o kustomize, and commit it; or --allow-drift"))),
    }
}
