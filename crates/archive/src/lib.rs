//! Where and how the archive is kept: stores, segments, catalog, base backups.
