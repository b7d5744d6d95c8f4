//! What a MySQL or MariaDB binary log is: names, events, checksums, GTID sets and the scanner.
