//! A file system that loses what was not synced, fails when told to, and stops at any operation.
//!
//! It is mounted through FUSE, so that unmodified programs run on it, and keeps everything in
//! memory, in two states: what processes see, and what a power cut would leave.
//!
//! ```no_run
//! use sewer_test_support::lossyfs::{LossyFs, Rules, Survival};
//! let fs = LossyFs::mount(&Default::default(), Rules::Strict).unwrap();
//! fs.cut_before(17);
//! // … run something on fs.path() until fs.is_cut(), kill it …
//! let after = LossyFs::mount(&fs.survivors(Survival::Synced), Rules::Strict).unwrap();
//! // … run it again on after.path(): it must find all that it ever promised.
//! ```
//! - `content` the bytes of a file; `tree` the names; `survive` what is left of both
//! - `control` which operations happen; `fuse` what the kernel asks; `calls` how that is done;
//!   `mount` the mount
//!
//! Operations are numbered from 1 in the order in which they are carried out; with several threads
//! that order differs from run to run. It does not keep owners, times or extended attributes, and
//! locks are the kernel's own: a lock goes with its process and is never lost in a power cut.

mod calls;
mod content;
mod control;
mod fuse;
mod mount;
mod survive;
mod tree;

pub use control::{Effect, Fault, Op};
pub use mount::{LossyFs, available_or_skip};
pub use survive::{Image, Moment, Survival};
pub use tree::Rules;
