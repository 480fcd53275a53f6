//! A shipper under test, on the WAL of a pixel in the same directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{self, Finished, without_own_variables};
use crate::http;
use crate::metrics::{self, Samples};
use crate::ports::{self, Port};
use crate::process::{Process, sibling};

/// How long a start may take.
const READY_WAIT: Duration = Duration::from_secs(30);

/// How long a stop may take: longer than the shipper waits for the shipment under way.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// How long `--replay`, `--check` or `--cat` may take.
const COMMAND_WAIT: Duration = Duration::from_mins(3);

/// Whether a file beside the plans is none.
fn is_note(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ["host.json", "partitions.json", "reserve"].contains(&&*name)
}

/// A shipper that can be killed and started again.
#[derive(Debug)]
pub struct Shipper {
    binary: PathBuf,
    directory: PathBuf,
    sets: Vec<String>,
    environment: Vec<(String, String)>,
    status: Port,
    process: Option<Process>,
}

impl Shipper {
    /// A shipper that is not running yet. `binary` is the path of any program of the workspace;
    /// `directory` is that of the pixel whose WAL it ships; `sets` win over the test's defaults.
    /// A destination in that directory is made, which a shipper does not do.
    ///
    /// # Panics
    /// If the configuration cannot be written, or the directory not made.
    pub fn new(binary: &str, directory: &Path, destination: &str, sets: &[&str]) -> Self {
        let status = ports::reserve();
        let config = format!(
            "[wal]\ndir = \"{0}/wal\"\n[shipper]\ndir = \"{0}/shipper\"\n[status]\n\
             listen = \"{1}\"\n[destination]\nuri = \"{destination}\"\n[roll]\nmax_age = \"200ms\"\n\
             [retry]\ninitial = \"100ms\"\nmax = \"2s\"\nreplay_patience = \"1m\"\n",
            directory.display(),
            status.address(),
        );
        fs::write(directory.join("shipper.toml"), config).expect("write shipper.toml");
        let out = destination.strip_prefix("file://").map(Path::new);
        if let Some(out) = out.filter(|out| out.starts_with(directory)) {
            fs::create_dir_all(out).expect("make the destination");
        }
        Self {
            binary: sibling(binary, "sewer-shipper"),
            directory: directory.to_owned(),
            sets: sets.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            status,
            process: None,
        }
    }

    /// Takes the program of another build, of which `binary` is any one, from its next start on.
    pub fn use_build_of(&mut self, binary: &str) {
        self.binary = sibling(binary, "sewer-shipper");
    }

    /// Further environment variables for its next start or run.
    pub fn set_environment(&mut self, variables: &[(String, String)]) {
        self.environment = variables.to_vec();
    }

    /// A further setting for its next start or run.
    pub fn set(&mut self, set: &str) {
        self.sets.push(set.to_owned());
    }

    /// The arguments that it is started with.
    pub fn args(&self) -> Vec<String> {
        let config = self.directory.join("shipper.toml").display().to_string();
        let sets = self.sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]);
        ["--config".to_owned(), config].into_iter().chain(sets).collect()
    }

    /// Starts it and waits for nothing.
    pub fn start(&mut self) {
        let log = self.directory.join("shipper.log");
        let (args, environment) = (self.args(), &self.environment);
        self.process = Some(Process::start_with(&self.binary, &args, environment, &log));
    }

    /// Waits until its status port answers.
    ///
    /// # Panics
    /// If it ends before, or takes too long.
    pub fn wait_until_ready(&mut self) {
        let address = self.status.address();
        self.process().wait_until("ready", READY_WAIT, || {
            http::get(&address, "/").is_ok_and(|response| response.status == 200)
        });
    }

    /// The running process.
    ///
    /// # Panics
    /// If it was not started.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the shipper was started")
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Ends it by SIGTERM.
    ///
    /// # Panics
    /// If it does not end in time or with another exit code than 0.
    pub fn stop(&mut self) {
        self.process().terminate();
        let code = self.process().wait(STOP_WAIT);
        assert_eq!(code, Some(0), "{}", self.process().log_tail());
    }

    /// Where it tells its state.
    pub fn status_address(&self) -> String {
        self.status.address()
    }

    /// Its metrics, which must be well-formed.
    pub fn metrics(&self) -> Samples {
        metrics::get(&self.status.address())
    }

    /// Runs it to its end with its configuration and further arguments, such as `--replay`.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn run(&self, args: &[&str]) -> Finished {
        let mut command = Command::new(&self.binary);
        command.args(self.args()).args(args);
        let command = without_own_variables(&mut command).envs(self.environment.iter().cloned());
        command::run(command, COMMAND_WAIT)
            .unwrap_or_else(|why| panic!("sewer-shipper {args:?}: {why}"))
    }

    /// The segments and plans that are left on the local disk: none once everything is shipped.
    ///
    /// # Panics
    /// If the directories cannot be listed.
    pub fn left(&self) -> Vec<PathBuf> {
        ["wal/sealed", "wal/quarantine", "wal/shipments"]
            .iter()
            .map(|dir| self.directory.join(dir))
            .filter(|dir| dir.exists())
            .flat_map(|dir| fs::read_dir(dir).expect("list a directory of a daemon"))
            .map(|entry| entry.expect("list a directory of a daemon").path())
            .filter(|path| !is_note(path))
            .collect()
    }
}
