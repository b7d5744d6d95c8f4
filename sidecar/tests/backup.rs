//! `pitr-sidecar backup` against a real server: what is stored, and what is refused before anything is.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rig;

use std::time::Duration;

use self::rig::{Rig, listing, server_program_of, state};

#[tokio::test]
async fn a_clone_and_a_dump_hold_exactly_what_the_server_had_executed() {
    let Some(rig) = Rig::new().await else { return };
    let before = state(&rig.server).await;
    for method in ["clone", "dump"] {
        let outcome = rig.backup(method, &[]).await;
        let verdict = outcome.expect_result("stored");
        assert_eq!((&verdict["method"], &verdict["gtidSet"]), (&method.into(), &before.executed.as_str().into()));
        let id = verdict["id"].as_str().unwrap();
        assert!(rig.path("archive/backups").join(id).join("manifest.json").is_file());
        assert!(verdict["rawBytes"].as_u64().unwrap() > verdict["storedBytes"].as_u64().unwrap());
        assert!(outcome.stderr.contains(&format!("\"method\":\"{method}\"")), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("\"phase\":\"read-back\""), "{}", outcome.stderr);
    }
    // The server is as it was, and scratch is empty but for its lock.
    assert_eq!(state(&rig.server).await, before);
    assert_eq!(rig.server.value::<u32>("SELECT COUNT(*) FROM mysql.user").await.unwrap(), 5);
    assert_eq!(listing(&rig.path("scratch")), [rig.path("scratch/.pitr-scratch.lock")]);
}

#[tokio::test]
async fn a_clone_is_refused_with_every_reason_and_what_helps() {
    let Some(rig) = Rig::new().await else { return };
    let older = server_program_of(rig.home.path(), "8.4.6");
    rig.backup("clone", &["--mysqld", &older]).await.expect(
        4,
        "refused",
        "PITR0801",
        "the mysqld at hand is 8.4.6, the server is 9.7.",
    );
    rig.backup("auto", &["--mysqld", "/bin/no-such-program"]).await.expect(
        4,
        "refused",
        "PITR0801",
        "is not a server program",
    );

    rig.server.sql("CREATE TABLE shop.flat (i INT) ENGINE = MyISAM; INSERT INTO shop.flat VALUES (1)").await.unwrap();
    let rows = rig.backup("clone", &[]).await;
    rows.expect(
        4,
        "refused",
        "PITR0801",
        "1 table with rows outside InnoDB: shop.flat (MyISAM), which clone copies empty",
    );
    assert!(rows.stderr.contains("fix:  --allow-empty-non-innodb"), "{}", rows.stderr);
    // An account that may not look into the table: the copy knows that it is there.
    rig.server.sql("REVOKE SELECT ON *.* FROM pitr@'%'").await.unwrap();
    rig.backup("clone", &[]).await.expect(4, "refused", "PITR0801", "shop.flat (MyISAM), which clone copies empty");
    rig.server.sql("DROP TABLE shop.flat").await.unwrap();

    rig.server.sql("REVOKE BACKUP_ADMIN ON *.* FROM pitr@'%'; UNINSTALL PLUGIN clone").await.unwrap();
    let outcome = rig.backup("clone", &[]).await;
    outcome.expect(4, "refused", "PITR0801", "clone is not possible: the CLONE plugin is not active, no BACKUP_ADMIN");
    for fix in
        ["INSTALL PLUGIN clone SONAME 'mysql_clone.so';", "GRANT BACKUP_ADMIN ON *.* TO 'pitr'@...;", "--method dump"]
    {
        assert!(outcome.stderr.contains(&format!("fix:  {fix}")), "{}", outcome.stderr);
    }
    assert!(listing(&rig.path("archive")).is_empty());
}

