//! From flags and kubeconfig files to a client.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::time::Duration;

use kube::config::{
    AuthInfo, Cluster as ClusterEntry, Context, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use kube::{Client, Config};

use super::Cluster;
use crate::args::ClientArgs;
use crate::failure::{self, Failure};
use pitr_recovery::code;

/// kube has no limit of its own: a silent API server would hold a command for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Name of what flags alone describe, without any kubeconfig.
const FROM_FLAGS: &str = "command-line";

/// Connects as the flags and the kubeconfig say, else as a pod does inside a cluster.
pub async fn connect(args: &ClientArgs) -> Result<Cluster, Failure> {
    let mut config = match kubeconfig(args)? {
        Some(kubeconfig) => {
            let options = KubeConfigOptions {
                context: kubeconfig.current_context.clone(),
                cluster: args.cluster.clone(),
                user: args.user.clone(),
            };
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| unusable(&e.to_string()))?
        }
        None => Config::incluster().map_err(|e| {
            unusable(&format!("no kubeconfig was found, and this is not a pod of a cluster ({e})"))
                .fix("--kubeconfig FILE, or set KUBECONFIG")
        })?,
    };
    if let Some(token) = &args.token {
        config.auth_info.token = Some(token.expose().to_owned().into());
    }
    impersonate(&mut config.auth_info, args);
    config.disable_compression |= args.disable_compression;
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = |config: Config| Client::try_from(config).map_err(|e| unusable(&e.to_string()));
    let patient = client(config.clone())?;
    config.read_timeout = args.request_timeout.map_or(Some(READ_TIMEOUT), |t| t.0);
    config.reset_reader_on_write = true;
    Ok(Cluster { client: client(config)?, patient, namespace })
}

/// The namespace of the kubeconfig's current context; none where there is no kubeconfig.
pub fn namespace_of_context(args: &ClientArgs) -> Result<Option<String>, Failure> {
    Ok(kubeconfig(args)?.as_ref().and_then(namespace_of))
}

fn namespace_of(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| &context.name == current)?.context.as_ref()?;
    Some(context.namespace.clone().unwrap_or_else(|| "default".to_owned()))
}

fn unusable(reason: &str) -> Failure {
    Failure::new(code::NOT_REACHABLE, format!("no way to the cluster: {reason}"))
}

/// The merged kubeconfig with the flags laid over the entries of its context; nothing when there is none.
fn kubeconfig(args: &ClientArgs) -> Result<Option<Kubeconfig>, Failure> {
    let read = match &args.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map(Some),
        None => match std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            Some(list) => merged(&list),
            None => present(Kubeconfig::read()),
        },
    };
    let mut kubeconfig = match read.map_err(|e| unusable(&failure::chain(&anyhow::Error::new(e))))? {
        Some(kubeconfig) => kubeconfig,
        None if args.server.is_some() => Kubeconfig::default(),
        None => return refuse_lost(args).map(|()| None),
    };
    if let Some(context) = &args.context {
        kubeconfig.current_context = Some(context.clone());
    }
    refuse_unknown(&kubeconfig, args)?;
    lay_over(&mut kubeconfig, args);
    Ok(Some(kubeconfig))
}

/// Without any kubeconfig a pod's own identity is used: never where somebody named what stands in a kubeconfig.
fn refuse_lost(args: &ClientArgs) -> Result<(), Failure> {
    let named = [("--context", &args.context), ("--cluster", &args.cluster), ("--user", &args.user)];
    match named.into_iter().find(|(_, value)| value.is_some()) {
        Some((flag, _)) => Err(unusable(&format!("{flag} is given, and there is no kubeconfig"))),
        None => Ok(()),
    }
}

/// The files of a list as `KUBECONFIG` has it; those that are not there are passed over, as kubectl does.
fn merged(list: &OsStr) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in std::env::split_paths(list).filter(|path| path.exists()) {
        let next = Kubeconfig::read_from(&path)?;
        merged = Some(match merged {
            None => next,
            Some(before) => before.merge(next)?,
        });
    }
    Ok(merged)
}

