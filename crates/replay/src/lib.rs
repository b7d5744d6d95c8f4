//! A replication source that feeds a restoring server from the archive.
