//! What must not leave the cluster is taken out of everything that goes into a support bundle. In doubt too much goes, not too little.

use serde_json::Value;

mod text;

use text::without_secrets;

/// What stands in the place of what was taken out.
const REDACTED: &str = "REDACTED";
/// Words in the name of a setting or a variable whose value is secret.
const SECRET_WORDS: [&str; 19] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "access_key",
    "accesskey",
    "credential",
    "private",
    "identity",
    "dsn",
    "data_source",
    "signature",
    "authorization",
    "bearer",
    "cookie",
    "api_key",
    "apikey",
];
/// The same as a whole name, or the last part of one: within others it means something else.
const SECRET_END: &str = "pass";
/// Ends of names that only say where a secret is.
const REFERENCES: [&str; 5] = ["file", "name", "from", "ref", "annotation"];
/// What restored data is held against: a statement of the user's own.
const ASSERTION: &str = "--assert=";
/// Variables whose values are shown, beside those of our own: of any other only the name is.
const SHOWN_VARIABLES: [&str; 3] = ["TZ", "LANG", "POD_NAME"];
const OUR_VARIABLES: &str = "PITR_";

/// Takes secrets out of an object of Kubernetes or a document of ours.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("managedFields");
            if let Some(annotations) = fields.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
            // An environment variable, or a header of a probe: its name stands beside its value.
            let hidden = fields.get("name").and_then(Value::as_str).is_some_and(|name| !is_shown_variable(name));
            if let Some(Value::String(text)) = fields.get_mut("value").filter(|_| hidden) {
                REDACTED.clone_into(text);
            }
            for (key, inner) in fields.iter_mut() {
                match inner {
                    Value::String(_) | Value::Number(_) if is_secret(key) => *inner = REDACTED.into(),
                    Value::Array(items) if is_secret(key) => hide_all(items),
                    inner => redact(inner),
                }
            }
        }
        Value::Array(items) => {
            // `--password`, and its value as the next argument; `-u`, and a name with a password behind it.
            let flags: Vec<Option<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            for (item, flag) in items.iter_mut().skip(1).zip(flags.into_iter().map(Option::unwrap_or_default)) {
                if item.as_str().is_some_and(|text| is_secret_flag(&flag) || is_login(&flag, text)) {
                    *item = REDACTED.into();
                }
            }
            items.iter_mut().for_each(redact);
        }
        Value::String(text) if text.starts_with(ASSERTION) => *text = redacted_server_log(text),
        Value::String(text) => *text = redacted_document(text).unwrap_or_else(|| redacted_text(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A list below a secret name: each of its texts and numbers is one.
fn hide_all(items: &mut [Value]) {
    for item in items {
        match item {
            Value::String(_) | Value::Number(_) => *item = REDACTED.into(),
            Value::Array(inner) => hide_all(inner),
            item => redact(item),
        }
    }
}

/// A text that is a document itself, as annotations hold them, is redacted by its keys.
fn redacted_document(text: &str) -> Option<String> {
    let is_one = |value: &Value| value.is_object() || value.is_array();
    let mut document = serde_json::from_str(text).ok().filter(is_one)?;
    redact(&mut document);
    Some(document.to_string())
}

/// Takes out of text: values of settings and flags with secret names, who stands before `@` in an address, keys, and what stands in
/// single quotes.
pub fn redacted_text(text: &str) -> String {
    without_secrets(text, false)
}

/// The log of a server: there, double quotes and numbers of statements hold data, too.
pub fn redacted_server_log(text: &str) -> String {
    without_secrets(text, true)
}

/// A log of ours: each line is a document, which is redacted by its keys.
pub fn redacted_own_log(text: &str) -> String {
    let line = |line: &str| redacted_document(line).unwrap_or_else(|| redacted_text(line));
    text.lines().map(|text| line(text) + "\n").collect()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let says_so = SECRET_WORDS.iter().any(|word| name.contains(word)) || name.rsplit('_').next() == Some(SECRET_END);
    says_so && !REFERENCES.iter().any(|end| name.ends_with(end))
}

fn is_secret_flag(word: &str) -> bool {
    word.starts_with("--") && !word.contains('=') && is_secret(word)
}

/// `-u name:password`, as curl takes it.
fn is_login(flag: &str, word: &str) -> bool {
    matches!(flag, "-u" | "--user") && word.contains(':')
}

fn is_shown_variable(name: &str) -> bool {
    SHOWN_VARIABLES.contains(&name) || (name.starts_with(OUR_VARIABLES) && !is_secret(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_taken_out_of_objects() {
        let mut object = json!({"metadata": {"managedFields": [1], "annotations":
            {"kubectl.kubernetes.io/last-applied-configuration": "x", "a": "b"}},
            "env": [{"name": "MYSQL_ROOT_PASSWORD", "value": "hunter2"}, {"name": "TZ", "value": "UTC"},
                {"name": "A_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "token": "abc", "secretName": "pitr-s3", "password_file": "/run/x", "url": "https://me:word@host/p"});
        redact(&mut object);
        let expected = json!({"metadata": {"annotations": {"a": "b"}},
            "env": [{"name": "MYSQL_ROOT_PASSWORD", "value": "REDACTED"}, {"name": "TZ", "value": "UTC"},
                {"name": "A_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "token": "REDACTED", "secretName": "pitr-s3", "password_file": "/run/x", "url": "https://REDACTED@host/p"});
        assert_eq!(object, expected);
    }

    #[test]
    fn secrets_are_taken_out_of_text() {
        let check = |text: &str, expected: &str| assert_eq!(redacted_text(text), expected);
        check("  password: hunter2\nregion: eu\n", "  password: REDACTED\nregion: eu\n");
        check("password=hunter2", "password=REDACTED");
        check("password_file: /run/x", "password_file: /run/x");
        check("dsn mysql://u:p@h:3306/ and s3://b/p", "dsn mysql://REDACTED@h:3306/ and s3://b/p");
        check("Duplicate entry 'alice@example.org' for key 'PRIMARY'", "Duplicate entry '?' for key '?'");
        check("can't open user 'alice' with password 'x'", "can't open user '?' with password '?'");
        check("it's late", "it's late");
        check("image registry:5000/a/b@sha256:0a1b is pulled", "image registry:5000/a/b@sha256:0a1b is pulled");
        check("credentials:\n  from: file:/etc/pitr-s3\n", "credentials:\n  from: file:/etc/pitr-s3\n");
        check("pods \"mysql-0\" not found, 3 of 5", "pods \"mysql-0\" not found, 3 of 5");
    }

    /// Each of these words is a secret where it stands; none may be left anywhere.
    #[test]
    fn nothing_that_was_planted_is_left() {
        let mut object = json!({
            "env": [{"name": "DATA_SOURCE_NAME", "value": "exporter:planted01@(localhost:3306)/"},
                {"name": "MYSQL_PWD", "value": "planted02"}, {"name": "ORDERS", "value": "planted03"},
                {"name": "PITR_TOKEN", "value": "planted04"}],
            "httpHeaders": [{"name": "Authorization", "value": "Bearer planted05"}],
            "args": ["--user", "root", "--password", "planted06", "-pplanted07", "--master-password=planted08"],
            "command": ["sh", "-c", "mysqladmin -uroot -pplanted09 ping"],
            "script": ["sh", "-c", "mysqladmin -uroot -p\"planted38 more\" ping; curl -u admin:planted39 --user=admin:planted40 http://h/"],
            "login": ["curl", "-u", "admin:planted41"],
            "privateKey": "planted10",
            "config.yaml": "s3:\n  access-key: planted11\nage: AGE-SECRET-KEY-1PLANTED12\ntls_key: |\n  -----BEGIN PRIVATE KEY-----\n  \
                            planted13\n  -----END PRIVATE KEY-----\nmy_password: |\n  planted14\n  planted15\nregion: eu\n",
        });
        object["pin_password"] = 4_111_111.into();
        object["annotations"] = json!({"agent/template": "{\"env\": [{\"name\": \"A\", \"value\": \"planted28\"}], \"token\": \"planted29\", \"passwords\": [\"planted42\", 4111111]}"});
        object["job"] = json!(["--assert=SELECT COUNT(*) FROM t WHERE card = 4111111111 AND name = \"planted30\""]);
        object["more.yaml"] =
            "db_pass: planted31\nclient_password:\n  planted32\npasswords:\n- planted33\nsecrets:\n  name: kept-name\n"
                .into();
        redact(&mut object);
        let own = redacted_own_log(
            "{\"ts\":\"x\",\"level\":\"INFO\",\"token\":\"planted16\",\"url\":\"mysql://u:planted17/w@h/\"}\nplain password=planted18\nAuthorization: Bearer planted34\n\
             The AWS Access Key Id AKIAPLANTED351234567 does not exist; jwt eyJhbGciOi.eyJplanted36.planted37 too\n",
        );
        let server = redacted_server_log(
            "A temporary password is generated for root@localhost: planted19\ncan't open user 'planted20' with password 'planted21'\n\
             INSERT INTO t VALUES (4111111111111111, \"planted22\", X'planted23', 'it''s planted24', 'never closed planted25\n\
             2026-11-22T05:00:00Z 7 [Note] Access denied for user \"planted26\"@\"10.0.0.1\" --password planted27\n",
        );
        let left = format!("{object}\n{own}\n{server}").to_lowercase();
        assert!(!left.contains("planted") && !left.contains("411111"), "{left}");
        for kept in [
            "region: eu",
            "kept-name",
            "does not exist",
            "count(*)",
            "\"root\"",
            "ping",
            "\"level\":\"info\"",
            "insert into t values",
            "access denied",
            "[note]",
        ] {
            assert!(left.contains(kept), "{kept}: {left}");
        }
    }
}
