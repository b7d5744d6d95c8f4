//! What a StatefulSet says about its server: container, binlog directory, mounts, user. Each answer is found or named as missing,
//! never guessed.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Container, PodSpec, VolumeMount};

use super::cnf::{self, ServerOptions};
use super::sidecar::CONTAINER;
use crate::failure::Failure;
use pitr_recovery::code;

/// What the user said, which goes before everything found.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    pub container: Option<String>,
    /// Name and sub-path of the volume, and the directory it holds in the server's container.
    pub binlog_volume: Option<(String, Option<String>)>,
    pub binlog_dir: Option<String>,
    pub run_as_user: Option<Owner>,
}

/// The user and group that own the binlogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: i64,
    pub gid: Option<i64>,
}

/// Configuration files that the server's container mounts, as far as they are known.
pub type ConfigFiles<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The facts an injection needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    pub container: String,
    pub image: String,
    pub datadir: String,
    /// Path and base name of the binlogs where they do not lie in the data directory.
    pub binlog_basename: Option<String>,
    /// Read-only mounts for the sidecar: the data directory's, and the binlogs' if that is another one.
    pub mounts: Vec<VolumeMount>,
    pub owner: Option<Owner>,
    /// Where the answers come from, for the report.
    pub directory_from: String,
    pub owner_from: &'static str,
}

impl Survey {
    /// By the image's name.
    pub fn is_mariadb(&self) -> bool {
        let name = self.image.rsplit('/').next().unwrap_or(&self.image);
        name.contains("mariadb")
    }
}

/// Where servers keep their data when nothing says otherwise: the server's own default, and the images that move it.
const DEFAULT_DATADIRS: [&str; 4] =
    ["/var/lib/mysql", "/bitnami/mysql/data", "/bitnami/mariadb/data", "/var/lib/mysql/data"];

/// Whether a StatefulSet looks like it runs MySQL or MariaDB: in a stream of manifests the others pass through.
pub fn looks_like_server(object: &StatefulSet) -> bool {
    let Some(pod) = pod_of(object) else { return false };
    pod.containers.iter().any(|c| holds_server_data(c) || names_server(c.image.as_deref().unwrap_or_default()))
}

fn names_server(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    let name = name.split([':', '@']).next().unwrap_or(name);
    let exporter = name.contains("exporter") || name.contains("router") || name.contains("operator");
    !exporter && ["mysql", "mariadb", "percona-server"].iter().any(|n| name.contains(n))
}

fn holds_server_data(container: &Container) -> bool {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    DEFAULT_DATADIRS.iter().any(|d| mounts.iter().any(|m| covers(&m.mount_path, d) && m.mount_path.len() > 1))
}

pub(crate) fn pod_of(object: &StatefulSet) -> Option<&PodSpec> {
    object.spec.as_ref()?.template.spec.as_ref()
}

/// Finds the facts of one StatefulSet.
pub fn survey(object: &StatefulSet, hints: &Hints, files: &ConfigFiles<'_>) -> Result<Survey, Failure> {
    let pod = pod_of(object)
        .ok_or_else(|| Failure::new(code::BINLOG_VOLUME_NOT_FOUND, "the manifest has no pod template"))?;
    let container = server_container(pod, hints)?;
    let options = server_options(pod, container, files);
    let (datadir, directory_from) = data_directory(container, &options)?;
    let mut mounts = vec![mount_of(container, &datadir)?];
    let (binlog_basename, binlog_mount) = binlogs(container, hints, &options, &datadir)?;
    if let Some(mount) = binlog_mount
        && !mounts.iter().any(|m| m.mount_path == mount.mount_path)
    {
        mounts.push(mount);
    }
    let (owner, owner_from) = owner(pod, container, hints);
    Ok(Survey {
        container: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        datadir,
        binlog_basename,
        mounts,
        owner,
        directory_from,
        owner_from,
    })
}

fn server_container<'a>(pod: &'a PodSpec, hints: &Hints) -> Result<&'a Container, Failure> {
    let not_found = |message: String| Failure::new(code::BINLOG_VOLUME_NOT_FOUND, message);
    let ours = |c: &&Container| c.name != CONTAINER;
    if let Some(name) = &hints.container {
        return pod.containers.iter().find(|c| &c.name == name).ok_or_else(|| {
            not_found(format!("the pod template has no container \"{name}\""))
                .hint(container_names(pod))
                .fix("--container NAME")
        });
    }
    let holders: Vec<_> = pod.containers.iter().filter(ours).filter(|c| holds_server_data(c)).collect();
    let servers: Vec<_> = holders.iter().filter(|c| names_server(c.image.as_deref().unwrap_or_default())).collect();
    match (holders.as_slice(), servers.as_slice()) {
        ([one], _) => Ok(one),
        (_, [one]) => Ok(one),
        ([], _) => {
            let mut rest = pod.containers.iter().filter(ours);
            match (rest.next(), rest.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(not_found("no container mounts the server's data".to_owned())
                    .hint(container_names(pod))
                    .fix("--container NAME")),
            }
        }
        _ => Err(not_found("several containers mount the server's data".to_owned())
            .hint(container_names(pod))
            .fix("--container NAME")),
    }
}

fn container_names(pod: &PodSpec) -> String {
    let names: Vec<_> = pod.containers.iter().map(|c| c.name.as_str()).collect();
    format!("containers: {}", names.join(", "))
}

