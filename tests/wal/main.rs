//! The write-ahead log as a library, without a process around it.

mod append;
mod power_cut;
