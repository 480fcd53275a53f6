//! Placeholder.

pub mod destination;