/// Options from the arguments, which win, and from the option files that ConfigMaps hold.
fn server_options(pod: &PodSpec, container: &Container, files: &ConfigFiles<'_>) -> ServerOptions {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    let mut options = ServerOptions::from_arguments(words.map(String::as_str));
    for mount in container.volume_mounts.iter().flatten() {
        let volume = pod.volumes.iter().flatten().find(|v| v.name == mount.name);
        let Some(map) = volume.and_then(|v| v.config_map.as_ref()).map(|m| m.name.clone()) else { continue };
        if let Some(text) = files(&map) {
            options.or(cnf::parse(&text), &format!("configmap/{map}"));
        }
    }
    options
}

fn data_directory(container: &Container, options: &ServerOptions) -> Result<(String, String), Failure> {
    if let Some(datadir) = &options.datadir {
        return Ok((datadir.trim_end_matches('/').to_owned(), options.from.clone()));
    }
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let mounted = |d: &&&str| mounts.iter().any(|m| m.mount_path.len() > 1 && covers(&m.mount_path, d));
    // The deepest first: /var/lib/mysql/data is only meant where that very directory is mounted.
    let exact = DEFAULT_DATADIRS.iter().find(|d| mounts.iter().any(|m| m.mount_path.trim_end_matches('/') == **d));
    match exact.or_else(|| DEFAULT_DATADIRS.iter().find(mounted)) {
        Some(datadir) => Ok(((*datadir).to_owned(), "the server's default directory".to_owned())),
        None => Err(not_covered(container, DEFAULT_DATADIRS[0])),
    }
}

fn not_covered(container: &Container, directory: &str) -> Failure {
    Failure::new(
        code::BINLOG_VOLUME_NOT_FOUND,
        format!("no volumeMount of container \"{}\" covers \"{directory}\"", container.name),
    )
    .hint("looked at the container's arguments, the mounted option files and the usual directories")
    .fix("--binlog-volume NAME[:SUBPATH] --binlog-dir DIR")
}

fn binlogs(
    container: &Container,
    hints: &Hints,
    options: &ServerOptions,
    datadir: &str,
) -> Result<(Option<String>, Option<VolumeMount>), Failure> {
    if let Some((name, sub_path)) = &hints.binlog_volume {
        let directory = hints.binlog_dir.clone().unwrap_or_default();
        let mount = VolumeMount {
            name: name.clone(),
            mount_path: directory.clone(),
            sub_path: sub_path.clone(),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        return Ok((Some(format!("{}/binlog", directory.trim_end_matches('/'))), Some(mount)));
    }
    if let Some(directory) = &hints.binlog_dir {
        let mount = mount_of(container, directory)?;
        return Ok((Some(format!("{}/binlog", directory.trim_end_matches('/'))), Some(mount)));
    }
    match options.log_bin.as_deref().filter(|path| path.starts_with('/')) {
        Some(path) if !covers(datadir, path) => {
            let directory = path.rsplit_once('/').map_or("/", |(d, _)| d);
            Ok((Some(path.to_owned()), Some(mount_of(container, directory)?)))
        }
        Some(path) => Ok((Some(path.to_owned()), None)),
        None => Ok((None, None)),
    }
}

/// The mount with the longest path that covers the directory, for reading.
fn mount_of(container: &Container, directory: &str) -> Result<VolumeMount, Failure> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let found = mounts.iter().filter(|m| covers(&m.mount_path, directory)).max_by_key(|m| m.mount_path.len());
    let found = found.ok_or_else(|| not_covered(container, directory))?;
    Ok(VolumeMount { read_only: Some(true), recursive_read_only: None, mount_propagation: None, ..found.clone() })
}

/// Whether `directory` is `mount` or lies below it.
pub(crate) fn covers(mount: &str, directory: &str) -> bool {
    let mount = mount.trim_end_matches('/');
    directory == mount || directory.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'))
}

/// The user that owns the binlogs. Root does not count: images that start as root hand over to a user of their own.
fn owner(pod: &PodSpec, container: &Container, hints: &Hints) -> (Option<Owner>, &'static str) {
    if let Some(owner) = hints.run_as_user {
        return (Some(owner), "--run-as-user");
    }
    let of_pod = pod.security_context.as_ref();
    let group = of_pod.and_then(|s| s.run_as_group.or(s.fs_group));
    if let Some(uid) = container.security_context.as_ref().and_then(|s| s.run_as_user).filter(|u| *u > 0) {
        let gid = container.security_context.as_ref().and_then(|s| s.run_as_group).or(group);
        return (Some(Owner { uid, gid }), "the container's securityContext");
    }
    match of_pod.and_then(|s| s.run_as_user).filter(|u| *u > 0) {
        Some(uid) => (Some(Owner { uid, gid: group }), "the pod's securityContext"),
        None => (None, "nothing"),
    }
}

/// `UID[:GID]`.
pub fn parse_owner(text: &str) -> Result<Owner, Failure> {
    let bad = || Failure::usage(format!("\"{text}\" is not UID or UID:GID"));
    let number = |t: &str| t.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(bad);
    match text.split_once(':') {
        None => Ok(Owner { uid: number(text)?, gid: None }),
        Some((uid, gid)) => Ok(Owner { uid: number(uid)?, gid: Some(number(gid)?) }),
    }
}
