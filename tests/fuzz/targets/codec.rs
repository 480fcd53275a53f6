//! The stream of any codec.
#![no_main]

#[allow(dead_code)] // Each target uses one of the properties.
#[path = "../../shipper/decoders/properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::codecs(data));
