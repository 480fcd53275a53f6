//! Where output goes: one contract, with HDFS and the local file system behind it.
//!
//! - [`contract`](Destination): what every destination promises
//! - [`Options`]: what a destination needs besides its URI
//! - [`error`](DestinationError): what can go wrong, and what helps
//! - [`publish`] and [`probe`]: what is built on the contract alone
//! - `uri`: which destination a URI names
//! - `local`, `hdfs`: the destinations
//!
//! Not here: naming, formats, plans, and the deletion of segments.

mod contract;
mod entries;
mod error;
mod fingerprint;
mod hdfs;
mod local;
mod options;
mod probe;
mod publish;
mod uri;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use self::contract::{Chunks, CreateOptions, Destination, Lowered, Output};
pub use self::entries::{Entries, Entry};
pub use self::error::{DestinationError, Kind, Result};
pub use self::fingerprint::Fingerprint;
pub use self::options::{Kerberos, Options};
pub use self::probe::probe;
pub use self::publish::{Published, is_published, publish};
pub use self::uri::{refused_by_hdfs, split};

use self::uri::{Scheme, parse};

/// Opens the destination of a URI: `file:///dir`, `hdfs://host:port`, `hdfs://nameservice` or
/// `viewfs://mounttable`, each with an optional path that all paths are taken under.
///
/// Nothing is contacted yet, so that a destination which is down does not keep a process from
/// starting; [`probe`] does that.
pub fn open(uri: &str, options: Options) -> Result<Arc<dyn Destination>> {
    let parsed = parse(uri)?;
    Ok(match parsed.scheme {
        Scheme::File => Arc::new(local::LocalDestination::new(&parsed, options.data_timeout)),
        Scheme::Hdfs | Scheme::ViewFs => Arc::new(hdfs::HdfsDestination::new(&parsed, options)),
    })
}

/// Every property of a directory of Hadoop's configuration files, as a client of HDFS sees it.
pub fn hadoop_properties(dir: &Path) -> Result<BTreeMap<String, String>> {
    hdfs::properties(dir)
        .map_err(|cause| DestinationError::new("read", dir.display().to_string(), cause))
}
