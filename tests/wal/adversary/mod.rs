//! Logs and segments whose events are bytes of an enemy, torn, flipped, zeroed and filled with
//! other parts afterwards. Nothing is read that was not requested; what the damage does not touch
//! is all there; what is missing is named by LSN; and LSNs never go back, nor on to what was never
//! written.

pub mod enemy;
mod log;
mod scene;
mod segment;
