//! Names and labels of our objects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::LABEL_COMPONENT;
use crate::inject::sidecar::{LABEL_MANAGED, LABEL_WORKLOAD, MANAGER};

/// A Job's name ends up in a label of its pods, with something appended; this leaves room for that.
const STEM_BYTES_MAX: usize = 52;

/// What the end of a name holds at most that people look for: `-20261121-071403123`.
const TIME_BYTES_MAX: usize = 19;

/// Name of a Job that does this for a workload and is made now, to the millisecond: two of one second are two.
pub fn job_name(verb: &str, workload: &str, now: Timestamp) -> String {
    let at = now.strftime("%Y%m%d-%H%M%S");
    stem(&format!("pitr-{verb}-{}-{at}{:03}", workload.replace('.', "-"), now.subsec_millisecond()))
}

/// A name that fits; a long one is cut and keeps a hash of what was cut off, so that two long names stay two.
pub fn stem(name: &str) -> String {
    if name.len() <= STEM_BYTES_MAX {
        return name.to_owned();
    }
    let hash: String = Sha256::digest(name).iter().take(4).map(|b| format!("{b:02x}")).collect();
    let (mut head, mut tail) = name.split_at(name.len() - TIME_BYTES_MAX);
    if let Some(begin) = tail.find('-') {
        (head, tail) = name.split_at(head.len() + begin);
    }
    let room = STEM_BYTES_MAX - tail.len() - hash.len() - 1;
    format!("{}-{hash}{tail}", head[..room].trim_end_matches(['-', '.']))
}

/// Labels of an object of ours.
pub fn labels(workload: &str, component: &str) -> BTreeMap<String, String> {
    let value = |v: &str| if v.len() <= 63 { v.to_owned() } else { stem(v) };
    BTreeMap::from([
        (LABEL_MANAGED.to_owned(), MANAGER.to_owned()),
        (LABEL_WORKLOAD.to_owned(), value(workload)),
        (LABEL_COMPONENT.to_owned(), component.to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_with_a_hash() {
        assert_eq!(stem("mysql-pitr-20261121-071403"), "mysql-pitr-20261121-071403");
        let long = |c: &str| format!("a-{}-pitr-20261121-071403", c.repeat(60));
        let (one, other) = (stem(&long("x")), stem(&long("xy")));
        assert_eq!(one.len(), STEM_BYTES_MAX);
        assert!(one.ends_with("-20261121-071403"), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn two_jobs_of_one_second_are_two() {
        let name = |workload: &str, now: &str| job_name("inspect", workload, now.parse().unwrap());
        assert_eq!(name("shop.db", "2026-11-21T07:14:03.0429Z"), "pitr-inspect-shop-db-20261121-071403042");
        let long = name(&"x".repeat(60), "2026-11-21T07:14:03.9Z");
        assert!(long.len() == STEM_BYTES_MAX && long.ends_with("-20261121-071403900"), "{long}");
    }
}
