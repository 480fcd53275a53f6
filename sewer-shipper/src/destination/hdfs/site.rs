//! The operator's Hadoop XML, and the client settings that we choose where it is silent.
//!
//! hdfs-native reads the same files itself; they are read here to know what not to override, for
//! `dfs.replication`, which it ignores, and for the order of the `NameNodes`. Properties that
//! come in through external XML entities are not seen here.

use std::collections::HashMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdfs_native::HdfsError;
use roxmltree::{Document, ParsingOptions};

use crate::destination::error::Cause;

/// "simple" or "kerberos".
const AUTHENTICATION: &str = "hadoop.security.authentication";
const DATA_PROTECTION: &str = "dfs.data.transfer.protection";
const FAILOVERS_MAX: &str = "dfs.client.failover.max.attempts";
const SOCKET_TIMEOUT: &str = "dfs.client.socket-timeout";
const REPLACE_POLICY: &str = "dfs.client.block.write.replace-datanode-on-failure.policy";
const REPLACE_BEST_EFFORT: &str = "dfs.client.block.write.replace-datanode-on-failure.best-effort";
const REPLICATION: &str = "dfs.replication";
const NAMENODES: &str = "dfs.ha.namenodes";

/// What `core-site.xml` and `hdfs-site.xml` say.
#[derive(Debug, Default)]
pub(super) struct Site {
    dir: Option<PathBuf>,
    properties: HashMap<String, String>,
    /// `dfs.replication`.
    pub(super) replication: Option<u32>,
}

impl Site {
    /// Reads the files of a directory, by default the one Hadoop's environment names. A missing
    /// file says nothing; a directory that was asked for and is missing is an error.
    pub(super) fn read(dir: Option<&Path>) -> Result<Self, Cause> {
        // These must not look like the errors of a call: a missing directory here is not a file
        // that is absent there.
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |error| Cause::Site { path, error }
        };
        if let Some(dir) = dir {
            std::fs::read_dir(dir).map_err(unreadable(dir))?;
        }
        let Some(dir) = dir.map(Path::to_owned).or_else(from_environment) else {
            return Ok(Self::default());
        };
        let mut properties = HashMap::new();
        for file in ["core-site.xml", "hdfs-site.xml"] {
            let path = dir.join(file);
            match std::fs::read_to_string(&path) {
                Ok(text) => properties.extend(parse(&text).map_err(HdfsError::from)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(&path)(error)),
            }
        }
        let replication = properties.get(REPLICATION).and_then(|value| value.trim().parse().ok());
        Ok(Self { dir: Some(dir), properties, replication })
    }

    /// Where the files are, as the client wants it.
    pub(super) fn dir(&self) -> Option<String> {
        self.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned())
    }

    /// Whether the cluster is said to want Kerberos.
    pub(super) fn wants_kerberos(&self) -> bool {
        self.properties.get(AUTHENTICATION).is_some_and(|how| how.trim() != "simple")
    }

    /// Settings for a client that has a principal: Kerberos, whatever the files say, and where they
    /// say nothing, SASL towards `DataNodes` on ports above 1023, which have it in such a cluster.
    pub(super) fn kerberos_settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![(AUTHENTICATION.to_owned(), "kerberos".to_owned())];
        if !self.properties.contains_key(AUTHENTICATION)
            && !self.properties.contains_key(DATA_PROTECTION)
        {
            settings.push((DATA_PROTECTION.to_owned(), "authentication".to_owned()));
        }
        settings
    }

    /// Settings for the client, on top of the files.
    ///
    /// Retries belong to the shipper, so the client asks each `NameNode` once. A socket timeout
    /// below the limit of a write makes an unreachable `DataNode` an error of its own. A pipeline
    /// that lost a node goes on with the others: the server restores the replication.
    pub(super) fn settings(
        &self,
        nameservice: &str,
        data_timeout: Duration,
        rotation: usize,
    ) -> Vec<(String, String)> {
        let namenodes = self.namenodes(nameservice, rotation);
        let failovers = namenodes.len().saturating_sub(1);
        let mut settings = vec![
            (FAILOVERS_MAX, failovers.to_string()),
            (SOCKET_TIMEOUT, (data_timeout.as_millis() / 3).max(1).to_string()),
        ];
        if !self.properties.contains_key(REPLACE_POLICY) {
            settings.push((REPLACE_BEST_EFFORT, "true".to_owned()));
        }
        let mut settings: Vec<(String, String)> = settings
            .into_iter()
            .filter(|(key, _)| !self.properties.contains_key(*key))
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        if namenodes.len() > 1 {
            settings.push((format!("{NAMENODES}.{nameservice}"), namenodes.join(",")));
        }
        settings
    }

    /// The `NameNodes` of a name service, beginning with another one for each rotation.
    fn namenodes(&self, nameservice: &str, rotation: usize) -> Vec<&str> {
        let listed = self.properties.get(&format!("{NAMENODES}.{nameservice}"));
        let mut namenodes: Vec<&str> =
            listed.map(|ids| ids.split(',').map(str::trim).collect()).unwrap_or_default();
        if !namenodes.is_empty() {
            let first = rotation % namenodes.len();
            namenodes.rotate_left(first);
        }
        namenodes
    }
}

