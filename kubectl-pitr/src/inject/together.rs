//! Keys that do not go together: each may stand, and the sidecar refuses the whole. It would say so in its pod, and archive nothing.

use pitr_archive::{Codec, memory};
use pitr_recovery::code;
use serde_json::Value;

use super::keys::effective;
use crate::failure::Failure;
use crate::render::binary_size;

/// Ranges that the sidecar holds to.
const WORKERS: std::ops::RangeInclusive<u64> = 1..=64;
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;
const NICE: std::ops::RangeInclusive<u64> = 0..=19;

/// A configuration as a whole.
struct Whole<'a> {
    value: &'a dyn Fn(&str) -> String,
    container_limit: Option<u64>,
}

/// Refuses a configuration that the sidecar would not take, or whose archiver its container's memory limit would kill.
pub fn check(config: &Value, container_limit: Option<u64>) -> Result<(), Failure> {
    let keys = effective(config);
    let value = |path: &str| keys.iter().find(|key| key.path == path).map(|key| key.value.clone()).unwrap_or_default();
    let whole = Whole { value: &value, container_limit };
    whole.memory().and_then(|()| whole.encryption()).and_then(|()| whole.stream()).and_then(|()| whole.server_log())
}

fn refused(message: impl Into<String>, fix: impl Into<String>) -> Failure {
    Failure::new(code::BAD_CONFIGURATION_KEY, message.into()).hint("nothing was changed").fix(fix.into())
}

