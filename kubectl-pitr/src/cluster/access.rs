//! May I? Asked once, for everything that a command will do, before it does anything.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use super::Cluster;
use super::problem::Call;
use crate::failure::Failure;
use pitr_recovery::code;

/// A right that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
}

impl Need {
    pub const fn core(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, group: "", resource, subresource: "" }
    }

    pub const fn sub(verb: &'static str, resource: &'static str, subresource: &'static str) -> Self {
        Self { verb, group: "", resource, subresource }
    }

    pub const fn of(verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self { verb, group, resource, subresource: "" }
    }

    /// The subresource of an object that is not in the core group.
    pub const fn sub_of(
        verb: &'static str,
        (group, resource): (&'static str, &'static str),
        subresource: &'static str,
    ) -> Self {
        Self { verb, group, resource, subresource }
    }

    /// `create jobs.batch`, `get pods/log`.
    fn words(&self) -> String {
        let mut words = format!("{} {}", self.verb, self.resource);
        if !self.group.is_empty() {
            words.push_str(&format!(".{}", self.group));
        }
        if !self.subresource.is_empty() {
            words.push_str(&format!("/{}", self.subresource));
        }
        words
    }
}

/// How many questions are under way at once.
const AT_ONCE: usize = 16;

/// Fails with everything that is missing, not with the first of it. `role` names the manifest that grants it.
pub async fn require(cluster: &Cluster, needs: &[Need], role: &str) -> Result<(), Failure> {
    let missing = missing(cluster, needs).await?;
    match missing.len() {
        0 => Ok(()),
        count => Err(missing_verbs(count, &missing.join(", "), cluster.namespace(), role)),
    }
}

/// The rights that are missing, as in RBAC: `create jobs.batch`.
pub async fn missing(cluster: &Cluster, needs: &[Need]) -> Result<Vec<String>, Failure> {
    let answers: Vec<(Need, bool)> = futures::stream::iter(needs.iter().copied())
        .map(|need| async move { cluster.may(need).await.map(|allowed| (need, allowed)) })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(answers.iter().filter(|(_, allowed)| !allowed).map(|(need, _)| need.words()).collect())
}

fn missing_verbs(count: usize, list: &str, namespace: &str, role: &str) -> Failure {
    let permissions = if count == 1 { "1 permission is".to_owned() } else { format!("{count} permissions are") };
    Failure::new(code::VERBS_MISSING, format!("{permissions} missing in namespace \"{namespace}\": {list}"))
        .hint("all asked at once; nothing was created")
        .fix(format!("bind manifests/rbac/{role}.yaml"))
}

impl Cluster {
    async fn may(&self, need: Need) -> Result<bool, Failure> {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace().to_owned()),
                    verb: text(need.verb),
                    group: text(need.group),
                    resource: text(need.resource),
                    subresource: text(need.subresource),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|e| {
            let resource = "selfsubjectaccessreviews.authorization.k8s.io";
            Call { verb: "create", resource, name: "", namespace: self.namespace() }.failed(&e)
        })?;
        Ok(answer.status.is_some_and(|s| s.allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_read_as_in_rbac() {
        assert_eq!(Need::of("create", "batch", "jobs").words(), "create jobs.batch");
        assert_eq!(Need::sub("get", "pods", "log").words(), "get pods/log");
    }

    #[test]
    fn all_misses_stand_in_one_error() {
        let failure = missing_verbs(2, "create jobs.batch, get pods/log", "shop", "restorer");
        assert_eq!(
            failure.text(),
            "error[PITR0701]: 2 permissions are missing in namespace \"shop\": create jobs.batch, get pods/log\n  \
             hint: all asked at once; nothing was created\n  fix:  bind manifests/rbac/restorer.yaml\n"
        );
        assert_eq!(failure.exit(), 7);
    }
}
