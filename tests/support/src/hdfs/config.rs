//! The Hadoop configuration of a test cluster: everything on 127.0.0.1, quick to notice what
//! happens, small limits lifted that get in the way of small tests.
//!
//! A property given twice is taken from its first place.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::hadoop::ENVIRONMENT;

use super::{DataNodePorts, HdfsOptions, NodePorts, Ports};

type Properties = Vec<(String, String)>;

/// Everything to the daemon's log, which is its standard output.
const LOG4J: &str = "\
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
# Says only that there is no native library.
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
";

/// The daemons insist on finding these on their classpath. Hadoop's jars do not have them, and
/// nobody looks at the pages.
const WEB_PAGES: [&str; 5] =
    ["webapps/hdfs", "webapps/datanode", "webapps/journal", "webapps/router", "webapps/static"];

/// Heartbeats per dead DataNode in the NameNode's formula: 2 * recheck interval + 10 heartbeats.
const HEARTBEATS: Duration = Duration::from_secs(10);

/// The name service that a pair of NameNodes is.
pub const PAIR: &str = "pair";

/// What the configuration calls a NameNode of a pair.
pub fn namenode_id(i: usize) -> String {
    format!("nn{}", i + 1)
}

/// The URI of a cluster.
pub fn uri(ports: &Ports, options: &HdfsOptions) -> String {
    if options.ha {
        return format!("hdfs://{PAIR}");
    }
    format!("hdfs://{}", ports.namenodes[0].rpc.address())
}

/// What clients and daemons share.
pub fn common(root: &Path, ports: &Ports, options: &HdfsOptions) -> Properties {
    let mut properties = pairs(&[
        ("fs.defaultFS", &uri(ports, options)),
        ("hadoop.tmp.dir", &root.join("tmp").to_string_lossy()),
        ("dfs.replication", &options.replication.to_string()),
    ]);
    if let Some(journal) = &ports.journal {
        let edits = format!("qjournal://{}/{PAIR}", journal.rpc.address());
        let ids: Vec<String> = (0..ports.namenodes.len()).map(namenode_id).collect();
        properties.extend(pairs(&[
            ("dfs.nameservices", PAIR),
            (&format!("dfs.ha.namenodes.{PAIR}"), &ids.join(",")),
            ("dfs.namenode.shared.edits.dir", &edits),
            // `haadmin` asks the other one first, which may be frozen.
            ("ha.failover-controller.cli-check.rpc-timeout.ms", "3000"),
            (
                &format!("dfs.client.failover.proxy.provider.{PAIR}"),
                "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
            ),
        ]));
        for (id, ports) in ids.iter().zip(&ports.namenodes) {
            properties.extend(pairs(&[
                (&format!("dfs.namenode.rpc-address.{PAIR}.{id}"), &ports.rpc.address()),
                (&format!("dfs.namenode.http-address.{PAIR}.{id}"), &ports.http.address()),
            ]));
        }
    } else {
        properties
            .extend(pairs(&[("dfs.namenode.http-address", &ports.namenodes[0].http.address())]));
    }
    properties
}

/// The JournalNode's own; `home` is its directory.
pub fn journal(home: &Path, ports: &NodePorts) -> Properties {
    pairs(&[
        ("dfs.journalnode.rpc-address", &ports.rpc.address()),
        ("dfs.journalnode.http-address", &ports.http.address()),
        ("dfs.journalnode.edits.dir", &home.join("edits").to_string_lossy()),
    ])
}

/// A NameNode's own; `home` is its directory.
pub fn namenode(home: &Path, i: usize, ports: &Ports, options: &HdfsOptions) -> Properties {
    let mut properties = pairs(&[
        ("dfs.namenode.name.dir", &format!("file://{}/name", home.display())),
        // 127.0.0.1 need not have a name.
        ("dfs.namenode.datanode.registration.ip-hostname-check", "false"),
        ("dfs.permissions.enabled", "false"),
        ("dfs.namenode.safemode.extension", "0"),
        ("dfs.namenode.fs-limits.min-block-size", "1024"),
        ("dfs.namenode.redundancy.interval.seconds", "1s"),
        ("dfs.namenode.replication.min", "1"),
        ("dfs.heartbeat.interval", "1"),
    ]);
    if options.ha {
        properties.extend(pairs(&[
            ("dfs.ha.namenode.id", &namenode_id(i)),
            ("dfs.ha.tail-edits.period", "1s"),
        ]));
    } else {
        properties
            .extend(pairs(&[("dfs.namenode.rpc-address", &ports.namenodes[i].rpc.address())]));
    }
    if let Some(dead_after) = options.dead_after {
        let recheck_ms = (dead_after.saturating_sub(HEARTBEATS).as_millis() / 2).max(1);
        properties
            .extend(pairs(&[("dfs.namenode.heartbeat.recheck-interval", &recheck_ms.to_string())]));
    }
    properties
}

/// One DataNode's own; `home` is its directory.
pub fn datanode(home: &Path, ports: &DataNodePorts) -> Properties {
    pairs(&[
        ("dfs.datanode.data.dir", &format!("file://{}/data", home.display())),
        ("dfs.datanode.address", &ports.data.address()),
        ("dfs.datanode.ipc.address", &ports.ipc.address()),
        ("dfs.datanode.http.address", &ports.http.address()),
        ("dfs.datanode.hostname", "127.0.0.1"),
        ("dfs.heartbeat.interval", "1"),
        ("dfs.datanode.scan.period.hours", "-1"),
        // It starts beside the NameNode and calls until that one answers.
        ("ipc.client.connect.retry.interval", "100"),
        ("ipc.client.connect.max.retries", "600"),
    ])
}

/// Writes a configuration directory: what the test asked for wins over `properties`.
pub fn write(conf: &Path, options: &HdfsOptions, properties: Properties) {
    fs::create_dir_all(conf).expect("create a configuration directory");
    let mut xml = String::from("<?xml version=\"1.0\"?>\n<configuration>\n");
    let mut seen = BTreeSet::new();
    for (name, value) in options.config.iter().cloned().chain(properties) {
        if seen.insert(name.clone()) {
            let (name, value) = (escape(&name), escape(&value));
            writeln!(xml, "  <property><name>{name}</name><value>{value}</value></property>")
                .expect("a String takes everything");
        }
    }
    xml.push_str("</configuration>\n");
    // Both files are read, each after defaults of its own; so that no property depends on knowing
    // whose defaults name it, both hold everything.
    fs::write(conf.join("core-site.xml"), &xml).expect("write core-site.xml");
    fs::write(conf.join("hdfs-site.xml"), &xml).expect("write hdfs-site.xml");
    let variable = |(name, value): &(String, String)| format!("{name}={value}\n");
    let environment: String = options.environment.iter().map(variable).collect();
    fs::write(conf.join(ENVIRONMENT), environment).expect("write the variables");
    for pages in WEB_PAGES {
        fs::create_dir_all(conf.join(pages)).expect("create a directory of web pages");
    }
    fs::write(conf.join("log4j.properties"), LOG4J).expect("write log4j.properties");
}

fn pairs(pairs: &[(&str, &str)]) -> Properties {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
