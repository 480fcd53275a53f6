//! The pixel as a process: what it answers, records, refuses and says, and how it stops. Suites
//! that measure it under load have a process of their own: `abuse.rs`, `slow_disk.rs`.

mod answers;
mod conf;
mod conformance;
mod crash;
mod dashboard;
mod http;
mod operation;
mod privacy;
mod proxy;
mod requests;
mod routes;
mod tls;
mod upgrade;
