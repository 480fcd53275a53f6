//! The pixel: HTTP in, durable events out. A 204 means the event is on stable storage.
//!
//! The way of the data through the rooms: a connection comes in by [`net`], is served by [`http`], whose
//! requests are read by [`request`]; [`policy`] says what is answered and what is recorded; [`wal`] has
//! the event durable before the answer goes out. [`metrics`] counts, [`status`] tells, [`config`] is
//! what operators write. [`daemon`] recovers, serves, drains and seals; [`reload`] is what can change
//! meanwhile, [`check`] whether it would work.

pub mod check;
pub mod config;
pub mod daemon;
pub mod http;
mod metrics;
mod net;
pub mod policy;
mod reload;
pub mod request;
pub mod status;
mod wal;
