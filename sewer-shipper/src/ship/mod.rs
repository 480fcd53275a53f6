//! Shipments: planned, carried out, tried again until they are delivered, several at a time.

pub(crate) mod backoff;
pub(crate) mod deliver;
pub(crate) mod done_marker;
pub(crate) mod encode;
mod error;
pub(crate) mod open;
pub mod planner;
pub(crate) mod quarantine;
pub mod schedule;
mod shipment;

pub use self::error::ShipError;
pub use self::open::OpenError;
pub use self::shipment::{Shipment, Tools};
