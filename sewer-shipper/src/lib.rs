//! The shipper: sealed segments in, SequenceFiles at a destination out, each event exactly once.
//!
//! The modules, in the order in which the data goes:
//! - [`backlog`] what is sealed, and which run of it is due
//! - [`plan`] what a shipment will be, decided once; [`partition`] which directory an event goes
//!   to; [`journal`] the plans on disk
//! - [`encode`] from segments to the bytes of a file: [`format`] a record, [`access_log`], [`tsv`]
//!   and [`writable`] its bytes, [`codec`] compression, [`sequence_file`] the file around them
//! - [`ship`] write, confirm, publish, delete; [`destination`] where to; [`quarantine`] what is
//!   damaged; [`done`] which partitions are complete
//! - [`worker`] the next shipment; [`attempts`] one shipment, tried until it is delivered,
//!   [`retry`] when again; [`schedule`] some of them at the same time
//! - [`daemon`] for ever; [`replay`] until there is none, [`dry_run`] what that would do
//! - [`config`], [`check`], [`metrics`]; [`cat`] and [`show`] for reading output back; [`audit`]
//!   for proving that nothing is missing

pub mod access_log;
pub mod attempts;
pub mod audit;
pub mod backlog;
pub mod cat;
pub mod check;
pub mod codec;
pub mod config;
pub mod daemon;
pub mod destination;
pub mod done;
pub mod dry_run;
pub mod encode;
pub mod format;
pub mod journal;
pub mod metrics;
pub mod partition;
pub mod plan;
pub mod quarantine;
pub mod replay;
pub mod retry;
pub mod schedule;
pub mod sequence_file;
pub mod ship;
pub mod show;
pub mod tsv;
pub mod worker;
pub mod writable;

#[cfg(test)]
mod testing;
