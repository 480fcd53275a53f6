//! Java, Hadoop's jars and this workspace's Java programs: found, compiled and run.
//!
//! The jars are fetched by `tests/run` and never from here. The programs in `tests/hadoop/java` and
//! the class in `packaging/hadoop` are compiled once per state of their sources; several test
//! processes may do so at the same time.
//!
//! Where [`class_archive`](crate::class_archive) has left the classes of the jars ready for use,
//! every JVM takes them from there.
//!
//! A configuration directory may hold a file `environment` with lines `NAME=value`: variables for
//! every Java program that is run with that configuration. [`LIB`] among them names the jars.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long one run of a Java program may take.
const RUN_WAIT: Duration = Duration::from_mins(2);

/// How much of a failed program's last line of output an error shows, in characters.
const STDOUT_TAIL: usize = 500;

/// The variable that names the directory of Hadoop's jars.
pub const LIB: &str = "SEWERTEST_HADOOP_LIB";

/// The same for the jars of an old release.
pub const OLD_LIB: &str = "SEWERTEST_HADOOP_OLD_LIB";

/// The file of variables in a configuration directory.
pub(crate) const ENVIRONMENT: &str = "environment";

/// Small and quick to start; the speed of long-running code does not matter here.
const JVM_FLAGS: [&str; 6] = [
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xmx256m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    "-Dfile.encoding=UTF-8",
];

/// Everything needed to run Hadoop's classes and our Java programs.
#[derive(Clone, Debug)]
pub struct HadoopJars {
    java: PathBuf,
    classes: PathBuf,
    /// The jars, in an order that stays: an archive holds for that order only.
    classpath: OsString,
    archive: PathBuf,
}

/// Finds Java and Hadoop's jars and compiles the Java programs; remembers the answer.
///
/// # Errors
/// What is missing, and how to get it.
pub fn available() -> Result<HadoopJars, String> {
    HadoopJars::of(&lib_dir())
}

/// As [`available`], of an old release: the variables for [`HdfsOptions::environment`] with which
/// a cluster, and what reads it, is of that release.
///
/// # Errors
/// What is missing, and how to get it.
///
/// [`HdfsOptions::environment`]: crate::hdfs::HdfsOptions::environment
pub fn old_environment() -> Result<Vec<(String, String)>, String> {
    let lib = lib(OLD_LIB, "lib-2.7");
    HadoopJars::of(&lib)?;
    Ok(vec![(LIB.to_owned(), lib.display().to_string())])
}

/// The directory of Hadoop's jars, whether they are there or not.
pub fn lib_dir() -> PathBuf {
    lib(LIB, "lib")
}

/// The directory that a variable names, or the usual one.
fn lib(variable: &str, usual: &str) -> PathBuf {
    std::env::var_os(variable)
        .map_or_else(|| workspace().join("target/hadoop").join(usual), PathBuf::from)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether the tests of `suite` that need Hadoop can run; says so on standard error if not.
///
/// # Panics
/// If they cannot run and `SEWERTEST_REQUIRE_HADOOP=1` says that they must.
pub fn available_or_skip(suite: &str) -> bool {
    is_there_or_skip(suite, available().map(drop))
}

/// As [`available_or_skip`], given the answer.
///
/// # Panics
/// As that.
pub fn is_there_or_skip(suite: &str, there: Result<(), String>) -> bool {
    match there {
        Ok(()) => true,
        Err(why) => {
            let required = std::env::var_os("SEWERTEST_REQUIRE_HADOOP").is_some_and(|v| v == "1");
            assert!(!required, "{suite} must run (SEWERTEST_REQUIRE_HADOOP=1): {why}");
            skip(suite, &why);
            false
        }
    }
}

/// Says on standard error that a suite did not run. Written past libtest's capture: a suite that is
/// skipped in silence looks like one that passed.
pub fn skip(suite: &str, why: &str) {
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "skipped: {suite}: {why}");
}

impl HadoopJars {
    /// Those in a directory; remembers the answer.
    fn of(lib: &Path) -> Result<Self, String> {
        static FOUND: Mutex<BTreeMap<PathBuf, Result<HadoopJars, String>>> =
            Mutex::new(BTreeMap::new());
        // Nothing is left half done in it.
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry(lib.to_owned()).or_insert_with(|| Self::find(lib)).clone()
    }

    fn find(lib: &Path) -> Result<Self, String> {
        let java = tool("java")?;
        let javac = tool("javac")?;
        let root = workspace().canonicalize().map_err(|e| format!("find the workspace: {e}"))?;
        let jars = lib.canonicalize().and_then(fs::read_dir).into_iter().flatten().flatten();
        let mut jars: Vec<PathBuf> = jars.map(|jar| jar.path()).collect();
        if jars.is_empty() {
            return Err(format!(
                "no Hadoop jars in {}; run tests/run once, which fetches them by Maven, or set \
                 {LIB} or {OLD_LIB} to a directory that holds them",
                lib.display()
            ));
        }
        let classes = compile(&javac, &root, lib)?;
        jars.sort();
        let classpath = std::env::join_paths(&jars).map_err(|e| format!("use these jars: {e}"))?;
        let mut hasher = DefaultHasher::new();
        (&java, &classpath).hash(&mut hasher);
        let archive = root.join(format!("target/hadoop/archive-{:016x}.jsa", hasher.finish()));
        Ok(Self { java, classes, classpath, archive })
    }

