//! Both daemons together, from the request to the destination, a real HDFS or a local directory.

mod bad_input;
mod crash;
mod end_to_end;
mod fields;
mod full_disk;
mod hangs;
mod markers;
mod outage;
mod status_port;
mod surroundings;
mod telling;
