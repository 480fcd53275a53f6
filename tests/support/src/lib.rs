//! What the integration tests share. It starts real processes, bounds every wait, and leaves
//! nothing running behind it.
//!
//! - [`pixel`]: a pixel that can be killed and started again, and its WAL read by `sewer-wal`.
//! - [`shipper`]: a shipper likewise, on the WAL of such a pixel.
//! - [`process`]: any of our programs, started, signalled and waited for.
//! - [`watch`]: what makes an end of those that outlive the test process.
//! - [`supervised`]: one of them as its supervisor hears it.
//! - [`load`]: numbered pixels, and the exact record of which were acknowledged.
//! - [`varied`]: pixels of every kind, each with the row that it must become.
//! - [`wal`], [`backlog`]: WALs written by the library, with any events, or with very many.
//! - [`http`], [`metrics`]: what the daemons answer.
//! - [`conf`]: the files of `conf/` held to the code.
//! - [`hdfs`]: a NameNode and DataNodes that can be killed, frozen and restarted.
//! - [`kdc`]: a Kerberos KDC likewise, and an HDFS that wants its tickets.
//! - [`hadoop`]: where Java and Hadoop's jars are, and Hadoop's own classes run as programs.
//! - [`faults`]: HDFS misbehaving while the pixel is under load, and what must hold afterwards.
//! - [`rows`]: SequenceFiles as Hadoop's own reader sees them.
//! - [`proxy`]: a TCP proxy that refuses, resets, swallows and delays, at a chosen call of
//!   Hadoop's.
//! - [`spark`]: Spark in local mode.
//! - [`lossyfs`]: a file system that loses what was not synced and fails when told to.
//! - [`sweep`]: many runs of one test at different points.
//! - [`tools`]: programs that are not ours.
//! - [`command`], [`ports`], [`random`]: programs run to their end, port numbers that stay ours
//!   while a daemon is down, chance that can be repeated.

pub mod backlog;
pub mod command;
pub mod conf;
mod daemon;
pub mod faults;
pub mod hadoop;
pub mod hdfs;
pub mod http;
mod jmx;
pub mod kdc;
pub mod load;
pub mod lossyfs;
pub mod metrics;
pub mod pixel;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod random;
pub mod rows;
pub mod shipper;
pub mod small_disk;
pub mod spark;
pub mod supervised;
pub mod sweep;
pub mod tools;
pub mod varied;
pub mod wal;
pub mod watch;
