//! Encrypted base backups: taken with public keys, proven without the identity, restored with it.

use std::collections::BTreeSet;

use pitr_recovery::{Inventory, PlanRequest, RecoveryTarget, Timeline};

use super::*;
use crate::archive::{OtherBase, PlanKeys, VerifyProgress, VerifyRules};
use crate::seal::{HashKey, Identities, Identity, Sealer};

fn sealed_pair(memory: &Arc<MemoryStore>) -> (Arc<Archive>, Arc<Archive>) {
    let identity = Identity::generate().unwrap();
    let sealer = Sealer::new(vec![identity.recipient()], HashKey::from([5; 32])).unwrap();
    let plain = || Archive::open(Arc::clone(memory) as Arc<dyn Store>, Arc::new(Timestamp::now));
    (Arc::new(plain().sealed_by(sealer)), Arc::new(plain().opened_by(Identities::from(vec![identity]))))
}

#[tokio::test]
async fn an_encrypted_backup_is_taken_with_public_keys_and_restored_with_the_identity() {
    let memory = Arc::new(MemoryStore::new());
    let (writer, owner) = sealed_pair(&memory);
    let mut files = small_files();
    files.extend([("large", content(3, CHUNK_BYTES + 5))]);
    take(&writer, "bb-1", &files).await.unwrap();
    let chunks = keys(&memory, "chunks/").await;
    assert!(chunks.iter().all(|key| key.ends_with("-bb-1.zst.age")), "{chunks:?}");
    for (_, content) in &files {
        let clear = hex::encode(sha256(content));
        assert!(chunks.iter().all(|key| !key.contains(&clear)), "a hash that confirms a guess");
    }
    assert_same(&restored(&owner, "bb-1").await.unwrap(), &files);
    let refused = restored(&open(Arc::clone(&memory) as Arc<dyn Store>), "bb-1").await.unwrap_err();
    assert!(matches!(refused, ArchiveError::BackupSealed { wrong: false, .. }), "{refused:?}");
    let (_, stranger) = sealed_pair(&memory);
    let refused = restored(&stranger, "bb-1").await.unwrap_err();
    assert!(matches!(refused, ArchiveError::BackupSealed { wrong: true, .. }), "{refused:?}");
    let reader = BackupReader::open(stranger, "bb-1").await.unwrap();
    assert!(reader.check_identities().await.is_err());
    BackupReader::open(Arc::clone(&owner), "bb-1").await.unwrap().check_identities().await.unwrap();

    // A second backup, still without an identity: what is there is proven by the hash of the object, and reused.
    let (_, new) = take(&writer, "bb-2", &files).await.unwrap();
    assert_eq!((new, keys(&memory, "chunks/").await.len()), (0, chunks.len()));
    // A damaged one is found out and stored anew.
    let mut damaged = memory.get(&chunks[0]).await.unwrap().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    memory.put(&chunks[0], damaged.into(), ObjectClass::Content).await.unwrap();
    let (_, new) = take(&writer, "bb-3", &files).await.unwrap();
    assert!(new > 0);
    assert_same(&restored(&owner, "bb-3").await.unwrap(), &files);
}

#[tokio::test]
async fn a_backup_needs_no_identity_of_former_recipients() {
    let memory = Arc::new(MemoryStore::new());
    let files = small_files();
    let (before, _) = sealed_pair(&memory);
    let (_, first) = take(&before, "bb-1", &files).await.unwrap();
    // The same hash key, other recipients: the content is known, and nothing that is there can be used.
    let (now, owner) = sealed_pair(&memory);
    let (_, second) = take(&now, "bb-2", &files).await.unwrap();
    assert_eq!(second, first, "everything is stored again");
    assert_same(&restored(&owner, "bb-2").await.unwrap(), &files);
    let (_, third) = take(&now, "bb-3", &files).await.unwrap();
    assert_eq!(third, 0, "what is encrypted to the same is used again");
    let (_, back) = take(&before, "bb-4", &files).await.unwrap();
    assert_eq!(back, 0, "and so after a change back");
    assert_same(&restored(&owner, "bb-3").await.unwrap(), &files);

    // A list that mixes, as earlier versions wrote it: what belongs to a run for others is not handed on.
    let mut manifest = now.read_manifests().await.unwrap().0.into_iter().find(|m| m.backup.id == "bb-1").unwrap();
    manifest.backup.recipients = now.sealer().unwrap().recipients().iter().map(ToString::to_string).collect();
    let entries = now.read_files(&manifest).await.unwrap();
    now.store()
        .delete(&["backups/bb-2/manifest.json".to_owned(), "backups/bb-3/manifest.json".to_owned()])
        .await
        .unwrap();
    list(&now, "bb-5", manifest, &entries).await;
    let (_, sixth) = take(&now, "bb-6", &files).await.unwrap();
    assert_eq!(sixth, first, "nothing of the mixed list is used");
    assert_same(&restored(&owner, "bb-6").await.unwrap(), &files);
}

