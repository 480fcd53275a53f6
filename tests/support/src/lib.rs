//! What the integration tests share. It starts real processes, bounds every wait, and leaves
//! nothing running behind it.
//!
//! - [`hdfs`]: a NameNode and DataNodes that can be killed, frozen and restarted.
//! - [`hadoop`]: where Java and Hadoop's jars are, and Hadoop's own classes run as programs.
//! - [`rows`]: SequenceFiles as Hadoop's own reader sees them.
//! - [`lossyfs`]: a file system that loses what was not synced and fails when told to.
//! - [`ports`]: port numbers that stay ours while a daemon is down.
//! - [`random`]: chance that can be repeated.

mod daemon;
pub mod hadoop;
pub mod hdfs;
mod jmx;
pub mod lossyfs;
pub mod ports;
pub mod random;
pub mod rows;
