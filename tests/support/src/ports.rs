//! Port numbers that stay reserved while the daemon that listens on them is down.
//!
//! A port found by binding to port 0 may be handed to anyone the moment it is released, and lies in
//! the range that outgoing connections are taken from; a daemon that is to come back on its old
//! port needs better. These lie below that range, and a locked file per port keeps other test
//! processes of the same user away from them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's default `ip_local_port_range`, above the well-known services.
const RANGE: Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that is reserved until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// The port's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<number>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// Reserves a port on which nothing listens.
///
/// # Panics
/// If no port of the range is free, or the directory of locks cannot be used.
pub fn reserve() -> Port {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Not the directory for temporary files: processes with different ones share these ports.
    let directory = format!("/tmp/sewer-test-ports-{}", nix::unistd::getuid());
    let directory = Path::new(&directory);
    fs::create_dir_all(directory).expect("create the directory of port locks");
    let count = RANGE.end - RANGE.start;
    // Processes begin at different places, so that they seldom try the same ports.
    let offset = u16::try_from(u64::from(std::process::id()) * 97 % u64::from(count))
        .expect("a remainder of a u16");
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let number = RANGE.start + (offset + step) % count;
        let path = directory.join(number.to_string());
        let lock = File::create(&path).expect("create a port lock");
        if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
            return Port { number, _lock: lock };
        }
    }
    panic!("no free port in {RANGE:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_free_and_is_given_once() {
        let ports: Vec<Port> = (0..20).map(|_| reserve()).collect();
        for (i, port) in ports.iter().enumerate() {
            assert!(RANGE.contains(&port.number()));
            assert!(ports[..i].iter().all(|other| other.number() != port.number()));
            TcpListener::bind(port.address()).expect("nothing listens there");
        }
    }
}
