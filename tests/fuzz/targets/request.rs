//! What comes on a connection of the pixel.
#![no_main]

#[path = "../../pixel/requests/properties.rs"]
mod properties;

std::thread_local! {
    static TRIAL: properties::Trial = properties::Trial::new();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    TRIAL.with(|trial| trial.requests(data));
});
