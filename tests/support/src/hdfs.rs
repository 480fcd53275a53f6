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

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::ports::{self, Port};
use crate::rows::{self, ListedFile, Row, SequenceFile};
use crate::{hadoop, jmx};

pub use crate::hadoop::{HadoopJars, available, available_or_skip, skip};

/// How long a cluster may take to come up or to come back.
const READY_WAIT: Duration = Duration::from_secs(90);
/// A NameNode's answer over HTTP costs it little.
const READY_POLL: Duration = Duration::from_millis(50);
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
            config: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Hdfs {
    // Daemons end before their directory and their ports go.
    namenode: Daemon,
    datanodes: Vec<Daemon>,
    ports: Ports,
    directory: TempDir,
}

/// A daemon of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    hdfs: &'a Hdfs,
    daemon: &'a Daemon,
}

#[derive(Debug)]
struct Ports {
    rpc: Port,
    http: Port,
    datanodes: Vec<DataNodePorts>,
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
            hdfs.daemons().for_each(Daemon::start);
            match hdfs.try_wait_until_ready() {
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
        let datanode_ports = || DataNodePorts {
            data: ports::reserve(),
            ipc: ports::reserve(),
            http: ports::reserve(),
        };
        let ports = Ports {
            rpc: ports::reserve(),
            http: ports::reserve(),
            datanodes: (0..options.datanodes).map(|_| datanode_ports()).collect(),
        };
        let root = directory.path();
        config::write(root, options, config::common(root, &ports, options));
        let daemon = |name: String, main, own: Vec<(String, String)>| {
            let home = root.join(&name);
            let mut properties = own;
            properties.extend(config::common(root, &ports, options));
            config::write(&home, options, properties);
            Daemon::new(jars.clone(), name, main, &home)
        };
        let namenode =
            daemon("namenode".into(), "FreshNameNode", config::namenode(root, &ports, options));
        let datanodes = (0..options.datanodes).map(|i| {
            let name = format!("datanode-{i}");
            let own = config::datanode(&root.join(&name), &ports.datanodes[i]);
            daemon(name, "org.apache.hadoop.hdfs.server.datanode.DataNode", own)
        });
        let datanodes = datanodes.collect();
        Self { namenode, datanodes, ports, directory }
    }

    /// `hdfs://127.0.0.1:<port>`.
    pub fn uri(&self) -> String {
        format!("hdfs://{}", self.ports.rpc.address())
    }

    /// A Hadoop configuration directory for clients of this cluster.
    pub fn conf_dir(&self) -> PathBuf {
        self.directory.path().join("conf")
    }

    /// The cluster's directory, with `namenode/log` and `datanode-<i>/log`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The NameNode.
    pub const fn namenode(&self) -> Node<'_> {
        Node { hdfs: self, daemon: &self.namenode }
    }

    /// A DataNode, counted from 0.
    pub fn datanode(&self, i: usize) -> Node<'_> {
        Node { hdfs: self, daemon: &self.datanodes[i] }
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
        jmx::usable_datanodes(&self.ports.http.address()).map(|usable| usable.len())
    }

    /// Leaves a file behind that is open for write and whose writer is dead.
    pub fn leave_open(&self, path: &str) {
        self.hadoop("LeaveOpen", &[path]);
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
        std::iter::once(&self.namenode).chain(&self.datanodes)
    }

    fn try_wait_until_ready(&self) -> Result<(), String> {
        let start = Instant::now();
        let logs = || self.daemons().map(Daemon::log_tail).collect::<String>();
        while !self.is_ready() {
            if let Some(failed) = self.daemons().find(|daemon| daemon.has_failed()) {
                return Err(format!("{} has ended\n{}", failed.name(), logs()));
            }
            if start.elapsed() > READY_WAIT {
                return Err(format!("not ready after {READY_WAIT:?}\n{}", logs()));
            }
            std::thread::sleep(READY_POLL);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let Some(usable) = jmx::usable_datanodes(&self.ports.http.address()) else { return false };
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

impl Node<'_> {
    /// Ends it by SIGKILL; its directories and ports stay.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Stops it by SIGSTOP: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Lets it run on after [`Node::freeze`].
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Starts it on its old ports and directories unless it is there, and waits for nothing.
    pub fn start(&self) {
        self.daemon.start();
    }

    /// [`Node::kill`], [`Node::start`], [`Hdfs::wait_until_ready`].
    pub fn restart(&self) {
        self.kill();
        self.start();
        self.hdfs.wait_until_ready();
    }

    /// Whether it is there and not frozen.
    pub fn is_up(&self) -> bool {
        self.daemon.is_up()
    }

    /// The process id of its JVM, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.daemon.log_tail()
    }
}
