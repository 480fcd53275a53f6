//! The shipper: sealed segments in, SequenceFiles at a destination out, each event exactly once.
//!
//! The way of the data: [`plan`] finds what is sealed, decides what a shipment will be and writes
//! that down; [`ship`] carries the plan out, write, confirm, publish, delete, and tries again until
//! it is delivered; [`record`] makes an event a record and [`hadoop`] the bytes around it;
//! [`destination`] is where they go. [`daemon`] does that forever, [`commands`] once, or they look
//! and change nothing.

pub mod commands;
pub mod config;
pub mod daemon;
pub mod destination;
pub mod hadoop;
pub mod metrics;
pub mod plan;
pub mod record;
pub mod ship;
