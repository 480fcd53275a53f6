//! The operator's Hadoop configuration, and the settings that a client is given.
//!
//! The client does not read the files: it is given every property as Hadoop would see it, those
//! that we choose where the operator has said nothing, and the addresses of the `NameNodes`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdfs_native::HdfsError;

use super::cause::HdfsCause;
use super::configuration::{Configuration, ConfigurationError, trim};
use super::namenodes::{IDS, Namenodes, RPC_ADDRESS};
use crate::destination::uri::{Address, Scheme};

/// "simple" or "kerberos".
const AUTHENTICATION: &str = "hadoop.security.authentication";
const DATA_PROTECTION: &str = "dfs.data.transfer.protection";
const FAILOVERS_MAX: &str = "dfs.client.failover.max.attempts";
const PROXY_PROVIDER: &str = "dfs.client.failover.proxy.provider";
const SOCKET_TIMEOUT: &str = "dfs.client.socket-timeout";
const REPLACE_POLICY: &str = "dfs.client.block.write.replace-datanode-on-failure.policy";
const REPLACE_BEST_EFFORT: &str = "dfs.client.block.write.replace-datanode-on-failure.best-effort";
const REPLICATION: &str = "dfs.replication";
const KEY_PROVIDER: &str = "hadoop.security.key.provider.path";
const MOUNT_TABLE: &str = "fs.viewfs.mounttable";

/// What Hadoop's configuration says.
#[derive(Debug, Default)]
pub(super) struct Site {
    dir: Option<PathBuf>,
    configuration: Configuration,
    /// `dfs.replication`, which the client does not look at.
    pub(super) replication: Option<u32>,
}

/// What a client is to talk to, and how.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) url: String,
    pub(super) settings: BTreeMap<String, String>,
    /// Who is asked: of a mount table those of each mount.
    pub(super) namenodes: Vec<Namenodes>,
}

impl Site {
    /// Reads the files of a directory, by default the one Hadoop's environment names. A missing
    /// file says nothing; a directory that was asked for and is missing is an error.
    pub(super) fn read(dir: Option<&Path>) -> Result<Self, ConfigurationError> {
        let named = |variable| env::var_os(variable).filter(|value| !value.is_empty());
        let (dir, named_by) = match (dir, named("HADOOP_CONF_DIR"), named("HADOOP_HOME")) {
            (Some(dir), ..) => (dir.to_owned(), "key `destination.hadoop_conf_dir`"),
            (None, Some(dir), _) => (dir.into(), "environment variable HADOOP_CONF_DIR"),
            (None, None, Some(home)) => match Path::new(&home).join("etc/hadoop") {
                // A home need not have one.
                dir if dir.is_dir() => (dir, "environment variable HADOOP_HOME"),
                _ => return Ok(Self::default()),
            },
            (None, None, None) => return Ok(Self::default()),
        };
        // These must not look like the errors of a call: a missing directory here is not a file
        // that is absent there.
        if let Err(error) = fs::read_dir(&dir) {
            return Err(ConfigurationError::Directory { dir, named_by, error });
        }
        let configuration = Configuration::read(&dir)?;
        let replication = configuration.trimmed(REPLICATION)?.and_then(|value| value.parse().ok());
        Ok(Self { dir: Some(dir), configuration, replication })
    }

    /// Whether the cluster is said to want Kerberos.
    pub(super) fn wants_kerberos(&self) -> bool {
        let how = self.configuration.trimmed(AUTHENTICATION).ok().flatten();
        how.is_some_and(|how| !how.is_empty() && !how.eq_ignore_ascii_case("simple"))
    }

