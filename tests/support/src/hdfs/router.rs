//! A router of a federation (RBF), a JVM of its own, in front of a cluster.

use std::time::Instant;

use super::{Hdfs, HdfsOptions, READY_POLL, READY_WAIT, config};
use crate::daemon::Daemon;
use crate::ports::{self, Port};
use crate::{hadoop, jmx};

/// What the cluster behind the router is called.
const BEHIND: &str = "behind";

/// A running router, through which every path is one of the cluster behind it.
#[derive(Debug)]
pub struct Router {
    _daemon: Daemon,
    rpc: Port,
}

impl Router {
    /// Starts one in front of a cluster and waits until it serves.
    ///
    /// # Panics
    /// If it does not come up; with the end of its log.
    pub fn start(hdfs: &Hdfs) -> Self {
        let jars = hadoop::available().unwrap_or_else(|why| panic!("start a router: {why}"));
        let [rpc, http, admin] = [(); 3].map(|()| ports::reserve());
        let home = hdfs.directory().join("router");
        let store = home.join("store").display().to_string();
        let namenode = hdfs.namenode().address().to_owned();
        let web = hdfs.ports.namenodes[0].http.address();
        let properties = [
            ("dfs.nameservices", BEHIND),
            (&format!("dfs.namenode.rpc-address.{BEHIND}"), &namenode),
            (&format!("dfs.namenode.http-address.{BEHIND}"), &web),
            ("dfs.federation.router.default.nameserviceId", BEHIND),
            ("dfs.federation.router.monitor.namenode", BEHIND),
            ("dfs.federation.router.monitor.localnamenode.enable", "false"),
            ("dfs.federation.router.rpc-address", &rpc.address()),
            ("dfs.federation.router.http-address", &http.address()),
            ("dfs.federation.router.admin-address", &admin.address()),
            (
                "dfs.federation.router.store.driver.class",
                "org.apache.hadoop.hdfs.server.federation.store.driver.impl.StateStoreFileImpl",
            ),
            ("dfs.federation.router.store.driver.file.directory", &store),
            ("dfs.federation.router.heartbeat.interval", "500"),
            ("dfs.federation.router.cache.ttl", "500ms"),
            ("dfs.federation.router.safemode.extension", "1s"),
            ("dfs.federation.router.safemode.expiration", "10s"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        config::write(&home.join("conf"), &HdfsOptions::default(), properties.into());
        let main = "org.apache.hadoop.hdfs.server.federation.router.DFSRouter";
        let daemon = Daemon::new(jars, "router".to_owned(), main, &home);
        daemon.start();
        let begun = Instant::now();
        while !serves(&http.address()) {
            let late = daemon.has_failed() || begun.elapsed() > READY_WAIT;
            assert!(!late, "no router\n{}", daemon.log_tail());
            std::thread::sleep(READY_POLL);
        }
        Self { _daemon: daemon, rpc }
    }

    /// Where its clients reach it.
    pub fn address(&self) -> String {
        self.rpc.address()
    }
}

/// Whether it has left its own safe mode and knows of an active `NameNode`.
fn serves(http: &str) -> bool {
    let state = || {
        let router = jmx::bean(http, "service=Router,name=Router")?;
        let is_running = router.get("RouterStatus")?.as_str()? == "RUNNING";
        let is_safe = router.get("Safemode")?.as_str()?.is_empty();
        let federation = jmx::bean(http, "service=Router,name=FederationState")?;
        let namenodes = federation.get("Namenodes")?.as_str()?.contains("ACTIVE");
        Some(is_running && is_safe && namenodes)
    };
    state().unwrap_or(false)
}