impl Whole<'_> {
    fn get(&self, path: &str) -> String {
        (self.value)(path)
    }

    fn bytes(&self, path: &str) -> Option<u64> {
        let text = self.get(path);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor)
    }

    fn memory(&self) -> Result<(), Failure> {
        let workers = match self.get("pipeline.workers").as_str() {
            "auto" | "" => None,
            text => match text.parse().ok().filter(|workers| WORKERS.contains(workers)) {
                Some(workers) => Some(workers),
                None => return Err(refused(format!("\"pipeline.workers\" cannot be \"{text}\""), "auto, or 1 to 64")),
            },
        };
        let segment = self.bytes("pipeline.segment_bytes").filter(|bytes| SEGMENT_BYTES.contains(bytes));
        let segment = segment.ok_or_else(|| refused("\"pipeline.segment_bytes\" is out of range", "64KiB to 64MiB"))?;
        if !self.get("pipeline.nice").parse().is_ok_and(|nice| NICE.contains(&nice)) {
            return Err(refused("\"pipeline.nice\" is out of range", "0 to 19"));
        }
        let codec = self.get("pipeline.codec");
        let codec: Codec = codec
            .parse()
            .map_err(|reason| refused(format!("\"pipeline.codec\": {reason}"), "pipeline.codec=zstd:1"))?;
        let limit = self.bytes("pipeline.memory_limit").unwrap_or_default();
        let least = memory::least_bytes(workers, segment, codec).div_ceil(1 << 20);
        if limit < least << 20 {
            let with = workers.map_or_else(String::new, |workers| format!(", {workers} workers"));
            let of = format!("segments of {}{with} and {codec}", binary_size(segment));
            return Err(refused(
                format!("\"pipeline.memory_limit\" is {}, and {of} take at least {least} MiB", binary_size(limit)),
                format!("pipeline.memory_limit={least}MiB too, or fewer workers"),
            ));
        }
        match self.container_limit {
            Some(container) if limit >= container => Err(refused(
                format!(
                    "\"pipeline.memory_limit\" is {}, and the sidecar's container is killed at {}",
                    binary_size(limit),
                    binary_size(container)
                ),
                "a lower pipeline.memory_limit; or first a higher memory limit of the container \"pitr\" in the pod's template",
            )),
            _ => Ok(()),
        }
    }

    fn encryption(&self) -> Result<(), Failure> {
        let (recipients, key) = (self.get("encryption.age_recipients"), self.get("encryption.hash_key_file"));
        if recipients.is_empty() == key.is_empty() {
            return Ok(());
        }
        let message = "\"encryption.age_recipients\" and \"encryption.hash_key_file\" go together";
        Err(refused(message, "both, or neither; openssl rand -base64 32 makes a hash key for the Secret"))
    }

    fn stream(&self) -> Result<(), Failure> {
        if self.get("source.mode") != "stream" {
            return Ok(());
        }
        for path in ["source.spool", "source.mysql.user"] {
            if self.get(path).is_empty() {
                return Err(refused(
                    format!("\"source.mode\" is stream, and that needs \"{path}\""),
                    "kubectl pitr attach makes an archiver with a spool of its own",
                ));
            }
        }
        Ok(())
    }

    /// What the server is to be told.
    fn server_log(&self) -> Result<(), Failure> {
        let rotates = !["", "never"].contains(&self.get("schedule.flush_when_older_than").as_str());
        let purges = self.get("purge_archived") == "true";
        for (path, is_wanted) in [("schedule.flush_when_older_than", rotates), ("purge_archived", purges)] {
            if is_wanted && self.get("source.mysql.user").is_empty() {
                let message = format!("\"{path}\" needs \"source.mysql.user\"");
                return Err(refused(message, "source.mysql.user=NAME and source.mysql.password_file=FILE too"));
            }
        }
        if purges && self.get("source.mode") == "stream" {
            let message = "\"purge_archived\" does not go with \"source.mode: stream\"";
            return Err(refused(message, "purge_archived=false, and binlog_expire_logs_seconds of the server"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check;

    fn refusal(config: &Value, limit: Option<u64>) -> String {
        let failure = check(config, limit).unwrap_err();
        assert_eq!(failure.number(), Some(209), "{}", failure.text());
        failure.text()
    }

    #[test]
    fn what_the_sidecar_takes_is_taken() {
        for config in [
            json!({}),
            json!({"pipeline": {"workers": 4}}),
            json!({"pipeline": {"workers": "auto", "codec": "zstd:3", "nice": 0}}),
            json!({"encryption": {"age_recipients": ["age1x"], "hash_key_file": "/etc/pitr-s3/hash-key"}}),
            json!({"source": {"mode": "stream", "spool": "/spool", "mysql": {"user": "pitr"}}}),
            json!({"purge_archived": true, "schedule": {"flush_when_older_than": "1h"}, "source": {"mysql": {"user": "pitr"}}}),
            json!({"purge_archived": false, "schedule": {"flush_when_older_than": "never"}}),
        ] {
            check(&config, Some(192 << 20)).unwrap();
        }
    }

    #[test]
    fn memory_is_for_all_workers_and_less_than_the_container_has() {
        let workers = refusal(&json!({"pipeline": {"workers": 8}}), None);
        assert!(workers.contains("is 96 MiB") && workers.contains("pipeline.memory_limit=160MiB"), "{workers}");
        check(&json!({"pipeline": {"workers": 8, "memory_limit": "160MiB"}}), None).unwrap();
        let killed = refusal(&json!({"pipeline": {"memory_limit": "256MiB"}}), Some(192 << 20));
        assert!(killed.contains("killed at 192 MiB"), "{killed}");
        refusal(&json!({"pipeline": {"codec": "zstd:19", "workers": 4}}), None);
        refusal(&json!({"pipeline": {"segment_bytes": "64MiB"}}), None);
        for (key, value) in [("workers", json!(0)), ("nice", json!(20)), ("codec", json!("lzma"))] {
            refusal(&json!({"pipeline": {key: value}}), None);
        }
    }

    #[test]
    fn what_needs_another_key_is_refused_without_it() {
        refusal(&json!({"encryption": {"age_recipients": ["age1x"]}}), None);
        refusal(&json!({"encryption": {"hash_key_file": "/etc/pitr-s3/hash-key"}}), None);
        for config in [json!({"purge_archived": true}), json!({"schedule": {"flush_when_older_than": "1h"}})] {
            let refused = refusal(&config, None);
            assert!(refused.contains("needs \"source.mysql.user\""), "{refused}");
        }
        let source = json!({"mode": "stream", "spool": "/spool", "mysql": {"user": "pitr"}});
        refusal(&json!({"purge_archived": true, "source": source}), None);
        let stream = refusal(&json!({"source": {"mode": "stream", "mysql": {"user": "pitr"}}}), None);
        assert!(stream.contains("source.spool"), "{stream}");
    }
}
