//! The pixel port: [`server`] its workers, from a connection to the answers of its requests.

pub mod connection;
pub(crate) mod connections;
pub(crate) mod direct;
pub(crate) mod guarded;
pub(crate) mod handler;
pub mod intake;
pub(crate) mod server;
pub mod simple;
