//! One daemon of a cluster, to be killed, frozen and started again.

use super::Hdfs;
use crate::daemon::Daemon;

/// A daemon of a cluster.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    hdfs: &'a Hdfs,
    daemon: &'a Daemon,
    address: String,
}

impl<'a> Node<'a> {
    pub(super) const fn new(hdfs: &'a Hdfs, daemon: &'a Daemon, address: String) -> Self {
        Self { hdfs, daemon, address }
    }

    /// Where its clients reach it: a NameNode's RPC port, a DataNode's data port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it by SIGKILL; its directories and ports stay.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Stops it by SIGSTOP: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Lets it run on after [`Node::freeze`].
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Starts it on its old ports and directories unless it is there, and waits for nothing.
    pub fn start(&self) {
        self.daemon.start();
    }

    /// [`Node::kill`], [`Node::start`], [`Hdfs::wait_until_ready`].
    pub fn restart(&self) {
        self.kill();
        self.start();
        self.hdfs.wait_until_ready();
    }

    /// Whether it is there and not frozen.
    pub fn is_up(&self) -> bool {
        self.daemon.is_up()
    }

    /// The process id of its JVM, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.daemon.log_tail()
    }
}
