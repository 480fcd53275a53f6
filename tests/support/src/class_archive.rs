//! The classes of Hadoop's daemons and tools, loaded, checked and laid out in one file that every
//! JVM of the tests maps: it starts in half the time (class data sharing). A JVM that the file does
//! not suit, after an update for example, does without.

use std::fs;
use std::path::Path;

use crate::hadoop::{self, HadoopJars};
use crate::hdfs::{Hdfs, HdfsOptions};

/// Makes the archive, unless it is there.
///
/// # Errors
/// If Hadoop is missing, or the archive cannot be written.
///
/// # Panics
/// If HDFS does not start.
pub fn make() -> Result<(), String> {
    let jars = hadoop::available()?;
    if jars.archive().is_file() {
        return Ok(());
    }
    let failed = |e| format!("make {}: {e}", jars.archive().display());
    let lists = tempfile::tempdir().map_err(failed)?;
    use_everything(lists.path());
    let classes = lists.path().join("classes");
    fs::write(&classes, merge(lists.path()).map_err(failed)?).map_err(failed)?;
    dump(&jars, &classes)
}

/// Runs every daemon and the tools that the tests use. Each JVM lists the classes that it loads.
fn use_everything(lists: &Path) {
    let option = format!("-XX:DumpLoadedClassList={}/%p.list", lists.display());
    let environment = vec![("JAVA_TOOL_OPTIONS".to_owned(), option)];
    let hdfs = Hdfs::start(&HdfsOptions { ha: true, environment, ..HdfsOptions::default() });
    let file = hdfs.conf_dir().join("core-site.xml");
    hdfs.fs(&["-put", &file.to_string_lossy(), "/x.txt"]);
    hdfs.dfsadmin(&["-report"]);
    hdfs.fsck(&["/"]);
    assert_eq!(hdfs.list_files("/").len(), 1);
}

/// One list of what is in all of them. A killed JVM has not written its last line in full.
fn merge(lists: &Path) -> std::io::Result<String> {
    let mut lines = std::collections::BTreeSet::new();
    for list in fs::read_dir(lists)? {
        let list = fs::read_to_string(list?.path())?;
        let whole = list.rsplit_once('\n').map_or("", |(whole, _)| whole);
        lines.extend(whole.lines().filter(|line| !line.starts_with('#')).map(str::to_owned));
    }
    // What is derived from a class stands behind all classes.
    let (derived, classes): (Vec<_>, Vec<_>) = lines.into_iter().partition(|l| l.starts_with('@'));
    Ok([classes, derived].concat().join("\n") + "\n")
}

fn dump(jars: &HadoopJars, classes: &Path) -> Result<(), String> {
    let fresh = jars.archive().with_extension(std::process::id().to_string());
    let mut command = jars.jvm();
    command.args(["-Xshare:dump", "-Xlog:disable"]);
    command.arg(format!("-XX:SharedClassListFile={}", classes.display()));
    command.arg(format!("-XX:SharedArchiveFile={}", fresh.display()));
    hadoop::run(&mut command).map_err(|e| format!("make {}: {e}", fresh.display()))?;
    fs::rename(&fresh, jars.archive()).map_err(|e| format!("name {}: {e}", fresh.display()))
}
