#![doc = include_str!("../README.md")]

pub mod check;
pub mod config;
pub mod daemon;
pub mod http;
mod metrics;
mod net;
pub mod policy;
mod reload;
pub mod request;
pub mod status;
mod wal;
