//! The shipper and a real HDFS, old ones and one with Kerberos included, and Spark as a reader.

mod addresses;
mod beyond;
mod configuration;
mod conformance;
#[path = "../shipper/contract/mod.rs"]
mod contract;
mod destination;
mod formats;
mod kerberos;
mod old_hadoop;
mod spark;
