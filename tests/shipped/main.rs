//! What is shipped beside the binaries: systemd units and the quickstart.

mod packaging;
mod quickstart;
