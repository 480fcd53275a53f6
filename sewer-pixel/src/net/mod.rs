//! Where connections come from: [`listen`] the sockets, [`tls`] the certificate, [`stream`] the
//! bytes of a connection, plain or encrypted.

pub(crate) mod listen;
pub(crate) mod stream;
pub(crate) mod tls;