/// Lists a backup of these entries.
async fn list(archive: &Archive, id: &str, mut manifest: manifest::Manifest, entries: &[BackupEntry]) {
    let list: Bytes = files::encode(id, entries).unwrap().into();
    manifest.backup.id = id.to_owned();
    manifest.files_sha256 = sha256(&list);
    manifest.files = ShortHash::of_digest(&manifest.files_sha256);
    let key = ObjectKey::Files { backup: id.to_owned(), hash: manifest.files }.to_string();
    archive.store().put(&key, list, ObjectClass::Control).await.unwrap();
    let key = ObjectKey::Manifest { backup: id.to_owned() }.to_string();
    archive.store().put(&key, manifest.to_json().unwrap().into(), ObjectClass::Control).await.unwrap();
}

#[tokio::test]
async fn what_is_encrypted_to_somebody_else_is_verified_by_what_was_stored() {
    let memory = Arc::new(MemoryStore::new());
    let files = small_files();
    let (one, owner_of_one) = sealed_pair(&memory);
    let (other, _) = sealed_pair(&memory);
    take(&one, "bb-1", &files).await.unwrap();
    take(&other, "bb-2", &files).await.unwrap();
    let everything = VerifyRules { percent: 100, deep: true };
    let verify = || async {
        let verified = owner_of_one.verify(everything, &VerifyProgress::default()).await.unwrap();
        let found: BTreeSet<String> = verified.findings.into_iter().map(|finding| finding.what).collect();
        (verified.chunks_read, found)
    };
    assert_eq!(verify().await, (4, BTreeSet::new()));
    // Damage is found in those of both.
    let chunks = keys(&memory, "chunks/").await;
    for key in &chunks {
        let mut damaged = memory.get(key).await.unwrap().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        memory.put(key, damaged.into(), ObjectClass::Content).await.unwrap();
    }
    assert_eq!(verify().await, (4, chunks.into_iter().collect()));
}

#[tokio::test]
async fn a_plan_says_which_bases_lead_there_with_other_keys() {
    let memory = Arc::new(MemoryStore::new());
    let files = small_files();
    let (one, _) = sealed_pair(&memory);
    let (other, _) = sealed_pair(&memory);
    let reader = open(Arc::clone(&memory) as Arc<dyn Store>);
    for (archive, id) in [(&one, "bb-1"), (&other, "bb-2"), (&reader, "bb-3")] {
        take(archive, id, &files).await.unwrap();
    }
    let backups = reader.list_backup_manifests().await.unwrap().0;
    let recipients = backups[1].recipients.clone();
    assert_eq!((recipients.len(), backups[2].recipients.len()), (1, 0));
    let timeline = Timeline::new(Inventory { backups, ..Inventory::default() });
    let keys = async |id: &str| {
        let request = PlanRequest { from_backup: Some(id.to_owned()), ..PlanRequest::new(RecoveryTarget::Latest) };
        let (timeline, plan) = reader.plan(timeline.clone(), &request).await.unwrap();
        reader.plan_keys(timeline, &request, &plan.unwrap()).await
    };
    let clear = OtherBase { id: "bb-3".to_owned(), recipients: Vec::new() };
    let sealed = OtherBase { id: "bb-2".to_owned(), recipients };
    assert_eq!(keys("bb-1").await, PlanKeys { log: Vec::new(), others: vec![clear, sealed] });
    assert_eq!(keys("bb-3").await, PlanKeys::default(), "nobody needs a key for it");
}

#[tokio::test]
async fn a_second_attempt_at_an_encrypted_restore_keeps_what_is_there() {
    let memory = Arc::new(MemoryStore::new());
    let (writer, owner) = sealed_pair(&memory);
    let files: Files = vec![("large", content(3, CHUNK_BYTES + 5))];
    take(&writer, "bb-1", &files).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let attempt = |archive: Arc<Archive>| async {
        let reader = BackupReader::open(archive, "bb-1").await.unwrap();
        let entry = reader.entries().iter().find(|entry| entry.path == "large").unwrap().clone();
        reader.restore_entry(&entry, home.path()).await.unwrap()
    };
    let first = attempt(Arc::clone(&owner)).await;
    assert_eq!((first.fetched, first.kept), (CHUNK_BYTES as u64 + 5, 0));
    // Another process, which knows nothing of the key of hashes yet.
    let fresh = Archive::open(Arc::clone(&memory) as Arc<dyn Store>, Arc::new(Timestamp::now));
    let second = attempt(Arc::new(fresh.opened_by(owner.identities().clone()))).await;
    assert_eq!((second.fetched, second.kept), (0, CHUNK_BYTES as u64 + 5));
}