fn from_environment() -> Option<PathBuf> {
    match env::var_os("HADOOP_CONF_DIR") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => env::var_os("HADOOP_HOME").map(|home| Path::new(&home).join("etc/hadoop")),
    }
}

fn parse(text: &str) -> Result<Vec<(String, String)>, roxmltree::Error> {
    let nothing = |_: Option<&str>, _: &str| Ok(None);
    let options =
        ParsingOptions { allow_dtd: true, entity_resolver: Some(&nothing), ..Default::default() };
    let document = Document::parse_with_options(text, options)?;
    let properties =
        document.root_element().children().filter(|node| node.has_tag_name("property"));
    let child = |property: roxmltree::Node<'_, '_>, name: &str| {
        let node = property.children().find(|node| node.has_tag_name(name))?;
        Some(node.text()?.to_owned())
    };
    Ok(properties
        .filter_map(|property| Some((child(property, "name")?, child(property, "value")?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    fn site(files: &[(&str, &str)]) -> Site {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, properties) in files {
            let text =
                format!("<?xml version=\"1.0\"?><configuration>{properties}</configuration>");
            std::fs::write(dir.path().join(name), text).expect("write");
        }
        Site::read(Some(dir.path())).expect("valid XML")
    }

    fn property(name: &str, value: &str) -> String {
        format!("<property><name>{name}</name><value>{value}</value></property>")
    }

    #[test]
    fn settings_are_ours_unless_the_operator_has_set_them() {
        let ours = site(&[]).settings("nn", LIMIT, 0);
        assert!(ours.contains(&(FAILOVERS_MAX.to_owned(), "0".to_owned())), "{ours:?}");
        assert!(ours.contains(&(SOCKET_TIMEOUT.to_owned(), "20000".to_owned())), "{ours:?}");
        assert!(ours.contains(&(REPLACE_BEST_EFFORT.to_owned(), "true".to_owned())), "{ours:?}");
        let text = property(FAILOVERS_MAX, "4") + &property(REPLACE_POLICY, "NEVER");
        let theirs = site(&[("hdfs-site.xml", &text)]).settings("nn", LIMIT, 0);
        assert_eq!(theirs, [(SOCKET_TIMEOUT.to_owned(), "20000".to_owned())]);
    }

    #[test]
    fn the_namenode_asked_first_changes_after_a_timeout() {
        let site = site(&[("hdfs-site.xml", &property("dfs.ha.namenodes.ns", "a, b"))]);
        for (rotation, order) in [(0, "a,b"), (1, "b,a"), (2, "a,b")] {
            let settings = site.settings("ns", LIMIT, rotation);
            let expected = ("dfs.ha.namenodes.ns".to_owned(), order.to_owned());
            assert!(settings.contains(&expected), "{rotation}: {settings:?}");
            assert!(settings.contains(&(FAILOVERS_MAX.to_owned(), "1".to_owned())));
        }
    }

    #[test]
    fn hdfs_site_prevails_and_replication_is_taken_from_it() {
        let (core, hdfs) = (property(REPLICATION, "3"), property(REPLICATION, " 2 "));
        let site = site(&[("core-site.xml", &core), ("hdfs-site.xml", &hdfs)]);
        assert_eq!(site.replication, Some(2));
    }

    #[test]
    fn broken_xml_and_a_missing_directory_are_errors() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("core-site.xml"), "<configuration>").expect("write");
        Site::read(Some(dir.path())).expect_err("the element is not closed");
        Site::read(Some(&dir.path().join("missing"))).expect_err("there is no directory");
    }
}
