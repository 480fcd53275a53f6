//! `--check`: would this configuration work here? One line each. Only the destination is written
//! to: a hidden probe file that is removed again.

use std::path::Path;

use nix::unistd::{AccessFlags, access};
use sewer_wal::{Layout, WalId};

use crate::config::Config;
use crate::destination::{self, probe};

/// Prints a line per thing that must work; `true` if all do.
pub async fn run(config: &Config) -> bool {
    println!("ok    configuration");
    let results = [
        ("WAL directory", wal_directory(&config.wal.dir)),
        ("shipper directory", shipper_directory(&config.shipper.dir)),
        ("status port", port(config)),
        ("destination", destination(config).await),
    ];
    for (what, result) in &results {
        match result {
            Ok(found) => println!("ok    {what}: {found}"),
            Err(problem) => println!("FAIL  {what}: {problem}"),
        }
    }
    results.iter().all(|(_, result)| result.is_ok())
}

fn writable(dir: &Path) -> Result<(), String> {
    access(dir, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|e| format!("{}: {}", dir.display(), e.desc()))
}

fn wal_directory(dir: &Path) -> Result<String, String> {
    let layout = Layout::new(dir);
    let id = WalId::load(&layout).map_err(|e| e.to_string())?.ok_or_else(|| {
        format!("there is no WAL in {}: start sewer-pixel first, or set wal.dir", dir.display())
    })?;
    writable(&layout.sealed_dir())?;
    Ok(format!("{} holds the WAL {id}", dir.display()))
}

fn shipper_directory(dir: &Path) -> Result<String, String> {
    if dir.exists() {
        writable(dir)?;
        return Ok(format!("{} is there", dir.display()));
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    writable(parent).map_err(|e| format!("{e}; make it, or set shipper.dir"))?;
    Ok(format!("{} will be made", dir.display()))
}

fn port(config: &Config) -> Result<String, String> {
    let address = config.status.listen;
    std::net::TcpListener::bind(address)
        .map(|_| address.to_string())
        .map_err(|e| format!("listen on {address} (key `status.listen`): {e}"))
}

async fn destination(config: &Config) -> Result<String, String> {
    let uri = &config.destination.uri;
    let open = destination::open(uri, config.destination_options()).map_err(|e| e.to_string())?;
    let dir = fixed_part(&config.destination.path);
    probe(&*open, &dir).await.map_err(|e| e.to_string())?;
    Ok(format!("wrote, renamed and removed a file in {dir} of {}", open.describe()))
}

/// The directories of the template before the first that depends on the event.
pub(crate) fn fixed_part(template: &str) -> String {
    let fixed: Vec<_> = template.split('/').take_while(|name| !name.contains('%')).collect();
    match fixed.join("/") {
        path if path.is_empty() => "/".to_owned(),
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_goes_where_every_partition_is() {
        assert_eq!(fixed_part("/sewer/%Y-%m-%d/%H"), "/sewer");
        assert_eq!(fixed_part("/%Y"), "/");
        assert_eq!(fixed_part("/a/b/c-%H/d"), "/a/b");
    }
}