/// Names that flags give must be there: without its user, a request would go out as nobody.
fn refuse_unknown(kubeconfig: &Kubeconfig, args: &ClientArgs) -> Result<(), Failure> {
    let contexts = kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
    let clusters = kubeconfig.clusters.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
    let users = kubeconfig.auth_infos.iter().map(|u| u.name.as_str()).collect::<Vec<_>>();
    for (kind, asked, known) in
        [("context", &args.context, contexts), ("cluster", &args.cluster, clusters), ("user", &args.user, users)]
    {
        if let Some(asked) = asked.as_ref().filter(|asked| !known.contains(&asked.as_str())) {
            return Err(unusable(&format!("the kubeconfig has no {kind} \"{asked}\""))
                .hint(format!("it has: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })));
        }
    }
    Ok(())
}

/// Only a file that is not there is none: one that cannot be read is an error.
fn present(read: Result<Kubeconfig, KubeconfigError>) -> Result<Option<Kubeconfig>, KubeconfigError> {
    match read {
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(KubeconfigError::FindPath) => Ok(None),
        Err(KubeconfigError::ReadConfig(reason, _)) if reason.kind() == ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other),
    }
}

fn lay_over(kubeconfig: &mut Kubeconfig, args: &ClientArgs) {
    if kubeconfig.current_context.is_none() && args.server.is_some() {
        kubeconfig.current_context = Some(FROM_FLAGS.to_owned());
        kubeconfig.contexts.push(NamedContext {
            name: FROM_FLAGS.to_owned(),
            context: Some(Context {
                cluster: FROM_FLAGS.to_owned(),
                user: Some(FROM_FLAGS.to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        });
        kubeconfig.clusters.push(NamedCluster {
            name: FROM_FLAGS.to_owned(),
            cluster: Some(ClusterEntry::default()),
            ..NamedCluster::default()
        });
        kubeconfig.auth_infos.push(NamedAuthInfo {
            name: FROM_FLAGS.to_owned(),
            auth_info: Some(AuthInfo::default()),
            ..NamedAuthInfo::default()
        });
    }
    let current = kubeconfig.current_context.clone();
    let context =
        kubeconfig.contexts.iter().find(|c| Some(&c.name) == current.as_ref()).and_then(|c| c.context.clone());
    let cluster = args.cluster.clone().or_else(|| context.as_ref().map(|c| c.cluster.clone()));
    let user = args.user.clone().or_else(|| context.and_then(|c| c.user));
    let entry = kubeconfig.clusters.iter_mut().find(|c| Some(&c.name) == cluster.as_ref());
    if let Some(entry) = entry.and_then(|c| c.cluster.as_mut()) {
        over_cluster(entry, args);
    }
    let entry = kubeconfig.auth_infos.iter_mut().find(|u| Some(&u.name) == user.as_ref());
    if let Some(entry) = entry.and_then(|u| u.auth_info.as_mut()) {
        over_user(entry, args);
    }
}

fn over_cluster(entry: &mut ClusterEntry, args: &ClientArgs) {
    if let Some(server) = &args.server {
        entry.server = Some(server.clone());
    }
    if let Some(file) = &args.certificate_authority {
        entry.certificate_authority = Some(file.display().to_string());
        entry.certificate_authority_data = None;
    }
    if args.insecure_skip_tls_verify {
        entry.insecure_skip_tls_verify = Some(true);
        entry.certificate_authority = None;
        entry.certificate_authority_data = None;
    }
    if let Some(name) = &args.tls_server_name {
        entry.tls_server_name = Some(name.clone());
    }
}

fn over_user(entry: &mut AuthInfo, args: &ClientArgs) {
    if let Some(file) = &args.client_certificate {
        entry.client_certificate = Some(file.display().to_string());
        entry.client_certificate_data = None;
    }
    if let Some(file) = &args.client_key {
        entry.client_key = Some(file.display().to_string());
        entry.client_key_data = None;
    }
    if args.token.is_some() {
        // A token on the command line goes before every other identity of that user, as with kubectl.
        *entry = AuthInfo { impersonate: entry.impersonate.take(), ..AuthInfo::default() };
    }
}

fn impersonate(user: &mut AuthInfo, args: &ClientArgs) {
    if let Some(name) = &args.impersonate {
        user.impersonate = Some(name.clone());
    }
    if let Some(uid) = &args.impersonate_uid {
        user.impersonate_uid = Some(uid.clone());
    }
    if !args.impersonate_groups.is_empty() {
        user.impersonate_groups = Some(args.impersonate_groups.clone());
    }
    for (key, value) in &args.impersonate_extra {
        let extra = user.impersonate_user_extra.get_or_insert_default();
        extra.entry(key.clone()).or_default().push(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
        contexts: [{name: a, context: {cluster: c, user: u, namespace: shop}}, {name: b, context: {cluster: d, user: u}}]\n\
        clusters: [{name: c, cluster: {server: 'https://c:6443'}}, {name: d, cluster: {server: 'https://d:6443'}}]\n\
        users: [{name: u, user: {token: abc}}]\n";

    fn cluster_of<'a>(kubeconfig: &'a Kubeconfig, name: &str) -> &'a ClusterEntry {
        kubeconfig.clusters.iter().find(|c| c.name == name).unwrap().cluster.as_ref().unwrap()
    }

    #[test]
    fn flags_lie_over_the_entries_of_the_context() {
        let mut kubeconfig = Kubeconfig::from_yaml(FILE).unwrap();
        let args =
            ClientArgs { server: Some("https://x".into()), tls_server_name: Some("y".into()), ..ClientArgs::default() };
        lay_over(&mut kubeconfig, &args);
        assert_eq!(cluster_of(&kubeconfig, "c").server.as_deref(), Some("https://x"));
        assert_eq!(cluster_of(&kubeconfig, "c").tls_server_name.as_deref(), Some("y"));
        assert_eq!(cluster_of(&kubeconfig, "d").server.as_deref(), Some("https://d:6443"));
    }

    #[test]
    fn a_server_alone_is_enough() {
        let mut kubeconfig = Kubeconfig::default();
        let args = ClientArgs { server: Some("http://127.0.0.1:8001".into()), ..ClientArgs::default() };
        lay_over(&mut kubeconfig, &args);
        assert_eq!(kubeconfig.current_context.as_deref(), Some(FROM_FLAGS));
        assert_eq!(cluster_of(&kubeconfig, FROM_FLAGS).server.as_deref(), Some("http://127.0.0.1:8001"));
    }

    #[test]
    fn only_a_kubeconfig_that_is_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        assert!(present(Kubeconfig::read_from(&file)).unwrap().is_none());
        std::fs::write(&file, "clusters: {").unwrap();
        assert!(present(Kubeconfig::read_from(&file)).is_err());
        std::fs::write(&file, FILE).unwrap();
        assert_eq!(
            present(Kubeconfig::read_from(&file)).unwrap().as_ref().and_then(namespace_of).as_deref(),
            Some("shop")
        );
    }

    #[test]
    fn files_of_a_list_that_are_not_there_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let second = "apiVersion: v1\nkind: Config\nusers: [{name: other, user: {token: x}}]\n";
        let paths = [folder.path().join("none"), file("a", FILE), file("b", second)];
        let found = merged(&std::env::join_paths(&paths).unwrap()).unwrap().unwrap();
        assert_eq!((namespace_of(&found).as_deref(), found.auth_infos.len()), (Some("shop"), 2));
        assert!(merged(folder.path().join("none").as_os_str()).unwrap().is_none());
        assert!(merged(file("c", "clusters: {").as_os_str()).is_err());
        let args = |user: &str| ClientArgs { user: Some(user.to_owned()), ..ClientArgs::default() };
        assert!(refuse_unknown(&found, &args("other")).is_ok());
        let refused = refuse_unknown(&found, &args("nope")).unwrap_err().text();
        assert!(refused.contains("no user \"nope\"") && refused.contains("it has: u, other"), "{refused}");
    }

    #[test]
    fn objects_without_a_namespace_get_that_of_the_context() {
        let mut kubeconfig = Kubeconfig::from_yaml(FILE).unwrap();
        assert_eq!(namespace_of(&kubeconfig).as_deref(), Some("shop"));
        kubeconfig.current_context = Some("b".into());
        assert_eq!(namespace_of(&kubeconfig).as_deref(), Some("default"));
        kubeconfig.current_context = None;
        assert_eq!(namespace_of(&kubeconfig), None);
    }

    #[test]
    fn a_context_is_chosen_by_flag() {
        let mut kubeconfig = Kubeconfig::from_yaml(FILE).unwrap();
        kubeconfig.current_context = Some("b".into());
        let args = ClientArgs { server: Some("https://x".into()), ..ClientArgs::default() };
        lay_over(&mut kubeconfig, &args);
        assert_eq!(cluster_of(&kubeconfig, "d").server.as_deref(), Some("https://x"));
    }
}
