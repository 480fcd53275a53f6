//! The shipper with a local directory as its destination: nothing has to be installed for it.

mod addresses;
mod audit;
mod conf;
mod contract;
mod damage;
mod decoders;
mod delivery;
mod identities;
mod local;
mod losses;
mod node;
mod partitions;
mod plans;
mod shipping;
