//! Hadoop's key management server, a JVM of its own, for clusters with encryption zones.

use std::fs;
use std::time::Instant;

use tempfile::TempDir;

use super::{Hdfs, HdfsOptions, READY_POLL, READY_WAIT, config};
use crate::daemon::Daemon;
use crate::ports::{self, Port};
use crate::{hadoop, http};

/// Which property names the server.
const PROVIDER: &str = "hadoop.security.key.provider.path";

/// A running server with keys of its own.
#[derive(Debug)]
pub struct Kms {
    daemon: Daemon,
    port: Port,
    _directory: TempDir,
}

impl Kms {
    /// Starts one without keys and waits until it answers.
    ///
    /// # Panics
    /// If Hadoop is missing, or the server does not come up; with the end of its log.
    pub fn start() -> Self {
        let jars = hadoop::available().unwrap_or_else(|why| panic!("start a KMS: {why}"));
        let directory = tempfile::Builder::new().prefix("sewer-kms-").tempdir();
        let directory = directory.expect("create the server's directory");
        let port = ports::reserve();
        let conf = directory.path().join("conf");
        let keys = format!("jceks://file@{}/keys", directory.path().display());
        let (host, number) = port.address().split_once(':').map(own).expect("host:port");
        let mut properties = vec![
            ("hadoop.kms.http.host".to_owned(), host),
            ("hadoop.kms.http.port".to_owned(), number),
            ("hadoop.kms.key.provider.uri".to_owned(), keys),
            ("hadoop.kms.authentication.type".to_owned(), "simple".to_owned()),
        ];
        for operation in ["MANAGEMENT", "GENERATE_EEK", "DECRYPT_EEK", "READ"] {
            properties.push((format!("default.key.acl.{operation}"), "*".to_owned()));
        }
        // Its library for REST is older than the walls between Java's modules.
        let opens = "--add-opens=java.base/java.lang=ALL-UNNAMED".to_owned();
        let environment = vec![("JDK_JAVA_OPTIONS".to_owned(), opens)];
        config::write(&conf, &HdfsOptions { environment, ..HdfsOptions::default() }, properties);
        for name in ["kms-site.xml", "kms-acls.xml"] {
            fs::copy(conf.join("core-site.xml"), conf.join(name)).expect("copy");
        }
        let daemon = Daemon::new(jars, "kms".to_owned(), "Kms", directory.path());
        daemon.start();
        let kms = Self { daemon, port, _directory: directory };
        let begun = Instant::now();
        while !kms.answers() {
            let late = kms.daemon.has_failed() || begun.elapsed() > READY_WAIT;
            assert!(!late, "no KMS\n{}", kms.daemon.log_tail());
            std::thread::sleep(READY_POLL);
        }
        kms
    }

    fn answers(&self) -> bool {
        let names = http::get(&self.port.address(), "/kms/v1/keys/names?user.name=hdfs");
        names.is_ok_and(|response| response.status == 200)
    }

    /// The properties of a cluster whose keys this server has.
    pub fn config(&self) -> Vec<(String, String)> {
        vec![(PROVIDER.to_owned(), self.uri())]
    }

    /// Its address and port.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its URI, as Hadoop's configuration has it.
    pub fn uri(&self) -> String {
        format!("kms://http@{}/kms", self.port.address())
    }

    /// Makes a new key, and an encryption zone with it of a directory that is made, too.
    ///
    /// # Panics
    /// If Hadoop's tools fail.
    pub fn make_zone(&self, hdfs: &Hdfs, path: &str, key: &str) {
        hdfs.hadoop("org.apache.hadoop.crypto.key.KeyShell", &["create", key, "-size", "128"]);
        hdfs.fs(&["-mkdir", "-p", path]);
        let zone = ["-createZone", "-keyName", key, "-path", path];
        hdfs.hadoop("org.apache.hadoop.hdfs.tools.CryptoAdmin", &zone);
    }

    /// Ends it by SIGKILL.
    pub fn kill(&self) {
        self.daemon.kill();
    }
}

fn own((host, port): (&str, &str)) -> (String, String) {
    (host.to_owned(), port.to_owned())
}
