//! StatefulSets and their pods.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::Cluster;
use super::problem::{Call, is_absent};
use crate::failure::Failure;
use crate::inject::sidecar::CONTAINER;

/// Other namespaces that are named at most.
const NAMESPACES_SHOWN: usize = 5;

/// `NAME`, `sts/NAME`, `statefulset/NAME` or `statefulset.apps/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadName(pub String);

impl FromStr for WorkloadName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let name = match text.split_once('/') {
            None => text,
            Some(("sts" | "statefulset" | "statefulsets" | "statefulset.apps" | "statefulsets.apps", name)) => name,
            Some((kind, _)) => {
                return Err(Failure::usage(format!("\"{kind}\" is not a kind that can be archived"))
                    .hint("NAME, sts/NAME or statefulset.apps/NAME"));
            }
        };
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if name.is_empty() || name.len() > 253 || !name.bytes().all(fits) {
            return Err(Failure::usage(format!("\"{name}\" is not the name of a StatefulSet")));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which objects: those of a namespace, or of all, with these labels and fields.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    pub all: bool,
    pub labels: Option<&'a str>,
    pub fields: Option<&'a str>,
}

impl Selection<'_> {
    pub(super) fn params(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.map(str::to_owned),
            ..ListParams::default()
        }
    }
}

/// A StatefulSet and the pods that it owns, in the order of their ordinals.
#[derive(Debug, Clone)]
pub struct Workload {
    pub namespace: String,
    pub name: String,
    pub object: StatefulSet,
    pub pods: Vec<Pod>,
}

impl Workload {
    /// Whether its pod template carries the sidecar.
    pub fn is_archived(&self) -> bool {
        carries_sidecar(&self.object)
    }

    /// What follows the verb in a command about it: `mysql -n shop`.
    pub fn place(&self) -> String {
        format!("{} -n {}", self.name, self.namespace)
    }

    pub fn replicas(&self) -> i32 {
        self.object.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }
}

fn carries_sidecar(object: &StatefulSet) -> bool {
    let Some(pod) = object.spec.as_ref().and_then(|s| s.template.spec.as_ref()) else { return false };
    pod.containers.iter().chain(pod.init_containers.iter().flatten()).any(|c| c.name == CONTAINER)
}

impl Cluster {
    fn call<'a>(&'a self, verb: &'a str, resource: &'a str, name: &'a str) -> Call<'a> {
        Call { verb, resource, name, namespace: &self.namespace }
    }

    /// One StatefulSet; a name that does not exist is answered with one that looks like it.
    pub async fn stateful_set(&self, name: &str) -> Result<StatefulSet, Failure> {
        let api: Api<StatefulSet> = self.api();
        match api.get(name).await {
            Ok(object) => Ok(object),
            Err(error) if is_absent(&error) => {
                let failure = self.call("get", "statefulsets.apps", name).failed(&error);
                let names = api.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
                let near = names.iter().map(ResourceExt::name_any).find(|n| looks_like(n, name));
                let failure = near.into_iter().fold(failure, |f, n| f.hint(format!("did you mean \"{n}\"")));
                let elsewhere = self.namespaces_of(name).await.into_iter();
                let failure = elsewhere.fold(failure, |f, n| f.fix(format!("-n {n}, where there is one of that name")));
                Err(failure.fix(format!("kubectl pitr status -n {}", self.namespace)))
            }
            Err(error) => Err(self.call("get", "statefulsets.apps", name).failed(&error)),
        }
    }

    /// Other namespaces with a StatefulSet of this name, as far as they may be looked at.
    async fn namespaces_of(&self, name: &str) -> Vec<String> {
        let api: Api<StatefulSet> = Api::all(self.client.clone());
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = api.list(&params).await.map(|list| list.items).unwrap_or_default();
        let of_name = found.iter().filter(|set| set.name_any() == name);
        of_name.filter_map(ResourceExt::namespace).take(NAMESPACES_SHOWN).collect()
    }

    /// Whether a StatefulSet has this name.
    pub async fn has_stateful_set(&self, name: &str) -> Result<bool, Failure> {
        let api: Api<StatefulSet> = self.api();
        let found = api.get_opt(name).await;
        found.map(|object| object.is_some()).map_err(|e| self.call("get", "statefulsets.apps", name).failed(&e))
    }

    /// One workload with its pods.
    pub async fn workload(&self, name: &WorkloadName) -> Result<Workload, Failure> {
        let object = self.stateful_set(&name.0).await?;
        let pods = self.pods(None).await?;
        Ok(with_pods(object, &pods))
    }

