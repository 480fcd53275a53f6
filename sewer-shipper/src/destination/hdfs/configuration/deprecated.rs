//! Old names of properties that a client of HDFS looks at.
//!
//! Hadoop knows many more, of daemons and of jobs; a test holds these to its list.

/// Each with the name that has replaced it.
const RENAMED: [(&str, &str); 12] = [
    ("fs.default.name", "fs.defaultFS"),
    ("dfs.federation.nameservices", "dfs.nameservices"),
    ("dfs.federation.nameservice.id", "dfs.nameservice.id"),
    ("dfs.encryption.key.provider.uri", "hadoop.security.key.provider.path"),
    ("dfs.socket.timeout", "dfs.client.socket-timeout"),
    ("dfs.block.size", "dfs.blocksize"),
    ("dfs.write.packet.size", "dfs.client-write-packet-size"),
    ("dfs.umaskmode", "fs.permissions.umask-mode"),
    ("dfs.http.address", "dfs.namenode.http-address"),
    ("dfs.https.address", "dfs.namenode.https-address"),
    ("dfs.permissions", "dfs.permissions.enabled"),
    ("dfs.max.objects", "dfs.namenode.max.objects"),
];

/// The name that a property has today.
pub(super) fn current(name: &str) -> &str {
    RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new)
}
