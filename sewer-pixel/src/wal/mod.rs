//! From the HTTP workers to the write-ahead log: [`submit`] a worker's side, [`lane`] where a
//! worker and the committer meet, [`commit`] group commit, [`space`] events are refused before the
//! disk is full.

pub(crate) mod commit;
pub(crate) mod lane;
pub(crate) mod space;
pub(crate) mod submit;
