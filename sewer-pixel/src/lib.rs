//! The pixel: HTTP in, durable events out. A 204 means the event is on stable storage.
//!
//! The modules, in the order in which the data goes:
//! - [`server`] the pixel port; [`handler`] from a request to its answer
//! - [`head`], [`body`] what a request is; [`request`] from that to an event
//! - [`forwarded`] what a proxy says of the client; [`policy`] what is answered and what recorded
//! - [`commit`] group commit: one fsync for all that wait
//! - [`space`] refuse events before the disk is full
//! - [`daemon`] recover, serve, drain, seal
//! - [`config`] what can be set; [`check`] whether it would work; [`metrics`] what is counted

pub mod body;
pub mod check;
pub mod commit;
pub mod config;
pub mod daemon;
pub mod forwarded;
pub mod handler;
pub mod head;
pub mod metrics;
pub mod policy;
pub mod request;
pub mod server;
pub mod space;
