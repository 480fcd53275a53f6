//! Requests, read and borrowed: [`parse`] their heads, [`head`] what is borrowed from one; the
//! [`peer`] that sent it, and what a trusted proxy says of the client ([`forwarded`], [`address`]).

pub mod address;
pub mod forwarded;
pub mod head;
pub mod parse;
pub mod peer;
