//! The pixel: HTTP in, durable events out. A 204 means the event is on stable storage.
//!
//! The modules, in the order in which the data goes:
//! - [`listen`] where connections come in; [`server`] the pixel port
//! - [`proxy`] and [`tls`] what comes before HTTP; [`stream`], [`connection`] and [`sweep`] what a
//!   connection may do
//! - [`direct`] the short way of a simple request, and [`simple`] what is one
//! - [`handler`] from a request to its answer; [`intake`] what a request may be
//! - [`head`] what is borrowed from a request; [`forwarded`] what a proxy says of its sender;
//!   [`request`] from both to an event
//! - [`policy`] what is answered and what is recorded
//! - [`lane`] from a worker to the committer; [`commit`] group commit: one fsync for all that wait
//! - [`space`] refuse events before the disk is full
//! - [`daemon`] recover, serve, drain, seal
//! - [`config`] what can be set; [`check`] whether it would work; [`reload`] what can change
//! - [`metrics`] what is counted; [`sampler`] looks at it now and then, for [`rates`], and for the
//!   [`history`] (of [`latency`], among others) that [`history_file`] keeps
//! - [`report`] what of it the status port tells

pub mod check;
pub mod commit;
pub mod config;
pub mod connection;
pub mod daemon;
pub mod direct;
pub mod forwarded;
pub mod handler;
pub mod head;
pub mod history;
pub mod history_file;
pub mod intake;
pub mod lane;
pub mod latency;
pub mod listen;
pub mod metrics;
pub mod policy;
pub mod proxy;
pub mod rates;
pub mod reload;
pub mod report;
pub mod request;
pub mod sampler;
pub mod server;
pub mod simple;
pub mod space;
pub mod stream;
pub mod sweep;
pub mod tls;
