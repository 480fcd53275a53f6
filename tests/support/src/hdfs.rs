//! A real HDFS on 127.0.0.1: a NameNode and DataNodes, each a JVM of its own, so that one can be
//! killed, frozen and started again while the others go on.
//!
//! ```no_run
//! use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
//!
//! if hdfs::available_or_skip("delivery") {
//!     let hdfs = Hdfs::start(&HdfsOptions { datanodes: 3, replication: 2, ..Default::default() });
//!     hdfs.datanode(0).kill();
//!     hdfs.datanode(0).restart();
//!     assert!(hdfs.list_files("/").is_empty());
//! }
//! ```
//!
//! Every cluster has a directory of its own and is formatted anew. It ends with its handle; when a
//! test panics its logs are kept, and standard error says where. Permissions are off: whoever runs
//! the tests is the superuser. A failing helper panics, for there is nothing a test could do.

mod config;
mod ha;
mod kms;
mod node;
mod router;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::ports::Port;
use crate::rows::{self, ListedFile, Row, SequenceFile};
use crate::{hadoop, jmx};

pub use self::kms::Kms;
pub use self::node::Node;
pub use self::router::Router;
pub use crate::hadoop::{HadoopJars, available, available_or_skip, skip};

/// How long a cluster may take to come up or to come back.
const READY_WAIT: Duration = Duration::from_secs(90);
/// A NameNode's answer over HTTP costs it little.
const READY_POLL: Duration = Duration::from_millis(50);
/// After so long without being ready, a pair's edits are rolled.
const ROLL_WAIT: Duration = Duration::from_secs(5);
/// A port can be taken between the look at it and its use.
const START_ATTEMPTS: u32 = 3;

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct HdfsOptions {
    /// How many DataNodes.
    pub datanodes: usize,
    /// Replicas of a file whose writer asks for no other number.
    pub replication: u16,
    /// After what silence the NameNode takes a DataNode for dead; at least about ten seconds.
    /// `None` is Hadoop's default, ten and a half minutes.
    pub dead_after: Option<Duration>,
    /// Two NameNodes with shared edits instead of one: the first active, the second standby, and a
    /// JournalNode between them. Failover is by hand: [`Hdfs::make_active`],
    /// [`Hdfs::make_standby`].
    pub ha: bool,
    /// Further Hadoop properties, for daemons and clients; they win over the ones set here.
    pub config: Vec<(String, String)>,
    /// Variables for the JVMs of daemons and clients.
    pub environment: Vec<(String, String)>,
}

