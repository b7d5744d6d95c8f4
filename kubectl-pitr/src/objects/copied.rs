//! What a Job copies from the workload, so that it runs where and as the workload does: no Secret is read, only named.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use super::{Server, Store};
use crate::failure::Failure;
use crate::inject::sidecar::{CONTAINER, VOLUMES};
use crate::inject::survey::Owner;
use crate::render::quantity;
use pitr_recovery::code;

/// No server counts its major versions higher than this.
const HIGHEST_MAJOR: u64 = 99;

/// The sidecar's configuration, as its ConfigMap holds it.
pub fn configuration(text: &str) -> Result<Value, Failure> {
    serde_saphyr::from_str(text).map_err(|_| {
        Failure::new(code::BAD_CONFIGURATION_KEY, "the sidecar's config.yaml cannot be read")
            .fix("kubectl pitr inject writes it anew")
    })
}

/// Image of our program: what the workload's sidecar runs.
pub fn sidecar_image(object: &StatefulSet) -> Option<String> {
    let pod = object.spec.as_ref()?.template.spec.as_ref()?;
    let mut all = pod.init_containers.iter().flatten().chain(&pod.containers);
    all.find(|c| c.name == CONTAINER)?.image.clone()
}

/// What the sidecar's container may take, in bytes, as the workload has it.
pub fn sidecar_memory(object: &StatefulSet) -> Option<u64> {
    let pod = object.spec.as_ref()?.template.spec.as_ref()?;
    let mut all = pod.init_containers.iter().flatten().chain(&pod.containers);
    let limits = all.find(|c| c.name == CONTAINER)?.resources.as_ref()?.limits.as_ref()?;
    quantity(&limits.get("memory")?.0)
}

/// Who runs the sidecar: the owner of the binlogs, and of the data.
pub fn sidecar_owner(object: &StatefulSet) -> Option<Owner> {
    let pod = object.spec.as_ref()?.template.spec.as_ref()?;
    let mut all = pod.init_containers.iter().flatten().chain(&pod.containers);
    let security = all.find(|c| c.name == CONTAINER)?.security_context.as_ref()?;
    Some(Owner { uid: security.run_as_user?, gid: security.run_as_group })
}

/// How the archive is reached, from the configuration and the pod template.
pub fn store(config: &Value, object: &StatefulSet) -> Store {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let s3 = &config["s3"];
    let path_style = match &s3["path_style"] {
        Value::Bool(true) => Some("always".to_owned()),
        Value::Bool(false) => Some("never".to_owned()),
        Value::String(word) => Some(match word.as_str() {
            "true" => "always".to_owned(),
            "false" => "never".to_owned(),
            other => other.to_owned(),
        }),
        _ => None,
    };
    Store {
        url: text(&config["archive"]).unwrap_or_default(),
        region: text(&s3["region"]),
        endpoint: text(&s3["endpoint"]),
        path_style,
        ca_file: text(&s3["ca_file"]).filter(|file| !file.is_empty()),
        checksum: text(&s3["checksum"]),
        sse: text(&s3["sse"]),
        storage_class: text(&s3["storage_class"]).filter(|class| !class.is_empty()),
        age_recipients: Some(words(&config["encryption"]["age_recipients"]).join(",")).filter(|all| !all.is_empty()),
        hash_key_file: text(&config["encryption"]["hash_key_file"]).filter(|file| !file.is_empty()),
        secret: credentials_secret(object),
        claim: None,
    }
}

/// The words of a key that takes several: a list, or one text with commas.
pub fn words(value: &Value) -> Vec<String> {
    let words: Vec<&str> = match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        Value::String(all) => all.split(',').collect(),
        _ => Vec::new(),
    };
    words.into_iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Host and port of the server, where its binlogs are read over a connection.
