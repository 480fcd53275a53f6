//! A real Kerberos: MIT's KDC on 127.0.0.1 with a realm of its own, and what an HDFS needs to be
//! secured with it.
//!
//! Nothing of the system's Kerberos is read or changed: database, keytabs and `krb5.conf` are in a
//! temporary directory, and whoever is to see them is told so by variables.
//!
//! ```no_run
//! use sewer_test_support::hdfs::{Hdfs, HdfsOptions};
//! use sewer_test_support::kdc::{self, Kdc, Protection};
//!
//! if kdc::available_or_skip("kerberos") {
//!     let kdc = Kdc::start();
//!     let hdfs = Hdfs::start(&kdc.secured(HdfsOptions::default(), Protection::Privacy));
//!     let keytab = kdc.add("sewer", None);
//!     assert!(hdfs.list_files("/").is_empty());
//! }
//! ```

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command;
use crate::hdfs::{self, HdfsOptions, skip};
use crate::ports::{self, Port};
use crate::process::Process;

/// The realm.
pub const REALM: &str = "SEWER.TEST";

/// How long the KDC may take to listen.
const READY_WAIT: Duration = Duration::from_secs(20);

/// How long a tool may take.
const TOOL_WAIT: Duration = Duration::from_secs(30);

/// Where Debian and others have what only administrators need.
const SBIN: [&str; 2] = ["/usr/sbin", "/usr/lib/mit/sbin"];

/// The principal that Java clients log in as.
const READER: &str = "reader";

/// What is needed; Debian has the last in a package of its own.
const TOOLS: [&str; 4] = ["krb5kdc", "kdb5_util", "kinit", "kadmin.local"];

/// How Hadoop protects what it sends, both calls and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Not beyond the login.
    Authentication,
    /// Against change.
    Integrity,
    /// Against reading, too.
    Privacy,
}

/// A running KDC.
#[derive(Debug)]
pub struct Kdc {
    // It ends before its directory and its port go.
    process: Option<Process>,
    port: Port,
    directory: TempDir,
}

/// Whether the tests of `suite` that need Hadoop and a KDC can run; says so on standard error if
/// not.
///
/// # Panics
/// If they cannot run and `SEWERTEST_REQUIRE_KERBEROS=1` (or, for Hadoop, its own variable) says
/// that they must.
pub fn available_or_skip(suite: &str) -> bool {
    let missing: Vec<&str> = TOOLS.into_iter().filter(|name| tool(name).is_none()).collect();
    if missing.is_empty() {
        return hdfs::available_or_skip(suite);
    }
    let why = format!(
        "no {}; run tests/run, or on Debian: apt-get install krb5-kdc krb5-admin-server krb5-user",
        missing.join(", ")
    );
    let required = std::env::var_os("SEWERTEST_REQUIRE_KERBEROS").is_some_and(|v| v == "1");
    assert!(!required, "{suite} must run (SEWERTEST_REQUIRE_KERBEROS=1): {why}");
    skip(suite, &why);
    false
}

