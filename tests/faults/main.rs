//! The fault matrix: HDFS, its network and the shipper's own machine fail at each step of a
//! shipment. What each row is held to: `sewer_test_support::faults`.

mod datanodes;
mod disks;
mod ha;
mod namenode;
mod network;
mod policy;
mod shipper;
