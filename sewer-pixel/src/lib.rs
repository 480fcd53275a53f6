//! The pixel: HTTP in, durable events out. A 204 means the event is on stable storage.
//!
//! The modules, in the order in which the data goes:
//! - [`server`] the pixel port; [`request`] from a request to an event
//! - [`commit`] group commit: one fsync for all that wait
//! - [`space`] refuse events before the disk is full
//! - [`daemon`] recover, serve, drain, seal
//! - [`config`] what can be set; [`check`] whether it would work; [`reload`] what can change
//! - [`metrics`] what is counted; [`sampler`] looks at it now and then, for [`rates`], and for the
//!   [`history`] (of [`latency`], among others) that [`history_file`] keeps
//! - [`report`] what of it the status port tells

pub mod check;
pub mod commit;
pub mod config;
pub mod daemon;
pub mod history;
pub mod history_file;
pub mod latency;
pub mod metrics;
pub mod rates;
pub mod reload;
pub mod report;
pub mod request;
pub mod sampler;
pub mod server;
pub mod space;
