//! A pair of NameNodes: how it comes up, and who of the two is active.
//!
//! A JournalNode keeps the edits that they share. Nobody fails over by himself: a test says who is
//! to be active, as an operator without ZooKeeper does. A NameNode that still takes itself for the
//! active one after the other was made active is ended by the JournalNode at its next change.

use std::fs;
use std::time::{Duration, Instant};

use super::config::{PAIR, namenode_id};
use super::{Hdfs, HdfsOptions, NodePorts, Ports, READY_POLL, READY_WAIT};
use crate::daemon::Daemon;
use crate::{hadoop, jmx, ports};

/// How long a change may take, which waits for a NameNode that is coming up or is frozen.
const CHANGE_WAIT: Duration = Duration::from_mins(1);

impl Ports {
    pub(super) fn reserve(options: &HdfsOptions) -> Self {
        let node = || NodePorts { rpc: ports::reserve(), http: ports::reserve() };
        let datanode = || super::DataNodePorts {
            data: ports::reserve(),
            ipc: ports::reserve(),
            http: ports::reserve(),
        };
        Self {
            journal: options.ha.then(node),
            namenodes: (0..if options.ha { 2 } else { 1 }).map(|_| node()).collect(),
            datanodes: (0..options.datanodes).map(|_| datanode()).collect(),
        }
    }
}

impl Hdfs {
    /// Starts the daemons in an order in which each finds what it needs; the first is active then.
    pub(super) fn begin_pair(&self) -> Result<(), String> {
        let begun = Instant::now();
        let [first, second] = &self.namenodes[..] else { unreachable!("a pair is two") };
        self.journal.iter().for_each(Daemon::start);
        first.start();
        self.datanodes.iter().for_each(Daemon::start);
        while self.state(0).is_none() {
            if first.has_failed() || begun.elapsed() > READY_WAIT {
                let journal: String = self.journal.iter().map(Daemon::log_tail).collect();
                return Err(format!("no NameNode\n{journal}{}", first.log_tail()));
            }
            std::thread::sleep(READY_POLL);
        }
        // The second begins with what the first was formatted with, and reads the edits from there.
        let name = |i: usize| self.directory().join(format!("namenode-{i}/name/current"));
        copy_files(&name(0), &name(1)).map_err(|e| format!("copy the first image: {e}"))?;
        second.start();
        self.change(0, "active");
        Ok(())
    }

    /// Which NameNode of a pair is active; the first that says so.
    pub fn active(&self) -> Option<usize> {
        (0..self.namenodes.len()).find(|i| {
            self.namenodes[*i].is_expected() && self.state(*i).is_some_and(|is| is == "active")
        })
    }

    /// Makes a NameNode of a pair the active one, by `hdfs haadmin`. The other one has to be
    /// standby, dead or frozen.
    ///
    /// # Panics
    /// If it does not become active.
    pub fn make_active(&self, i: usize) {
        self.change(i, "active");
    }

    /// Makes a NameNode of a pair a standby, by `hdfs haadmin`.
    ///
    /// # Panics
    /// If it does not become one.
    pub fn make_standby(&self, i: usize) {
        self.change(i, "standby");
    }

    /// Makes a standby NameNode of a pair an observer, by `hdfs haadmin`.
    ///
    /// # Panics
    /// If it does not become one.
    pub fn make_observer(&self, i: usize) {
        self.change(i, "observer");
    }

    pub(super) fn make_active_if_none_is(&self) {
        if self.active().is_none() {
            self.make_active(0);
        }
    }

    fn change(&self, i: usize, to: &str) {
        let jars = hadoop::available().expect("it was there when the cluster started");
        let id = namenode_id(i);
        let args = match to {
            "active" => vec!["-ns", PAIR, "-transitionToActive", "--forceactive", &id],
            "observer" => vec!["-ns", PAIR, "-transitionToObserver", &id],
            _ => vec!["-ns", PAIR, "-transitionToStandby", &id],
        };
        let begun = Instant::now();
        loop {
            let told =
                jars.run(Some(&self.conf_dir()), "org.apache.hadoop.hdfs.tools.DFSHAAdmin", &args);
            if self.state(i).is_some_and(|is| is == to) {
                return;
            }
            let late = begun.elapsed() > CHANGE_WAIT;
            assert!(!late, "{id} is not {to}: {told:?}\n{}", self.namenodes[i].log_tail());
        }
    }

    /// Ends the segment of edits that the active one is writing. A standby reads whole segments
    /// only: it would stay in safe mode, waiting for blocks that it has no edits of, until it has
    /// the segment ended by itself, which is every two minutes.
    pub(super) fn roll_edits(&self) {
        let jars = hadoop::available().expect("it was there when the cluster started");
        let main = "org.apache.hadoop.hdfs.tools.DFSAdmin";
        // Whoever waits says what is wrong.
        let _ = jars.run(Some(&self.conf_dir()), main, &["-rollEdits"]);
    }

    /// `active` or `standby`, once it answers.
    fn state(&self, i: usize) -> Option<String> {
        let http = self.ports.namenodes[i].http.address();
        let status = jmx::bean(&http, "service=NameNode,name=NameNodeStatus")?;
        Some(status.get("State")?.as_str()?.to_owned())
    }
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
