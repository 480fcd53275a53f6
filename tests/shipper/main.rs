//! The shipper with a local directory as its destination: nothing has to be installed for it.

mod addresses;
mod audit;
mod conf;
mod contract;
mod crowded;
mod damage;
mod decoders;
mod delivery;
mod disks;
mod identities;
mod local;
mod losses;
mod markers;
mod node;
mod partitions;
mod plans;
mod read_only;
mod reused;
mod script;
mod shipping;
