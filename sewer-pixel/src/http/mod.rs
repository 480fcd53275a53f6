//! The pixel port, from a connection to the answers of its requests.
//!
//! [`server`] starts and stops the workers. A [`worker`] accepts connections and makes them ready;
//! each is then served by one loop ([`exchange`]), whatever comes on it, plain or encrypted: a head
//! is read ([`crate::request::parse`]) and held to the [`limits`], its [`body`] is read, the
//! [`handler`] has the event recorded, and the answer is written ([`reply`]) before the next
//! request is looked at. [`connection`] is the phase that a connection is in and its limit in time,
//! which [`connections`] keeps for all of a worker; [`unread`] what has come too early.
//! [`refusals`] shows the operator what is refused.

mod body;
mod connection;
mod connections;
mod exchange;
mod handler;
pub mod limits;
pub(crate) mod refusals;
mod reply;
pub(crate) mod server;
mod unread;
pub(crate) mod worker;