    /// Where the classes of the jars are ready for use, or may be made so.
    pub(crate) fn archive(&self) -> &Path {
        &self.archive
    }

    /// The directory of our compiled classes, that of `packaging/hadoop` included.
    pub fn classes(&self) -> &Path {
        &self.classes
    }

    /// A command that runs `main` of a class, with `conf` on the classpath.
    /// These jars, unless the configuration names others.
    ///
    /// # Panics
    /// If those others cannot be used.
    pub(crate) fn command(&self, conf: Option<&Path>, main: &str) -> Command {
        let environment = conf.map(environment).unwrap_or_default();
        let others = environment.iter().find(|(name, _)| name == LIB).map(|(_, lib)| {
            Self::of(Path::new(lib)).unwrap_or_else(|why| panic!("run {main}: {why}"))
        });
        let jars = others.as_ref().unwrap_or(self);
        let mut command = jars.jvm();
        if jars.archive.is_file() {
            let mut archive = OsString::from("-XX:SharedArchiveFile=");
            archive.push(&jars.archive);
            // What it says of an archive that it cannot use goes to standard output.
            command.arg(archive).arg("-Xlog:disable");
        }
        let mut classpath = jars.classpath.clone();
        for further in [Some(jars.classes.as_path()), conf].into_iter().flatten() {
            classpath.push(":");
            classpath.push(further);
        }
        command.env("CLASSPATH", classpath).envs(environment).arg(main);
        command
    }

    /// A JVM that finds the classes of the jars.
    pub(crate) fn jvm(&self) -> Command {
        let mut command = Command::new(&self.java);
        command.args(JVM_FLAGS).env("CLASSPATH", &self.classpath);
        command
    }

    /// Runs a class to its end and returns what it printed on standard output.
    ///
    /// # Errors
    /// What it printed on standard error, if it exits with another code than 0 or takes over two
    /// minutes.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        conf: Option<&Path>,
        main: &str,
        args: &[S],
    ) -> Result<String, String> {
        let mut command = self.command(conf, main);
        command.args(args);
        run(&mut command).map_err(|e| format!("run {main}: {e}"))
    }
}

/// The variables for programs with this configuration.
fn environment(conf: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(conf.join(ENVIRONMENT)).unwrap_or_default();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.into(), value.into()));
    text.lines().filter_map(pair).collect()
}

fn tool(name: &str) -> Result<PathBuf, String> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    home.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!("no {name} in JAVA_HOME or PATH; install a JDK (11 or newer) or run tests/run")
        })
}

fn compile(javac: &Path, root: &Path, lib: &Path) -> Result<PathBuf, String> {
    let mut sources = vec![
        root.join("packaging/hadoop/src/main/java/net/pixelcop/sewer/source/http")
            .join("AccessLogEvent.java"),
    ];
    let programs = root.join("tests/hadoop/java");
    let list_failed = |e| format!("list {}: {e}", programs.display());
    let entries = fs::read_dir(&programs).map_err(list_failed)?;
    for entry in entries {
        sources.push(entry.map_err(list_failed)?.path());
    }
    sources.sort();
    let mut hasher = DefaultHasher::new();
    (lib, javac).hash(&mut hasher);
    for source in &sources {
        fs::read(source).map_err(|e| format!("read {}: {e}", source.display()))?.hash(&mut hasher);
    }
    let parent = root.join("target/hadoop");
    let classes = parent.join(format!("classes-{:016x}", hasher.finish()));
    if classes.is_dir() {
        return Ok(classes);
    }
    let failed = |e| format!("prepare {}: {e}", classes.display());
    fs::create_dir_all(&parent).map_err(failed)?;
    let fresh = tempfile::tempdir_in(&parent).map_err(failed)?;
    let mut command = Command::new(javac);
    command.arg("-nowarn").arg("-cp").arg(lib.join("*")).arg("-d").arg(fresh.path()).args(&sources);
    run(&mut command).map_err(|e| format!("compile the Java programs: {e}"))?;
    let fresh = fresh.keep();
    if let Err(error) = fs::rename(&fresh, &classes) {
        // Another process was faster; its classes come from the same sources.
        fs::remove_dir_all(&fresh).map_err(failed)?;
        if !classes.is_dir() {
            return Err(failed(error));
        }
    }
    Ok(classes)
}

pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let finished = crate::command::run(command, RUN_WAIT)?;
    // What it printed last tells where it was; all of it could be megabytes.
    let tail = finished.stdout.lines().last().unwrap_or_default();
    let tail: String = tail.chars().take(STDOUT_TAIL).collect();
    match finished.code {
        Some(0) => Ok(finished.stdout),
        Some(code) => Err(format!("exit code {code}\n{tail}\n{}", finished.stderr)),
        None => Err(format!("ended by a signal\n{tail}\n{}", finished.stderr)),
    }
}
