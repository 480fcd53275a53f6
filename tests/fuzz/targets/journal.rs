//! A file in the journal.
#![no_main]

#[allow(dead_code)] // Each target uses one of the properties.
#[path = "../../shipper/decoders/properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::journal(
    data,
    "00000000000000000000-00000000000000000009.json"
));