    /// Every workload that carries the sidecar and is selected.
    pub async fn archived_workloads(&self, selection: Selection<'_>) -> Result<Vec<Workload>, Failure> {
        let all = selection.all;
        let api: Api<StatefulSet> = if all { Api::all(self.client.clone()) } else { self.api() };
        let sets = api.list(&selection.params()).await;
        let sets = sets.map_err(|e| self.call("list", "statefulsets.apps", "").failed(&e))?;
        let archived: Vec<_> = sets.items.into_iter().filter(carries_sidecar).collect();
        if archived.is_empty() {
            return Ok(Vec::new());
        }
        let pods = self.pods(all.then_some(())).await?;
        Ok(archived.into_iter().map(|object| with_pods(object, &pods)).collect())
    }

    /// Names of StatefulSets, for completion: those that carry the sidecar, or all.
    pub async fn stateful_set_names(&self, all: bool) -> Result<Vec<String>, Failure> {
        let api: Api<StatefulSet> = self.api();
        let sets = api.list(&ListParams::default()).await;
        let sets = sets.map_err(|e| self.call("list", "statefulsets.apps", "").failed(&e))?;
        Ok(sets.items.iter().filter(|s| all || carries_sidecar(s)).map(ResourceExt::name_any).collect())
    }

    /// All pods of the namespace, or of all.
    pub async fn pods(&self, all: Option<()>) -> Result<Vec<Pod>, Failure> {
        let api: Api<Pod> = if all.is_some() { Api::all(self.client.clone()) } else { self.api() };
        let list = api.list(&ListParams::default()).await;
        list.map(|l| l.items).map_err(|e| self.call("list", "pods", "").failed(&e))
    }

    /// A ConfigMap, if it is there and may be read: a missing right here is no reason to stop.
    pub async fn config_map(&self, name: &str) -> Result<Option<ConfigMap>, Failure> {
        let api: Api<ConfigMap> = self.api();
        api.get_opt(name).await.map_err(|e| self.call("get", "configmaps", name).failed(&e))
    }

    /// The ConfigMaps with these labels.
    pub async fn config_maps(&self, selector: &str, all: bool) -> Result<Vec<ConfigMap>, Failure> {
        let api: Api<ConfigMap> = if all { Api::all(self.client.clone()) } else { self.api() };
        let list = api.list(&ListParams::default().labels(selector)).await;
        list.map(|l| l.items).map_err(|e| self.call("list", "configmaps", "").failed(&e))
    }

    /// A PersistentVolumeClaim.
    pub async fn claim(&self, name: &str) -> Result<Option<PersistentVolumeClaim>, Failure> {
        let api: Api<PersistentVolumeClaim> = self.api();
        api.get_opt(name).await.map_err(|e| self.call("get", "persistentvolumeclaims", name).failed(&e))
    }

    /// Minor version of the API server: sidecars that start first need 29.
    pub async fn minor_version(&self) -> Result<u32, Failure> {
        let version = self.client.apiserver_version().await;
        let version = version.map_err(|e| self.call("get", "version", "").failed(&e))?;
        let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse().unwrap_or(0))
    }
}

fn with_pods(object: StatefulSet, pods: &[Pod]) -> Workload {
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let owned = |pod: &&Pod| {
        pod.metadata.namespace.as_deref() == Some(&namespace)
            && pod.owner_references().iter().any(|o| o.kind == "StatefulSet" && o.name == name)
    };
    let mut pods: Vec<Pod> = pods.iter().filter(owned).cloned().collect();
    pods.sort_by_key(|p| ordinal(&p.name_any()));
    Workload { namespace, name, object, pods }
}

/// The number at the end of a pod's name.
fn ordinal(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)
}

/// Whether one name is the other with a letter more, less or other, or a part of it.
fn looks_like(name: &str, wanted: &str) -> bool {
    if name.len() >= 3 && wanted.len() >= 3 && (name.starts_with(wanted) || wanted.starts_with(name)) {
        return true;
    }
    let (a, b) = (name.as_bytes(), wanted.as_bytes());
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let rest = |n: &[u8], skip: usize| n.get(same + skip..).map(<[u8]>::to_vec).unwrap_or_default();
    rest(a, 1) == rest(b, 1) || rest(a, 1) == rest(b, 0) || rest(a, 0) == rest(b, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_as_kubectl_does() {
        for text in ["mysql", "sts/mysql", "statefulset/mysql", "statefulset.apps/mysql"] {
            assert_eq!(text.parse::<WorkloadName>().unwrap().0, "mysql");
        }
        assert!("deploy/mysql".parse::<WorkloadName>().is_err());
        assert!("".parse::<WorkloadName>().is_err());
        assert!("My_SQL".parse::<WorkloadName>().is_err());
    }

    #[test]
    fn near_names_are_found() {
        assert!(looks_like("mysql", "mysq"));
        assert!(looks_like("mysql", "mysgl"));
        assert!(looks_like("mysql", "mysqll"));
        assert!(!looks_like("mysql", "redis"));
    }

    #[test]
    fn pods_stand_in_the_order_of_their_ordinals() {
        assert!(ordinal("mysql-9") < ordinal("mysql-10"));
    }
}
