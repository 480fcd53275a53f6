//! Spark in local mode, from the Python package that `tests/run` installs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::hadoop;

/// How long a Spark job on a few rows may take on a crowded machine.
const JOB_WAIT: Duration = Duration::from_mins(10);

/// It listens on loopback only, and has no page. One thread and few partitions, for a few rows.
const CONF: [&str; 7] = [
    "spark.master=local[1]",
    "spark.driver.host=127.0.0.1",
    "spark.driver.bindAddress=127.0.0.1",
    "spark.ui.enabled=false",
    "spark.driver.memory=512m",
    "spark.sql.shuffle.partitions=2",
    "spark.sql.session.timeZone=UTC",
];

/// A few rows are not worth the better compiler.
const QUICK: &str = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1";

/// Runs Python programs on Spark.
#[derive(Clone, Debug)]
pub struct Spark {
    home: PathBuf,
}

/// Where Spark is, if the tests of `suite` that need it can run; says so on standard error if not.
///
/// # Panics
/// If they cannot run and `SEWERTEST_REQUIRE_SPARK=1` says that they must.
pub fn available_or_skip(suite: &str) -> Option<Spark> {
    match find() {
        Ok(spark) => Some(spark),
        Err(why) => {
            let required = std::env::var_os("SEWERTEST_REQUIRE_SPARK").is_some_and(|v| v == "1");
            assert!(!required, "{suite} must run (SEWERTEST_REQUIRE_SPARK=1): {why}");
            hadoop::skip(suite, &why);
            None
        }
    }
}

fn find() -> Result<Spark, String> {
    // The jar with our class comes from there, and Spark needs the same Java.
    hadoop::available()?;
    let home = std::env::var_os("SEWERTEST_PYSPARK").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/pyspark")),
        PathBuf::from,
    );
    if home.join("bin/spark-submit").is_file() {
        return Ok(Spark { home });
    }
    Err(format!(
        "no Spark in {}; run tests/run once, which installs it by pip, or set SEWERTEST_PYSPARK to a \
         virtual environment with pyspark",
        home.display()
    ))
}

impl Spark {
    /// Submits a program that imports `module`, with our Hadoop classes on the classpath, and
    /// returns what it printed on standard output.
    ///
    /// # Panics
    /// With what it printed on standard error, if it fails.
    pub fn submit(&self, program: &str, module: &str, arguments: &[&str]) -> String {
        let jars = hadoop::available().expect("it was when Spark was found");
        let mut command = Command::new(self.home.join("bin/spark-submit"));
        for conf in CONF {
            command.args(["--conf", conf]);
        }
        command.args(["--driver-java-options", QUICK]);
        command.arg("--driver-class-path").arg(jars.classes());
        command.args(["--py-files", module, program]).args(arguments);
        // The Python of the workers must be that of the driver; and no other Spark's home.
        command.env("PYSPARK_PYTHON", self.home.join("bin/python")).env_remove("SPARK_HOME");
        command.env("SPARK_LOCAL_IP", "127.0.0.1");
        let done = crate::command::run(&mut command, JOB_WAIT)
            .unwrap_or_else(|why| panic!("spark-submit {program} {arguments:?}: {why}"));
        done.expect_success()
    }
}