impl Kdc {
    /// Makes a realm and starts its KDC.
    ///
    /// # Panics
    /// If that fails, with what the tools say.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("sewer-kdc-")
            .tempdir()
            .expect("create the KDC's directory");
        let port = ports::reserve();
        let (root, address) = (directory.path().display(), port.address());
        // TCP only for clients: a datagram to a KDC that is down may be taken for lost.
        let krb5 = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n \
             dns_lookup_realm = false\n dns_canonicalize_hostname = false\n rdns = false\n \
             udp_preference_limit = 1\n[realms]\n {REALM} = {{\n  kdc = {address}\n }}\n"
        );
        let kdc = format!(
            "[kdcdefaults]\n kdc_listen = {address}\n kdc_tcp_listen = {address}\n[realms]\n \
             {REALM} = {{\n  database_name = {root}/principal\n  key_stash_file = {root}/stash\n  \
             max_life = 10h\n }}\n[logging]\n kdc = FILE:{root}/kdc.log\n"
        );
        fs::write(directory.path().join("krb5.conf"), krb5).expect("write krb5.conf");
        fs::write(directory.path().join("kdc.conf"), kdc).expect("write kdc.conf");
        let mut kdc = Self { process: None, port, directory };
        kdc.run("kdb5_util", &["create", "-s", "-r", REALM, "-P", "only for this test"]);
        for principal in ["nn/localhost", "dn/localhost", READER] {
            kdc.add(principal, None);
        }
        kdc.restart();
        kdc
    }

    /// Adds a principal with a random key; the file that holds it. `lifetime` bounds its tickets.
    pub fn add(&self, principal: &str, lifetime: Option<Duration>) -> PathBuf {
        let lifetime = format!("{} seconds", lifetime.map_or(36_000, |life| life.as_secs()));
        self.run("kadmin.local", &["addprinc", "-randkey", "-maxlife", &lifetime, principal]);
        self.write_keytab(principal)
    }

    /// Removes a principal; its keytab stays.
    pub fn remove(&self, principal: &str) {
        self.run("kadmin.local", &["delprinc", "-force", principal]);
    }

    /// Gives a principal another key; its keytab becomes useless.
    pub fn change_key(&self, principal: &str) {
        self.run("kadmin.local", &["cpw", "-randkey", principal]);
    }

    /// Writes a principal's keytab anew, with the keys that it has now.
    ///
    /// # Panics
    /// If there is no such principal.
    pub fn write_keytab(&self, principal: &str) -> PathBuf {
        let path = self.keytab(principal);
        let _ = fs::remove_file(&path);
        let file = path.display().to_string();
        self.run("kadmin.local", &["ktadd", "-norandkey", "-k", &file, principal]);
        assert!(path.is_file(), "{principal} has no key");
        path
    }

    /// The keytab of a principal.
    pub fn keytab(&self, principal: &str) -> PathBuf {
        self.directory.path().join(format!("{}.keytab", principal.replace('/', "_")))
    }

    /// Writes a ticket for a principal to its cache, by `kinit`; the cache's file.
    pub fn kinit(&self, principal: &str, lifetime: Duration) -> PathBuf {
        let cache = self.directory.path().join(format!("{principal}.ccache"));
        let (keytab, file) = (self.keytab(principal), cache.display().to_string());
        let keytab = keytab.display().to_string();
        let lifetime = format!("{}s", lifetime.as_secs());
        self.run("kinit", &["-k", "-t", &keytab, "-c", &file, "-l", &lifetime, principal]);
        cache
    }

    /// The variables by which a program finds this KDC and no other Kerberos.
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        vec![
            ("KRB5_CONFIG".to_owned(), path("krb5.conf")),
            ("KRB5_KDC_PROFILE".to_owned(), path("kdc.conf")),
            ("KRB5CCNAME".to_owned(), format!("FILE:{}", path("no-ccache"))),
            ("KRB5_CLIENT_KTNAME".to_owned(), format!("FILE:{}", path("no-keytab"))),
        ]
    }

    /// The options for a cluster that lets in only whom this KDC knows. What reads it by
    /// [`hdfs::Hdfs`]'s own methods is logged in.
    pub fn secured(&self, mut options: HdfsOptions, protection: Protection) -> HdfsOptions {
        let protection = match protection {
            Protection::Authentication => "authentication",
            Protection::Integrity => "integrity",
            Protection::Privacy => "privacy",
        };
        let keytab = |principal| self.keytab(principal).display().to_string();
        let principal = |name: &str| format!("{name}/localhost@{REALM}");
        let properties = [
            ("hadoop.security.authentication", "kerberos".to_owned()),
            ("hadoop.security.authorization", "true".to_owned()),
            ("hadoop.rpc.protection", protection.to_owned()),
            ("dfs.data.transfer.protection", protection.to_owned()),
            ("dfs.block.access.token.enable", "true".to_owned()),
            // A port above 1023 and no TLS: only tests may have that.
            ("ignore.secure.ports.for.testing", "true".to_owned()),
            ("dfs.namenode.kerberos.principal", principal("nn")),
            ("dfs.namenode.keytab.file", keytab("nn/localhost")),
            ("dfs.datanode.kerberos.principal", principal("dn")),
            ("dfs.datanode.keytab.file", keytab("dn/localhost")),
        ];
        options.config.extend(properties.map(|(name, value)| (name.to_owned(), value)));
        let krb5 = self.directory.path().join("krb5.conf");
        let variables = [
            ("JDK_JAVA_OPTIONS", format!("-Djava.security.krb5.conf={}", krb5.display())),
            // Hadoop's clients log in with these.
            ("KRB5PRINCIPAL", format!("{READER}@{REALM}")),
            ("KRB5KEYTAB", keytab(READER)),
        ];
        options.environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        options
    }

    /// How many first tickets a principal was given.
    pub fn logins(&self, principal: &str) -> usize {
        let log = fs::read_to_string(self.directory.path().join("kdc.log")).unwrap_or_default();
        let client = format!(" {principal}@{REALM} for krbtgt/{REALM}@{REALM}");
        let is_login = |line: &&str| line.contains("AS_REQ") && line.contains("ISSUE:");
        log.lines().filter(is_login).filter(|line| line.ends_with(&client)).count()
    }

    /// Ends it by SIGKILL: connections are refused.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it by SIGSTOP: connections are taken, and nothing is answered.
    ///
    /// # Panics
    /// If it is not running.
    pub fn freeze(&mut self) {
        self.process.as_mut().expect("the KDC was started").freeze();
    }

    /// Lets it run on.
    ///
    /// # Panics
    /// If it is not running.
    pub fn thaw(&mut self) {
        self.process.as_mut().expect("the KDC was started").thaw();
    }

    /// Starts it (anew) on its port with its database.
    ///
    /// # Panics
    /// If it does not listen in time.
    pub fn restart(&mut self) {
        self.kill();
        let binary = tool("krb5kdc").expect("looked for before");
        let log = self.directory.path().join("krb5kdc.log");
        let pid = self.directory.path().join("pid").display().to_string();
        let args = ["-n", "-P", &pid];
        let mut process = Process::start_with(&binary, &args, &self.environment(), &log);
        let address = self.port.address();
        process.wait_until("ready", READY_WAIT, || TcpStream::connect(&address).is_ok());
        self.process = Some(process);
    }

    fn run(&self, name: &str, args: &[&str]) {
        let binary = tool(name).unwrap_or_else(|| panic!("no {name}"));
        let mut command = Command::new(binary);
        command.args(args).envs(self.environment());
        let finished = command::run(&mut command, TOOL_WAIT);
        finished.unwrap_or_else(|why| panic!("{name}: {why}")).expect_success();
    }
}

fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    directories.map(|directory: PathBuf| Path::new(&directory).join(name)).find(|p| p.is_file())
}
