//! What the integration tests share. It starts real processes, bounds every wait, and leaves
//! nothing running behind it.
//!
//! - [`hdfs`]: a NameNode and DataNodes that can be killed, frozen and restarted.
//! - [`hadoop`]: where Java and Hadoop's jars are, and Hadoop's own classes run as programs.
//! - [`rows`]: SequenceFiles as Hadoop's own reader sees them.
//! - [`ports`]: port numbers that stay ours while a daemon is down.

mod daemon;
pub mod hadoop;
pub mod hdfs;
mod jmx;
pub mod ports;
pub mod rows;
