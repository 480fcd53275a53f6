//! The commands of `sewer-shipper` that do one thing and end: a file for each.

pub mod audit;
pub mod cat;
pub mod check;
pub mod dry_run;
mod overlay;
pub mod replay;
