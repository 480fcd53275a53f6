//! What is borrowed from a request: its [`head`]; the [`peer`] that sent it, and what a trusted proxy
//! says of the client ([`forwarded`]).

pub mod forwarded;
pub mod head;
pub mod peer;
