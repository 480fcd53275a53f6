//! The write-ahead log as a library, without a process around it.

mod adversary;
mod append;
mod bad_blocks;
mod common;
mod format_1;
mod identity;
mod identity_model;
mod power_cut;
mod sizes;
