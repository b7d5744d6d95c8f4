//! What must not leave the cluster is taken out of everything that goes into a support bundle.

use serde_json::Value;

/// What stands in the place of what was taken out.
const REDACTED: &str = "REDACTED";
/// Words in the name of a setting or a variable whose value is secret.
const SECRET_WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "access_key", "accesskey"];
/// Ends of names that only say where a secret is.
const REFERENCES: [&str; 5] = ["file", "name", "from", "ref", "annotation"];

/// Takes secrets out of an object of Kubernetes or a document of ours.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("managedFields");
            if let Some(annotations) = fields.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
            // An environment variable: its name stands beside its value.
            let secret = fields.get("name").and_then(Value::as_str).is_some_and(is_secret);
            if let Some(Value::String(text)) = fields.get_mut("value").filter(|_| secret) {
                REDACTED.clone_into(text);
            }
            for (key, inner) in fields.iter_mut() {
                match inner {
                    Value::String(text) if is_secret(key) => REDACTED.clone_into(text),
                    inner => redact(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => *text = redacted_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Takes out of text: what stands before `@` in a URL, values of settings with secret names, and what stands in single quotes.
pub fn redacted_text(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| without_quoted(&without_user(&without_setting(line)))).collect();
    let end = if text.ends_with('\n') { "\n" } else { "" };
    lines.join("\n") + end
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) && !REFERENCES.iter().any(|end| name.ends_with(end))
}

/// `password: x`, `password=x`, on a line of its own.
fn without_setting(line: &str) -> String {
    for separator in [':', '='] {
        let Some((name, value)) = line.split_once(separator) else { continue };
        let word = name.trim().trim_matches(['"', '\'', '-', ' ', '{']);
        if !value.trim().is_empty() && !word.contains(char::is_whitespace) && is_secret(word) {
            return format!("{name}{separator} {REDACTED}");
        }
    }
    line.to_owned()
}

/// `https://user:word@host` becomes `https://REDACTED@host`.
fn without_user(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '"').unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(user) => {
                out.push_str(REDACTED);
                &after[user..]
            }
            None => after,
        };
    }
    out + rest
}

/// Literals of SQL, as servers quote them in their messages.
fn without_quoted(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut parts = line.split('\'');
    out.push_str(parts.next().unwrap_or_default());
    let rest: Vec<&str> = parts.collect();
    for pair in rest.chunks(2) {
        match pair {
            [_, behind] => {
                out.push_str("'?'");
                out.push_str(behind);
            }
            // An apostrophe.
            [only] => {
                out.push('\'');
                out.push_str(only);
            }
            _ => {}
        }
    }
    out
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
        check("password=hunter2", "password= REDACTED");
        check("password_file: /run/x", "password_file: /run/x");
        check("dsn mysql://u:p@h:3306/ and s3://b/p", "dsn mysql://REDACTED@h:3306/ and s3://b/p");
        check("Duplicate entry 'alice@example.org' for key 'PRIMARY'", "Duplicate entry '?' for key '?'");
        check("it's late", "it's late");
    }
}
