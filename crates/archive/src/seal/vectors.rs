//! What other programs of the age format make, and what they open.

use super::{Identities, SealError, age_header, age_stream, open};

/// The n-th byte is n mod 251.
fn content(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

fn identities() -> Identities {
    include_str!("testdata/identity.txt").parse().unwrap()
}

#[test]
fn what_the_age_crate_seals_is_opened() {
    // Sealed by the age crate 0.12.1 for the identity beside it: nothing but the content.
    let (file_key, body) = age_header::read(&identities(), include_bytes!("testdata/sealed.age")).unwrap();
    assert_eq!(age_stream::decrypt(&file_key, body).unwrap(), content(70_000));
}

#[test]
fn what_the_program_of_the_format_s_author_seals_is_opened_as_a_payload() {
    // Sealed by filippo.io/age 1.2.1 (Go, `age.Encrypt`) for a stranger and for the identity beside it: a frame with the key of
    // hashes, 32 times 7, then the content. More than one piece.
    let opened = open(&identities(), include_bytes!("testdata/by-go.age")).unwrap();
    assert_eq!(opened.content(), content(66_000));
    assert_eq!(opened.hash_key.bytes(), &[7; 32]);
}

#[test]
fn what_other_programs_have_opened_is_what_is_sealed_still() {
    // Sealed by `Sealer` for a stranger and for the identity beside it, and opened by filippo.io/age 1.2.1 (`age.Decrypt`) and by
    // pyrage 1.4.0: the same key of hashes and content as above. If the form ever changes, make it again, and open it with both.
    let opened = open(&identities(), include_bytes!("testdata/ours.age")).unwrap();
    assert_eq!(opened.content(), content(66_000));
    assert_eq!(opened.hash_key.bytes(), &[7; 32]);
}

/// The vectors of the format (<https://c2sp.org/CCTV/age>), where they are at hand: `PITR_AGE_VECTORS` names their folder.
#[test]
fn the_vectors_of_the_format_are_judged_as_they_say() {
    let Some(folder) = std::env::var_os("PITR_AGE_VECTORS") else { return };
    let mut judged = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        let end = content.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let head = String::from_utf8_lossy(&content[..end]).into_owned();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        // Armor, passphrases, post-quantum keys and compressed vectors are not ours.
        let is_other = |name| field(name).is_some();
        if ["armored", "passphrase", "compressed"].into_iter().any(is_other) || head.contains("AGE-SECRET-KEY-PQ-") {
            continue;
        }
        let identities: Identities = field("identity").unwrap_or_default().parse().unwrap_or_default();
        let opened =
            age_header::read(&identities, &content[end + 2..]).and_then(|(key, body)| age_stream::decrypt(&key, body));
        match (field("expect").unwrap(), &opened) {
            ("success", Ok(plain)) => {
                assert_eq!(Some(hex::encode(crate::sha256(plain)).as_str()), field("payload"), "{path:?}");
            }
            ("no match", Err(error)) => assert_eq!(*error, SealError::WrongIdentity, "{path:?}"),
            ("HMAC failure" | "header failure" | "payload failure", Err(_)) => {}
            (expected, found) => panic!("{path:?}: {expected}, found {found:?}"),
        }
        judged += 1;
    }
    assert!(judged > 30, "{judged} vectors");
}
