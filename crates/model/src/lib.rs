//! The rules of the archive's commit protocol, model-checked. There is no code here: the models are tests.
//!
//! ```sh
//! cargo test -p pitr-model --features stateright -- --nocapture
//! ```
//! Each test is named after a rule of docs/archive-format.md. It explores every interleaving of a small world (archivers,
//! retention, a reader, crashes between any two requests, requests that arrive late) and asserts two things: with the rule the
//! world keeps its promises, and without it, all else being equal, it breaks one of them. The shortest way there is printed.
