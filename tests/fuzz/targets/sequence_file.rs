//! A SequenceFile and its rows.
#![no_main]

#[allow(dead_code)] // Each target uses one of the properties.
#[path = "../../shipper/decoders/properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(properties::sequence_file(data)));
