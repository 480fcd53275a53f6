//! `--check`: would this configuration work here? One line each; nothing is changed.

use std::net::TcpListener;
use std::path::Path;

use sewer_ops::check::{can_be_made, print, writable};
use sewer_ops::descriptors;
use sewer_wal::{Layout, WalError, WalLock, look_up_identity};

use crate::config::Config;
use crate::http::limits::connections_max;
use crate::net::listen::listen;
use crate::net::tls::Tls;
use crate::wal::space::{INODES_MIN, free_inodes};

/// Prints a line per thing that must work; `true` if all do.
pub fn run(config: &Config) -> bool {
    let mut results = vec![
        ("WAL directory", wal_directory(&config.wal.dir)),
        ("pixel port", port(listen(config.pixel.listen, "pixel.listen"))),
        ("status port", port(listen(config.status.listen, "status.listen"))),
        ("open files", open_files(config)),
    ];
    results.extend(config.pixel.tls.as_ref().map(|tls| {
        let used = format!("{} and {}", tls.cert.display(), tls.key.display());
        ("certificate", Tls::load(tls).map(|_| used).map_err(|e| e.to_string()))
    }));
    print(&results)
}

fn port(listener: anyhow::Result<TcpListener>) -> Result<String, String> {
    let listener = listener.map_err(|e| format!("{e:#}"))?;
    listener.local_addr().map(|address| address.to_string()).map_err(|e| e.to_string())
}

fn open_files(config: &Config) -> Result<String, String> {
    let (files, workers) = (descriptors::raise()?, config.workers());
    let (wanted, connections) = (config.pixel.max_connections, connections_max(config, files));
    let enough =
        format!("{files}, enough for {workers} workers with {connections} connections each");
    Ok(if connections < wanted {
        format!("{enough}, and not for pixel.max_connections = {wanted}; raise it (LimitNOFILE=)")
    } else {
        enough
    })
}

fn wal_directory(dir: &Path) -> Result<String, String> {
    if !dir.exists() {
        return can_be_made(dir, "wal.dir");
    }
    writable(dir)?;
    if let Some(inodes) = free_inodes(dir).filter(|inodes| *inodes < INODES_MIN) {
        return Err(format!(
            "{}: {inodes} inodes are free; {INODES_MIN} are needed",
            dir.display()
        ));
    }
    let layout = Layout::new(dir);
    if !layout.lock_file().exists() {
        return Ok(format!("{} is there, without a WAL yet", dir.display()));
    }
    WalLock::acquire(&layout).map_err(|e| e.to_string())?;
    let dir = dir.display();
    match look_up_identity(&layout) {
        Ok(Some(identity)) => Ok(format!("{dir} holds the WAL {}", identity.id)),
        Ok(None) => Ok(format!("{dir} holds no WAL yet")),
        Err(e @ WalError::BadIdentity { .. }) => Ok(e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}
