//! How a run is to be, and where what it needs is.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What holds for all sections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many rounds; medians are over them.
    pub rounds: usize,
    /// The length of a slice.
    pub slice_seconds: u64,
    /// Whether it is only to be seen that everything works.
    pub quick: bool,
    /// The path of this program; those that are measured lie beside it.
    pub binary: String,
    /// Where the programs of another build lie.
    pub before: Option<PathBuf>,
    /// Where results go.
    pub results: PathBuf,
    /// Where Flume's jars are.
    pub flume_lib: PathBuf,
}

impl Settings {
    /// The defaults, or those of a quick run.
    pub fn new(quick: bool) -> Self {
        let binary = std::env::current_exe().expect("a program knows its path");
        let target = workspace().join("target");
        let flume = std::env::var_os("SEWERTEST_FLUME_LIB").map(PathBuf::from);
        Self {
            rounds: if quick { 2 } else { 12 },
            slice_seconds: if quick { 1 } else { 2 },
            quick,
            binary: binary.display().to_string(),
            before: None,
            results: target.join("bench"),
            flume_lib: flume.unwrap_or_else(|| target.join("flume/lib")),
        }
    }

    /// The same with the programs of the build before, if one was named.
    pub fn of_before(&self) -> Option<Self> {
        let binary = self.before.as_ref()?.join("sewer-bench").display().to_string();
        Some(Self { binary, ..self.clone() })
    }

    /// A directory of its own for a section, on the disk that is measured.
    pub fn directory(&self) -> TempDir {
        std::fs::create_dir_all(&self.results).expect("make the directory of the results");
        tempfile::tempdir_in(&self.results).expect("make a directory for a section")
    }

    /// One number for a run, another for a quick one.
    pub fn either<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Makes a directory of its own for a server.
pub fn own(root: &Path, name: &str) -> PathBuf {
    let directory = root.join(name);
    std::fs::create_dir(&directory).expect("make a directory for a server");
    directory
}

/// The workspace's directory.
pub fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}