    /// Settings for a client that has a principal: Kerberos, whatever the files say, and where they
    /// say nothing, SASL towards `DataNodes` on ports above 1023, which have it in such a cluster.
    pub(super) fn kerberos_settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![(AUTHENTICATION.to_owned(), "kerberos".to_owned())];
        if !self.has(AUTHENTICATION) && !self.has(DATA_PROTECTION) {
            settings.push((DATA_PROTECTION.to_owned(), "authentication".to_owned()));
        }
        settings
    }

    fn has(&self, name: &str) -> bool {
        self.configuration.file_of(name).is_some()
    }

    /// What the client is given for a destination; `rotation` says with which `NameNode` to begin.
    ///
    /// Retries belong to the shipper, so the client asks each `NameNode` once. A socket timeout
    /// below the limit of a write makes an unreachable `DataNode` an error of its own. A pipeline
    /// that lost a node goes on with the others: the server restores the replication.
    pub(super) fn connection(
        &self,
        address: &Address,
        data_timeout: Duration,
        rotation: usize,
    ) -> Result<Connection, ConfigurationError> {
        let all = self.configuration.all()?;
        let mut settings: BTreeMap<String, String> =
            all.into_iter().map(|(name, value)| (name, trim(&value).to_owned())).collect();
        if !self.wants_kerberos() {
            settings.remove(AUTHENTICATION);
        }
        if self.key_server().is_err() {
            settings.remove(KEY_PROVIDER);
        }
        let (url, namenodes) = match address.scheme {
            Scheme::ViewFs => {
                (address.uri(), self.mounts(&address.authority, &mut settings, rotation)?)
            }
            Scheme::Hdfs | Scheme::File => {
                let namenodes = Namenodes::of(&address.authority, &self.configuration, rotation)?;
                (format!("hdfs://{}", namenodes.authority()), vec![namenodes])
            }
        };
        for namenodes in &namenodes {
            tell(namenodes, &mut settings);
        }
        let most = namenodes.iter().map(|namenodes| namenodes.nodes().len()).max().unwrap_or(1);
        let mut ours = vec![
            (FAILOVERS_MAX, (most - 1).to_string()),
            (SOCKET_TIMEOUT, (data_timeout.as_millis() / 3).max(1).to_string()),
        ];
        if !self.has(REPLACE_POLICY) {
            ours.push((REPLACE_BEST_EFFORT, "true".to_owned()));
        }
        for (name, value) in ours {
            settings.entry(name.to_owned()).or_insert(value);
        }
        Ok(Connection { url, settings, namenodes })
    }

    /// The `NameNodes` of each mount of a table, whose targets are rewritten as the client wants
    /// them.
    fn mounts(
        &self,
        table: &str,
        settings: &mut BTreeMap<String, String>,
        rotation: usize,
    ) -> Result<Vec<Namenodes>, ConfigurationError> {
        let prefix = format!("{MOUNT_TABLE}.{table}.");
        let place = self.place();
        let undefined = |problem: String| Err(ConfigurationError::Undefined(problem));
        let mut namenodes: Vec<Namenodes> = Vec::new();
        for (name, target) in settings.iter_mut().filter(|(name, _)| name.starts_with(&prefix)) {
            let kind = &name[prefix.len()..];
            if kind == "homedir" {
                continue;
            }
            let target_of = target
                .strip_prefix("hdfs://")
                .filter(|_| kind.starts_with("link.") || kind == "linkFallback");
            let Some(rest) = target_of else {
                return undefined(format!(
                    "{name} in {place}: of a mount table, only link.PATH and linkFallback with an \
                     hdfs:// URI are supported; it has {target}"
                ));
            };
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let behind = Namenodes::of(authority, &self.configuration, rotation)?;
            *target = format!("hdfs://{}{path}", behind.authority());
            if !namenodes.contains(&behind) {
                namenodes.push(behind);
            }
        }
        if namenodes.is_empty() {
            return undefined(format!(
                "the mount table {table} is not there: {prefix}link.PATH is to be in {place}"
            ));
        }
        if !settings.contains_key(&format!("{prefix}linkFallback")) {
            return undefined(format!(
                "{prefix}linkFallback is not in {place}: the client needs it; set it to an hdfs:// \
                 URI, or name the NameNode in `destination.uri`"
            ));
        }
        Ok(namenodes)
    }

    /// What it means that the key of a file in an encryption zone cannot be had, for which the
    /// client has `text`.
    pub(super) fn zone(&self, text: &str) -> HdfsCause {
        match self.key_server() {
            Ok(server) => HdfsCause::Zone {
                problem: format!(
                    "its key cannot be had from {server} ({KEY_PROVIDER}): {text}; see whether that \
                     server runs, and whether it lets the shipper's user use the key"
                ),
                needs_a_human: false,
            },
            Err(problem) => HdfsCause::Zone { problem, needs_a_human: true },
        }
    }

    /// What it means that no client can be made: before anything is asked, the client has that
    /// error for its key server only.
    pub(super) fn explain_building(&self, error: HdfsError) -> HdfsCause {
        match error {
            HdfsError::OperationFailed(text) => {
                let server = self.key_server().unwrap_or_default();
                ConfigurationError::Undefined(format!(
                    "{KEY_PROVIDER} is {server}, of no use here: {text}"
                ))
                .into()
            }
            other => other.into(),
        }
    }

    /// The key server that the client can use, or why there is none.
    fn key_server(&self) -> Result<String, String> {
        let place = || self.dir.as_ref().map(|dir| dir.join("core-site.xml").display().to_string());
        let place = place().unwrap_or_else(|| "core-site.xml".to_owned());
        match self.configuration.trimmed(KEY_PROVIDER).ok().flatten() {
            Some(server) if server.starts_with("kms://") => Ok(server),
            Some(other) => Err(format!(
                "{KEY_PROVIDER} is {other}, which only a Java program can use: set it to the \
                 kms:// URI of the cluster's key server, in {place}"
            )),
            None => Err(format!(
                "no key server is known: set {KEY_PROVIDER} to the kms:// URI of the cluster's, in \
                 {place}"
            )),
        }
    }

    /// What delivery survives, for now, and an operator should mend.
    pub(super) fn doubts(&self, namenodes: &[Namenodes]) -> Vec<String> {
        namenodes.iter().filter_map(|namenodes| namenodes.doubt(&self.configuration)).collect()
    }

    /// What to say of a name that was taken for a host, should there be none.
    pub(super) fn hint(&self, guess: &str) -> String {
        format!(
            "if {guess} is a name service, {IDS}.{guess} and {RPC_ADDRESS}.{guess}.ID are to be \
             in {}",
            self.place()
        )
    }

    fn place(&self) -> String {
        match &self.dir {
            Some(dir) => dir.join("hdfs-site.xml").display().to_string(),
            None => {
                "hdfs-site.xml in the directory of `destination.hadoop_conf_dir`, which is not \
                     set"
                .to_owned()
            }
        }
    }
}

/// Tells the client of a name service. All calls go to its active `NameNode`, whatever the operator
/// has for his own clients: an observer may know less than what was written a moment ago, and the
/// shipper looks before it acts.
fn tell(namenodes: &Namenodes, settings: &mut BTreeMap<String, String>) {
    let Some(service) = namenodes.service() else { return };
    settings.remove(&format!("{PROXY_PROVIDER}.{service}"));
    let mut ids = Vec::new();
    for node in namenodes.nodes() {
        let id = node.id.as_deref().unwrap_or_default();
        settings.insert(format!("{RPC_ADDRESS}.{service}.{id}"), node.address.clone());
        ids.push(id);
    }
    settings.insert(format!("{IDS}.{service}"), ids.join(","));
}

#[cfg(test)]
mod tests;