pub fn streamed_from(config: &Value) -> Option<(String, u16)> {
    let source = &config["source"];
    if source["mode"] != "stream" {
        return None;
    }
    let port = source["mysql"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(3306);
    Some((source["mysql"]["host"].as_str()?.to_owned(), port))
}

/// What the archive belongs to: what the configuration says, else the workload itself.
pub fn archive_of(config: &Value, (namespace, name): (&str, &str)) -> String {
    let said = config["workload"].as_str().filter(|text| !text.is_empty());
    said.map_or_else(|| format!("{namespace}/{name}"), str::to_owned)
}

/// The Secret with the store's credentials that the sidecar mounts.
pub fn credentials_secret(object: &StatefulSet) -> Option<String> {
    let pod = object.spec.as_ref()?.template.spec.as_ref()?;
    let volume = pod.volumes.iter().flatten().find(|v| v.name == VOLUMES[1])?;
    volume.secret.as_ref()?.secret_name.clone()
}

/// The server's image and everything that decides where its pods may run.
pub fn server(object: &StatefulSet, image: String, owner: Option<Owner>) -> Server {
    let pod = object.spec.as_ref().and_then(|s| s.template.spec.clone()).unwrap_or_default();
    Server {
        image,
        image_pull_secrets: pod.image_pull_secrets,
        node_selector: pod.node_selector,
        tolerations: pod.tolerations,
        runtime_class: pod.runtime_class_name,
        service_account: pod.service_account_name,
        owner,
    }
}

/// Size and StorageClass that the workload asks for one of its volumes.
pub fn claim_template(object: &StatefulSet, volume: &str) -> (Option<u64>, Option<String>) {
    let templates = object.spec.as_ref().and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default();
    let found = templates.iter().find(|t| t.metadata.name.as_deref() == Some(volume)).and_then(|t| t.spec.as_ref());
    let Some(spec) = found else { return (None, None) };
    let size = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage"));
    (size.and_then(|q| quantity(&q.0)), spec.storage_class_name.clone())
}

/// The numbers of the version that an image's tag says: `[8, 4]` of `mysql:8.4`. `None` of a digest, of `latest`, of a date and of no tag.
pub fn tagged_version(image: &str) -> Option<Vec<u64>> {
    let name = image.rsplit('/').next().unwrap_or(image);
    let (_, tag) = name.split('@').next().unwrap_or(name).split_once(':')?;
    let numbers = numbers(tag);
    // A date or a build number is no version of a server.
    numbers.first().is_some_and(|major| *major <= HIGHEST_MAJOR).then_some(numbers)
}

fn numbers(text: &str) -> Vec<u64> {
    let digits = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>();
    digits.split('.').map_while(|n| n.parse().ok()).collect()
}

/// Refuses an image whose tag says a version that cannot open the base's files: another series, or an earlier release of the same.
/// What a tag leaves open, the Job asks the server program itself.
pub fn refuse_unfit_server(image: &str, base_version: &str) -> Result<(), Failure> {
    let Some(has) = tagged_version(image) else { return Ok(()) };
    let needs = numbers(base_version);
    // A tag says as much as it says: "8.4" runs any 8.4.
    let series = has.iter().zip(&needs).take(2).all(|(has, needs)| has == needs);
    let earlier = has.get(2).zip(needs.get(2)).is_some_and(|(has, needs)| has < needs);
    if series && !earlier {
        return Ok(());
    }
    Err(Failure::new(code::SERVER_TOO_OLD, format!("base is version {base_version}, image is \"{image}\""))
        .hint("a data directory is opened by its own series only, and never by an earlier release")
        .fix("--server-image with the base's version, or a later one of its series"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_backup_belongs_to_the_archive_that_the_sidecar_writes() {
        let place = ("shop", "mysql-new");
        assert_eq!(archive_of(&json!({"workload": "old/mysql"}), place), "old/mysql");
        assert_eq!(archive_of(&json!({"workload": ""}), place), "shop/mysql-new");
        assert_eq!(archive_of(&json!({}), place), "shop/mysql-new");
    }

    #[test]
    fn a_server_that_cannot_open_the_base_is_refused() {
        assert!(refuse_unfit_server("mysql:8.4.6", "8.4.6").is_ok());
        assert!(refuse_unfit_server("mysql:8.4", "8.4.6").is_ok());
        assert!(refuse_unfit_server("mysql:8", "8.4.6").is_ok());
        assert!(refuse_unfit_server("registry:5000/my/mysql:8.4.7-debian", "8.4.6-log").is_ok());
        assert!(refuse_unfit_server("my/mysql:20261121.2", "8.4.6").is_ok());
        assert!(refuse_unfit_server("mysql:9.7", "").is_ok());
        assert!(refuse_unfit_server("mysql:latest", "8.4.6").is_ok());
        assert!(refuse_unfit_server("mysql@sha256:00", "8.4.6").is_ok());
        for unfit in ["mysql:8.0.36", "mysql:8.4.5", "mysql:9", "mysql:9.7.4", "registry:5000/my/mysql:9.7"] {
            assert_eq!(refuse_unfit_server(unfit, "8.4.6").unwrap_err().number(), Some(309), "{unfit}");
        }
    }

    #[test]
    fn the_store_comes_from_the_configuration_and_the_template() {
        let object: StatefulSet =
            serde_json::from_value(json!({"spec": {"selector": {}, "serviceName": "m", "template": {
            "spec": {"containers": [{"name": "mysql"}, {"name": "pitr", "image": "pitr-sidecar:1",
                "securityContext": {"runAsUser": 999, "runAsGroup": 999}}],
                "volumes": [{"name": "pitr-s3", "secret": {"secretName": "keys"}}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"storageClassName": "gp3",
                "resources": {"requests": {"storage": "80Gi"}}}}]}}))
            .unwrap();
        let text = "archive: s3://b/p\n\
            s3: {endpoint: 'http://s3:9000', path_style: true, ca_file: /etc/pitr-s3/ca.crt}\n";
        let config = configuration(text).unwrap();
        let store = store(&config, &object);
        assert_eq!((store.url.as_str(), store.secret.as_deref()), ("s3://b/p", Some("keys")));
        assert_eq!((store.path_style.as_deref(), store.region), (Some("always"), None));
        assert_eq!(store.ca_file.as_deref(), Some("/etc/pitr-s3/ca.crt"));
        assert_eq!(sidecar_image(&object).as_deref(), Some("pitr-sidecar:1"));
        assert_eq!(sidecar_owner(&object), Some(Owner { uid: 999, gid: Some(999) }));
        assert_eq!(claim_template(&object, "data"), (Some(80 << 30), Some("gp3".into())));
    }
}