impl Default for HdfsOptions {
    fn default() -> Self {
        Self {
            datanodes: 1,
            replication: 1,
            dead_after: None,
            ha: false,
            config: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Hdfs {
    // Daemons end before their directory and their ports go.
    journal: Option<Daemon>,
    namenodes: Vec<Daemon>,
    datanodes: Vec<Daemon>,
    ports: Ports,
    options: HdfsOptions,
    directory: TempDir,
}

#[derive(Debug)]
struct Ports {
    journal: Option<NodePorts>,
    namenodes: Vec<NodePorts>,
    datanodes: Vec<DataNodePorts>,
}

#[derive(Debug)]
struct NodePorts {
    rpc: Port,
    http: Port,
}

#[derive(Debug)]
struct DataNodePorts {
    data: Port,
    ipc: Port,
    http: Port,
}

impl Hdfs {
    /// Starts a cluster and waits until the NameNode has left safe mode and every DataNode can be
    /// written to.
    ///
    /// # Panics
    /// If Hadoop is missing, or the cluster does not come up; with the end of every log.
    pub fn start(options: &HdfsOptions) -> Self {
        let jars = hadoop::available().unwrap_or_else(|why| panic!("start HDFS: {why}"));
        for attempt in 1.. {
            let hdfs = Self::prepare(&jars, options);
            match hdfs.begin() {
                Ok(()) => return hdfs,
                Err(why) => {
                    let lost_a_port = why.contains("java.net.BindException");
                    assert!(lost_a_port && attempt < START_ATTEMPTS, "start HDFS: {why}");
                }
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    fn prepare(jars: &HadoopJars, options: &HdfsOptions) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("sewer-hdfs-")
            .tempdir()
            .expect("create the cluster's directory");
        let ports = Ports::reserve(options);
        let root = directory.path();
        config::write(&root.join("conf"), options, config::common(root, &ports, options));
        let daemon = |name: String, main, own: Vec<(String, String)>| {
            let home = root.join(&name);
            let mut properties = own;
            properties.extend(config::common(root, &ports, options));
            config::write(&home.join("conf"), options, properties);
            Daemon::new(jars.clone(), name, main, &home)
        };
        let journal = ports.journal.as_ref().map(|ports| {
            let own = config::journal(&root.join("journal"), ports);
            daemon("journal".into(), "org.apache.hadoop.hdfs.qjournal.server.JournalNode", own)
        });
        let namenodes = (0..ports.namenodes.len()).map(|i| {
            let name = if options.ha { format!("namenode-{i}") } else { "namenode".into() };
            let own = config::namenode(&root.join(&name), i, &ports, options);
            daemon(name, "FreshNameNode", own)
        });
        let namenodes = namenodes.collect();
        let datanodes = (0..options.datanodes).map(|i| {
            let name = format!("datanode-{i}");
            let own = config::datanode(&root.join(&name), &ports.datanodes[i]);
            daemon(name, "org.apache.hadoop.hdfs.server.datanode.DataNode", own)
        });
        let datanodes = datanodes.collect();
        let options = options.clone();
        Self { journal, namenodes, datanodes, ports, options, directory }
    }

    fn begin(&self) -> Result<(), String> {
        if self.options.ha {
            self.begin_pair()?;
        } else {
            self.daemons().for_each(Daemon::start);
        }
        self.try_wait_until_ready()
    }

    /// `hdfs://127.0.0.1:<port>`, or that of the name service that a pair is.
    pub fn uri(&self) -> String {
        config::uri(&self.ports, &self.options)
    }

    /// A Hadoop configuration directory for clients of this cluster.
    pub fn conf_dir(&self) -> PathBuf {
        self.directory.path().join("conf")
    }

    /// A further configuration directory for clients, with these properties before all others:
    /// proxies instead of the daemons themselves, for example.
    pub fn client_conf(&self, name: &str, properties: &[(&str, &str)]) -> PathBuf {
        let root = self.directory.path();
        let common = config::common(root, &self.ports, &self.options);
        let properties = properties.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let conf = root.join(name);
        config::write(&conf, &self.options, properties.chain(common).collect());
        conf
    }

    /// The cluster's directory, with `namenode/log` and `datanode-<i>/log`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The NameNode, or the first of a pair.
    pub fn namenode(&self) -> Node<'_> {
        self.namenode_of(0)
    }

    /// A NameNode of a pair, counted from 0.
    pub fn namenode_of(&self, i: usize) -> Node<'_> {
        Node::new(self, &self.namenodes[i], self.ports.namenodes[i].rpc.address())
    }

    /// A DataNode, counted from 0.
    pub fn datanode(&self, i: usize) -> Node<'_> {
        Node::new(self, &self.datanodes[i], self.ports.datanodes[i].data.address())
    }

    /// Waits until the NameNode has left safe mode and every DataNode that is up, neither down nor
    /// frozen, is registered and can be written to.
    ///
    /// # Panics
    /// If that takes more than 90 seconds or a daemon has failed; with the end of every log.
    pub fn wait_until_ready(&self) {
        self.try_wait_until_ready().unwrap_or_else(|why| panic!("wait for HDFS: {why}"));
    }

    /// How many DataNodes the NameNode takes for alive; `None` while it is in safe mode or does not
    /// answer. A DataNode that died counts until [`HdfsOptions::dead_after`] has passed.
    pub fn live_datanodes(&self) -> Option<usize> {
        let namenode = if self.options.ha { self.active()? } else { 0 };
        let http = self.ports.namenodes[namenode].http.address();
        jmx::usable_datanodes(&http).map(|usable| usable.len())
    }

    /// Leaves a file behind that is open for write and whose writer is dead.
    pub fn leave_open(&self, path: &str) {
        self.hadoop("LeaveOpen", &[path]);
    }

    /// Undoes whatever a failed test may have left: frozen or dead daemons, safe mode.
    ///
    /// # Panics
    /// As [`Hdfs::wait_until_ready`].
    pub fn heal(&self) {
        for daemon in self.daemons() {
            if daemon.has_failed() {
                daemon.kill();
            } else if daemon.pid().is_some() {
                daemon.thaw();
            }
            daemon.start();
        }
        if self.options.ha {
            self.make_active_if_none_is();
        } else {
            // `dfsadmin` itself waits for a NameNode that is starting.
            self.leave_safe_mode();
        }
        self.wait_until_ready();
    }

    /// Ends all daemons by SIGKILL.
    pub fn stop_all(&self) {
        self.daemons().for_each(Daemon::kill);
    }

    /// The rows of a SequenceFile, or of all not hidden ones below a directory, by Hadoop's own
    /// reader. `path` is one of this cluster, or a URI.
    pub fn read_rows(&self, path: &str) -> Vec<Row> {
        self.read_files(path).into_iter().flat_map(|file| file.rows).collect()
    }

    /// As [`Hdfs::read_rows`], by file and with its header.
    pub fn read_files(&self, path: &str) -> Vec<SequenceFile> {
        rows::read_files(Some(&self.conf_dir()), &[path])
            .unwrap_or_else(|why| panic!("read {path}: {why}"))
    }

    /// All files below a path, hidden ones included, with what the NameNode knows of them; none if
    /// the path does not exist.
    pub fn list_files(&self, path: &str) -> Vec<ListedFile> {
        rows::list_files(Some(&self.conf_dir()), &[path])
            .unwrap_or_else(|why| panic!("list {path}: {why}"))
    }

    /// The files below a path that a writer holds open or left open when it died.
    pub fn open_files(&self, path: &str) -> Vec<ListedFile> {
        let mut files = self.list_files(path);
        files.retain(|file| file.open_for_write);
        files
    }

    /// Makes the NameNode refuse every change until [`Hdfs::leave_safe_mode`].
    pub fn enter_safe_mode(&self) {
        self.dfsadmin(&["-safemode", "enter"]);
    }

    /// Ends what [`Hdfs::enter_safe_mode`] began.
    pub fn leave_safe_mode(&self) {
        self.dfsadmin(&["-safemode", "leave"]);
    }

    /// `hdfs dfsadmin`, for quotas and the like; what it prints.
    pub fn dfsadmin(&self, args: &[&str]) -> String {
        self.hadoop("org.apache.hadoop.hdfs.tools.DFSAdmin", args)
    }

    /// `hdfs fsck`; what it prints. It fails if a file is corrupt.
    pub fn fsck(&self, args: &[&str]) -> String {
        self.hadoop("org.apache.hadoop.hdfs.tools.DFSck", args)
    }

    /// `hadoop fs`, for example `["-text", "/f"]`; what it prints.
    pub fn fs(&self, args: &[&str]) -> String {
        self.hadoop("org.apache.hadoop.fs.FsShell", args)
    }

    fn hadoop(&self, main: &str, args: &[&str]) -> String {
        let jars = hadoop::available().expect("it was there when the cluster started");
        jars.run(Some(&self.conf_dir()), main, args).unwrap_or_else(|why| panic!("{why}"))
    }

    fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        self.journal.iter().chain(&self.namenodes).chain(&self.datanodes)
    }

    fn try_wait_until_ready(&self) -> Result<(), String> {
        let start = Instant::now();
        let logs = || self.daemons().map(Daemon::log_tail).collect::<String>();
        let mut is_rolled = !self.options.ha;
        while !self.is_ready() {
            if let Some(failed) = self.daemons().find(|daemon| daemon.has_failed()) {
                return Err(format!("{} has ended\n{}", failed.name(), logs()));
            }
            if start.elapsed() > READY_WAIT {
                return Err(format!("not ready after {READY_WAIT:?}\n{}", logs()));
            }
            if !is_rolled && start.elapsed() > ROLL_WAIT && self.active().is_some() {
                self.roll_edits();
                is_rolled = true;
            }
            std::thread::sleep(READY_POLL);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let namenodes = self.namenodes.iter().zip(&self.ports.namenodes);
        let mut expected = namenodes.filter(|(daemon, _)| daemon.is_expected());
        let knows_datanodes = expected.all(|(_, ports)| {
            let usable = jmx::usable_datanodes(&ports.http.address());
            usable.is_some_and(|usable| self.all_datanodes_are_in(&usable))
        });
        knows_datanodes && (!self.options.ha || self.active().is_some())
    }

    fn all_datanodes_are_in(&self, usable: &[String]) -> bool {
        self.datanodes.iter().zip(&self.ports.datanodes).all(|(daemon, ports)| {
            !daemon.is_expected()
                || (usable.contains(&ports.data.address())
                    && jmx::datanode_is_registered(&ports.http.address()))
        })
    }
}

impl Drop for Hdfs {
    fn drop(&mut self) {
        self.stop_all();
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            // Past libtest's capture, and no reason to panic once more if it cannot be written.
            let _ =
                writeln!(std::io::stderr(), "logs of HDFS: {}", self.directory.path().display());
        }
    }
}
