//! The pixel as a process: what it answers, records, refuses and says, and how it stops. Suites
//! that measure it under load have a process of their own: `abuse.rs`, `slow_disk.rs`.

mod answers;
mod bodies;
mod conf;
mod conformance;
mod crash;
mod dashboard;
mod first_flight;
mod http;
mod nginx;
mod operation;
mod pipelines;
mod privacy;
mod proxy;
mod refusals;
mod requests;
mod room;
mod routes;
mod senders;
mod tls;
mod upgrade;
mod wal_dir;
