//! A tiny notation for archives, and timelines and plans drawn as text.
//!
//! ```text
//! A.1 [a1:0 a2:1.5][a3:2] rotate     binlog 1 of server A: two catalogued ranges, one transaction a second or so
//! A.2 [a4:3] a5:4 (a6:5)             a5 is not archived: a hole; a6 lies in the tail
//! A.3 (a7:6 | a8:7) crash            the archive saw a8, the server lost it: what stands behind `|` is in no later file
//! A.1' {} [a1:9]                     after RESET: the same name, another file; `{}` says what was executed before it
//! tail A.2 1..2                      one more range: the transactions 1 and 2 of a file (from 0), in the tail
//! lost A.1 0..1                      the ranges of these transactions cannot be read any more
//! damage A.2 1                       from transaction 1 on the file can't be read
//! backup b1 {a1-2} at 1.7 from A
//! ```
//! Without `{...}` a file begins with what the same server had executed before. A transaction is `GTID:SECONDS` and letters
//! for what is in it: `p` XA prepare, `c` XA commit, `s` statement, `n` non-transactional, `i` incident, `w` whole second.
//! `a7:1@2` was committed at 1 and logged here at 2. `a7` is transaction 7 of server A, `a/red7` has the tag `red`, `0-1-7` is MariaDB's, `-` has no GTID.

mod draw;
mod questions;
mod read;

pub(crate) use draw::draw;
pub(crate) use questions::answer;
pub(crate) use read::read;
