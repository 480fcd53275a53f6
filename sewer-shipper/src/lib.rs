#![doc = include_str!("../README.md")]

pub mod commands;
pub mod config;
pub mod daemon;
pub mod destination;
pub mod hadoop;
pub mod metrics;
pub mod plan;
pub mod record;
pub mod ship;
