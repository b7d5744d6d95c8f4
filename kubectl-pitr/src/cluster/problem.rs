//! What the API server refuses, in our words.

use crate::failure::Failure;
use pitr_recovery::code;

/// What was being done when it failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) verb: &'a str,
    /// As in RBAC: `jobs.batch`, `pods/log`.
    pub(super) resource: &'a str,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
}

impl Call<'_> {
    /// The failure that the error means to a user.
    pub(super) fn failed(&self, error: &kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => self.refused(status.code, &status.message),
            other => Failure::new(code::NOT_REACHABLE, format!("the cluster does not answer: {}", short(other)))
                .hint(format!("while trying to {} {}", self.verb, self.what())),
        }
    }

    fn refused(&self, status: u16, message: &str) -> Failure {
        let place = format!("in namespace \"{}\"", self.namespace);
        match status {
            401 => Failure::new(code::NOT_REACHABLE, "the API server does not accept your credentials".to_owned())
                .hint(message.to_owned()),
            403 => {
                let text = format!("1 permission is missing {place}: {} {}", self.verb, self.resource);
                Failure::new(code::VERBS_MISSING, text).hint(message.to_owned()).fix("bind a Role of manifests/rbac")
            }
            404 => Failure::new(code::NOT_REACHABLE, format!("{} not found {place}", self.what())),
            _ => Failure::without_code(1, format!("{} {} {place}: {message}", self.verb, self.what())),
        }
    }

    fn what(&self) -> String {
        let kind = self.resource.split(['.', '/']).next().unwrap_or(self.resource);
        let kind = match kind {
            "statefulsets" => "statefulset",
            "persistentvolumeclaims" => "persistentvolumeclaim",
            "configmaps" => "configmap",
            "pods" => "pod",
            "jobs" => "job",
            other => other.trim_end_matches('s'),
        };
        if self.name.is_empty() { format!("{kind}s") } else { format!("{kind} \"{}\"", self.name) }
    }
}

/// Whether the error says that the object is not there.
pub(super) fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the error says that the object, or a field's other owner, is there already.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The last cause, which is the one that says something ("connection refused").
pub(super) fn short(error: &kube::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    match error {
        kube::Error::Api(status) if status.code == 403 => "forbidden".to_owned(),
        kube::Error::Api(status) => status.message.clone(),
        _ => last.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn kinds_are_named_in_one_or_many() {
        let what = |resource, name| Call { verb: "get", resource, name, namespace: "shop" }.what();
        assert_eq!(what("jobs.batch", "r"), "job \"r\"");
        assert_eq!(what("pods/log", ""), "pods");
        assert_eq!(what("selfsubjectaccessreviews.authorization.k8s.io", ""), "selfsubjectaccessreviews");
        assert_eq!(what("cronjobs.batch", ""), "cronjobs");
    }
}
