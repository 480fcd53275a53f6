//! `--check`: would this configuration work here? One line each; nothing is changed.

use std::net::TcpListener;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use sewer_wal::Layout;
use sewer_wal::identity::{WalId, WalLock};

use crate::config::Config;
use crate::listen::listen;
use crate::tls::Tls;

/// Prints a line per thing that must work; `true` if all do.
pub fn run(config: &Config) -> bool {
    println!("ok    configuration");
    let tls = config.pixel.tls.as_ref().map(|tls| {
        let used = format!("{} and {}", tls.cert.display(), tls.key.display());
        ("certificate", Tls::load(tls).map(|_| used).map_err(|e| e.to_string()))
    });
    let results = [
        ("WAL directory", wal_directory(&config.wal.dir)),
        ("pixel port", port(listen(config.pixel.listen, "pixel.listen"))),
        ("status port", port(listen(config.status.listen, "status.listen"))),
    ];
    let results: Vec<_> = results.into_iter().chain(tls).collect();
    for (what, result) in &results {
        match result {
            Ok(found) => println!("ok    {what}: {found}"),
            Err(problem) => println!("FAIL  {what}: {problem}"),
        }
    }
    results.iter().all(|(_, result)| result.is_ok())
}

fn port(listener: anyhow::Result<TcpListener>) -> Result<String, String> {
    let listener = listener.map_err(|e| format!("{e:#}"))?;
    listener.local_addr().map(|address| address.to_string()).map_err(|e| e.to_string())
}

fn wal_directory(dir: &Path) -> Result<String, String> {
    let writable = |dir: &Path| {
        access(dir, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|e| format!("{}: {}", dir.display(), e.desc()))
    };
    if !dir.exists() {
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        writable(parent).map_err(|e| format!("{e}; make it, or set wal.dir"))?;
        return Ok(format!("{} will be made", dir.display()));
    }
    writable(dir)?;
    let layout = Layout::new(dir);
    if !layout.lock_file().exists() {
        return Ok(format!("{} is there, without a WAL yet", dir.display()));
    }
    WalLock::acquire(&layout).map_err(|e| e.to_string())?;
    let id = WalId::load(&layout).map_err(|e| e.to_string())?;
    Ok(format!("{} holds the WAL {}", dir.display(), id.map_or("-".into(), |id| id.to_string())))
}
