//! The test support itself: the proxy, the file system and the HDFS that the other suites stand on.

mod hadoop;
mod lossy_fs;
mod proxy;
mod rooms;
