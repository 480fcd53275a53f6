//! Where connections come from: [`listen`] the sockets, [`proxy`] and [`tls`] what comes before HTTP.

pub(crate) mod listen;
pub mod proxy;
pub(crate) mod tls;