#[tokio::test]
async fn a_dump_is_refused_where_it_would_not_be_exact() {
    let Some(rig) = Rig::new().await else { return };
    let prepare = "XA START 'a'; INSERT INTO shop.stock VALUES (1000, 1, NULL); XA END 'a'; XA PREPARE 'a'";
    rig.server.sql(prepare).await.unwrap();
    let prepared = rig.backup("dump", &[]).await;
    prepared.expect(4, "refused", "PITR0801", "1 XA transactions are prepared, whose rows a dump cannot hold");
    // CLONE keeps prepared transactions, so it is what auto takes.
    assert_eq!(rig.backup("auto", &[]).await.expect_result("stored")["method"], "clone");
    rig.server.sql("XA ROLLBACK 'a'").await.unwrap();

    rig.server.sql("REVOKE XA_RECOVER_ADMIN ON *.* FROM pitr@'%'").await.unwrap();
    rig.backup("dump", &[]).await.expect(4, "refused", "PITR0801", "GRANT XA_RECOVER_ADMIN ON *.* TO 'pitr'@...;");
    rig.server.sql("GRANT XA_RECOVER_ADMIN ON *.* TO pitr@'%'").await.unwrap();

    rig.server.sql("CREATE TABLE shop.flat (i INT) ENGINE = MyISAM; INSERT INTO shop.flat VALUES (1)").await.unwrap();
    rig.backup("dump", &[]).await.expect(4, "refused", "PITR0801", "fix:  --lock-tables");
    rig.backup("dump", &["--lock-tables"]).await.expect_result("stored");
}

#[tokio::test]
async fn who_may_not_come_in_or_has_no_archive_is_told_so() {
    let Some(rig) = Rig::new().await else { return };
    rig.option_file("pitr", "guessed");
    let outcome = rig.backup("auto", &[]).await;
    outcome.expect(1, "failed", "PITR0802", "error 1045: Access denied for user 'pitr'");
    assert!(!outcome.stderr.contains("guessed"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("fix:  user and password in"), "{}", outcome.stderr);
    rig.option_file("pitr", "open sesame");

    let port = rig.server.port().to_string();
    let [archive, client] = [rig.archive(), rig.path("client.cnf").display().to_string()];
    let mysqldump = rig.installation.program("mysqldump").display().to_string();
    let mut nameless =
        vec!["backup", "--archive", &archive, "--method", "dump", "--mysql", &client, "--mysql-port", &port];
    nameless.extend(["--mysqldump", &mysqldump]);
    rig.run(&nameless).await.expect(1, "failed", "PITR0603", "holds no archive");
    assert!(!rig.path("archive").exists());

    rig.backup("dump", &["--workload", "billing/db"]).await.expect_result("stored");
    rig.backup("dump", &[]).await.expect(4, "refused", "PITR0207", "holds the archive of \"billing/db\"");
    // Once there is an archive it knows its own name.
    rig.run(&nameless).await.expect_result("stored");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    rig.backup("dump", &["--mysql-port", &closed]).await.expect(1, "failed", "PITR0802", "fix:  host and port in");
}

/// A server makes certificates for itself that name no host.
#[tokio::test]
async fn a_servers_own_certificate_is_checked_by_its_authority() {
    let Some(rig) = Rig::new().await else { return };
    let with = |mode: &str, authority: &str| {
        let ca = rig.server.datadir().join(authority);
        rig.option_file_with("pitr", "open sesame", &format!("ssl-mode={mode}\nssl-ca={}\n", ca.display()));
    };
    with("VERIFY_CA", "ca.pem");
    rig.backup("dump", &[]).await.expect_result("stored");
    // Signed by nobody who is named; then by the right one, but for no host.
    with("VERIFY_CA", "server-cert.pem");
    rig.backup("dump", &[]).await.expect(1, "failed", "PITR0802", "invalid peer certificate: UnknownIssuer");
    with("VERIFY_IDENTITY", "ca.pem");
    rig.backup("dump", &[]).await.expect(1, "failed", "PITR0802", "certificate not valid for name \"127.0.0.1\"");
}

#[tokio::test]
async fn an_interrupted_backup_leaves_nothing_behind() {
    let Some(rig) = Rig::new().await else { return };
    let (archive, mysqld) = (rig.archive(), rig.installation.program("mysqld").display().to_string());
    let [client, scratch] = ["client.cnf", "scratch"].map(|name| rig.path(name).display().to_string());
    let arguments =
        ["backup", "--archive", &archive, "--workload", "test/mysql", "--method", "clone", "--mysql", &client];
    let mut command = rig.program(&arguments);
    command.args(["--mysqld", &mysqld, "--scratch", &scratch]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    // A server works on scratch.
    while rig::processes_with(&format!("--datadir={scratch}")).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = rig.backup("clone", &[]).await;
    second.expect(1, "failed", "PITR0802", "another backup is using the scratch directory");
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().await.unwrap();
    assert_eq!(status.code(), Some(130));
    while !rig::processes_with(&scratch).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(listing(&rig.path("scratch")), [rig.path("scratch/.pitr-scratch.lock")]);
    let manifests = listing(&rig.path("archive/backups")).into_iter().filter(|path| path.ends_with("manifest.json"));
    assert_eq!(manifests.count(), 0);
}
