//! A cluster with Kerberos, with a real KDC: what the shipper logs in with, what it says when it
//! cannot, and that an outage longer than its tickets live costs nothing.
//!
//! Each test has a cluster of its own, with another protection of calls and data.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sewer_test_support::hdfs::{Hdfs, HdfsOptions};
use sewer_test_support::kdc::{self, Kdc, Protection};
use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::rows::ListedFile;
use sewer_test_support::shipper::Shipper;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the shipper's tickets live where they are to expire: longer than any of its calls.
const TICKET: Duration = Duration::from_secs(8);

/// Longer than any test.
const HOUR: Duration = Duration::from_hours(1);

/// Open files and threads that come and go.
const HELD_SLACK: usize = 8;

/// What the shipper says while the KDC is silent.
const NO_ANSWER: &str = "from the NameNode or from a Kerberos KDC";

/// A secured cluster, its KDC, and a pixel whose events go there.
struct Site {
    pixel: Pixel,
    hdfs: Hdfs,
    kdc: Kdc,
    directory: TempDir,
}

impl Site {
    /// `None` if there is no Hadoop or no KDC here. The shipper's principal is `sewer`.
    fn start(protection: Protection, ticket: Option<Duration>) -> Option<Self> {
        if !kdc::available_or_skip("kerberos") {
            return None;
        }
        let kdc = Kdc::start();
        kdc.add("sewer", ticket);
        let hdfs = Hdfs::start(&kdc.secured(HdfsOptions::default(), protection));
        let directory = tempfile::tempdir().expect("a temporary directory");
        let pixel = Pixel::started(BINARY, directory.path(), &[]);
        Some(Self { pixel, hdfs, kdc, directory })
    }

    /// A shipper of the pixel's events with further settings.
    fn shipper(&self, sets: &[&str]) -> Shipper {
        let conf = format!("destination.hadoop_conf_dir={}", self.hdfs.conf_dir().display());
        let sets = [&[conf.as_str()], sets].concat();
        let mut shipper = Shipper::new(BINARY, self.directory.path(), &self.hdfs.uri(), &sets);
        shipper.set_environment(&self.kdc.environment());
        shipper
    }

    /// The settings to log in with the keytab of a principal.
    fn keytab_login(&self, principal: &str) -> [String; 2] {
        let keytab = self.kdc.keytab(principal);
        [format!("hdfs.principal={principal}"), format!("hdfs.keytab={}", keytab.display())]
    }

    /// A running one, which gives up a call sooner than its tickets expire.
    fn started(&self, sets: &[&str]) -> Shipper {
        let limits = ["hdfs.rpc_timeout=3s", "hdfs.data_timeout=5s"];
        let mut shipper = self.shipper(&[&limits, sets].concat());
        shipper.start();
        shipper.wait_until_ready();
        shipper
    }

    fn load(&self) -> Load {
        Load::start(LoadOptions {
            address: self.pixel.address(),
            run: "kerberos".into(),
            connections: 2,
            pause: Duration::from_millis(20),
            limit: Duration::from_mins(5),
        })
    }

    fn shipper_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("shipper.log")).unwrap_or_default()
    }

    /// Freezes the `NameNode` for so long, and until the shipper has given up its connection.
    fn freeze(&self, at_least: Duration) {
        let given_up = || self.shipper_log().matches("no answer within").count();
        let before = given_up();
        self.hdfs.namenode().freeze();
        std::thread::sleep(at_least);
        assert!(eventually(PATIENCE, || given_up() > before), "{}", self.shipper_log());
    }

    /// Ends the load, waits until all has arrived, and compares by Hadoop's own reader.
    fn finish(mut self, load: Load, mut shipper: Shipper) {
        let record = load.stop();
        assert!(record.unanswered.is_empty() && record.refused.is_empty(), "{record:?}");
        self.pixel.stop();
        let all = eventually(PATIENCE, || shipper.left().is_empty());
        assert!(all, "{:?}\n{}", shipper.left(), shipper.process().log_tail());
        shipper.stop();
        let odd = |file: &ListedFile| file.is_hidden() || file.open_for_write;
        let listed = self.hdfs.list_files("/");
        assert!(!listed.iter().any(odd), "temporary or open files are left: {listed:?}");
        let rows = self.hdfs.read_rows("/");
        println!("{} acknowledged, {} rows", record.acknowledged.len(), rows.len());
        record
            .check(rows.iter().map(|row| row.key["query_string"].as_str().unwrap_or("(none)")))
            .unwrap();
    }
}

fn delivered(shipper: &Shipper) -> f64 {
    shipper.metrics()["sewer_shipper_events_total"]
}

/// Waits for further events to be delivered.
fn wait_for_delivery(shipper: &mut Shipper, when: &str) {
    let before = delivered(shipper);
    let more = eventually(PATIENCE, || delivered(shipper) > before);
    assert!(more, "nothing is delivered {when}\n{}", shipper.process().log_tail());
}

fn failed_logins(shipper: &Shipper) -> f64 {
    let name = "sewer_shipper_retries_total{reason=\"authentication\"}";
    shipper.metrics().get(name).copied().unwrap_or(0.0)
}

/// Open files and threads.
fn held(shipper: &mut Shipper) -> (usize, usize) {
    let process = Path::new("/proc").join(shipper.process().pid().to_string());
    let count = |what: &str| fs::read_dir(process.join(what)).map_or(0, Iterator::count);
    (count("fd"), count("task"))
}

fn as_refs(sets: &[String; 2]) -> [&str; 2] {
    [&sets[0], &sets[1]]
}

/// `--check` must fail and say this.
fn check_says(what: &str, shipper: &Shipper, expected: &str) {
    let finished = shipper.run(&["--check"]);
    let line = finished.stdout.lines().find(|line| line.contains("destination:"));
    let line = line.unwrap_or_else(|| panic!("{what}: {finished:?}"));
    println!("{what}: {line}");
    assert!(line.starts_with("FAIL") && line.contains(expected), "{what}: {line}");
    assert_eq!(finished.code, Some(1), "{what}: {line}");
}

#[test]
fn a_failed_login_says_why_and_a_mended_keytab_needs_no_restart() {
    let Some(mut site) = Site::start(Protection::Integrity, None) else { return };
    let login = site.keytab_login("sewer");
    let right = site.shipper(&as_refs(&login));
    assert_eq!(right.run(&["--check"]).code, Some(0));

    let [principal, keytab] = as_refs(&login);
    let with = |sets: &[&str]| site.shipper(sets);
    check_says("no login", &with(&[]), "set `hdfs.principal` and `hdfs.keytab`");
    check_says("no Kerberos", &with(&["destination.hadoop_conf_dir=/"]), "it may want Kerberos");
    let missing = with(&[principal, "hdfs.keytab=/no/such/keytab"]);
    check_says(
        "no keytab",
        &missing,
        "/no/such/keytab (key `hdfs.keytab`) cannot be read: No such",
    );
    let other = with(&["hdfs.principal=other", keytab]);
    check_says("other principal", &other, "holds no key of other (key `hdfs.principal`)");
    let garbage = site.directory.path().join("garbage");
    fs::write(&garbage, "no keytab").expect("write a file");
    let garbage = with(&[principal, &format!("hdfs.keytab={}", garbage.display())]);
    check_says("garbage", &garbage, "holds no key of sewer");
    site.kdc.add("gone", None);
    site.kdc.remove("gone");
    let unknown = with(&as_refs(&site.keytab_login("gone")));
    check_says("unknown principal", &unknown, "the KDC does not know the principal");
    let cache = site.kdc.kinit("sewer", Duration::from_secs(1));
    std::thread::sleep(Duration::from_secs(2));
    let cache = format!("hdfs.credential_cache=FILE:{}", cache.display());
    check_says("expired", &with(&[principal, &cache]), "run kinit");
    let lib = site.directory.path().join("lib");
    fs::create_dir(&lib).expect("make a directory");
    fs::write(lib.join("libgssapi_krb5.so.2"), "").expect("write a file");
    let mut no_library = with(&[principal, keytab]);
    let mut environment = site.kdc.environment();
    environment.push(("LD_LIBRARY_PATH".to_owned(), lib.display().to_string()));
    no_library.set_environment(&environment);
    check_says("no library", &no_library, "apt-get install libgssapi-krb5-2");
    site.kdc.kill();
    check_says(
        "no KDC",
        &right,
        "Cannot contact any KDC for realm 'SEWER.TEST'; check that a KDC runs",
    );
    site.kdc.restart();

    site.kdc.change_key("sewer");
    check_says("other key", &right, "the key in `hdfs.keytab` is not the KDC's");
    let load = site.load();
    let mut shipper = site.started(&as_refs(&login));
    assert!(eventually(PATIENCE, || failed_logins(&shipper) >= 2.0), "{}", site.shipper_log());
    let log = site.shipper_log();
    let said = |line: &str| {
        line.contains("ERROR")
            && line.contains("the key in `hdfs.keytab` is not the KDC's")
            && line.contains("reason=\"authentication\"")
    };
    assert!(log.lines().any(said), "{log}");
    site.kdc.write_keytab("sewer");
    wait_for_delivery(&mut shipper, "with a mended keytab");
    site.finish(load, shipper);
}

#[test]
fn an_outage_longer_than_tickets_live_costs_nothing() {
    let Some(mut site) = Site::start(Protection::Privacy, Some(TICKET)) else { return };
    let login = site.keytab_login("sewer");
    let mut shipper = site.started(&as_refs(&login));
    let load = site.load();
    wait_for_delivery(&mut shipper, "at first");
    // The connection of that login lives on while its ticket does not.
    std::thread::sleep(TICKET + Duration::from_secs(2));
    wait_for_delivery(&mut shipper, "after the ticket has expired");
    let before = held(&mut shipper);
    let logins = site.kdc.logins("sewer");

    site.hdfs.namenode().restart();
    wait_for_delivery(&mut shipper, "after the NameNode was gone");
    assert!(site.kdc.logins("sewer") > logins, "it has logged in again");

    // The NameNode is back before the KDC, which is silent at first and then gone.
    site.freeze(TICKET);
    site.kdc.freeze();
    site.hdfs.namenode().thaw();
    let no_answers = || site.shipper_log().matches(NO_ANSWER).count();
    let because_of_the_namenode = no_answers();
    let told = eventually(PATIENCE, || no_answers() >= because_of_the_namenode + 2);
    assert!(told, "{}", shipper.process().log_tail());
    println!("(files, threads) with a silent KDC: {:?}", held(&mut shipper));
    site.kdc.kill();
    let told = eventually(PATIENCE, || failed_logins(&shipper) >= 1.0);
    assert!(told, "{}", shipper.process().log_tail());
    let no_kdc = "Cannot contact any KDC for realm 'SEWER.TEST'; check that a KDC runs";
    let told = eventually(PATIENCE, || site.shipper_log().contains(no_kdc));
    assert!(told, "{}", shipper.process().log_tail());
    site.kdc.restart();
    wait_for_delivery(&mut shipper, "once there is a KDC again");
    let settled = eventually(PATIENCE, || {
        let after = held(&mut shipper);
        after.0 <= before.0 + HELD_SLACK && after.1 <= before.1 + HELD_SLACK
    });
    println!("(files, threads) before: {before:?}, after: {:?}", held(&mut shipper));
    assert!(settled, "{before:?} before, {:?} after", held(&mut shipper));
    site.finish(load, shipper);
}

#[test]
fn a_new_key_of_the_namenode_and_a_renewed_ticket_cache_need_no_restart() {
    let Some(mut site) = Site::start(Protection::Authentication, None) else { return };
    let login = site.keytab_login("sewer");
    let load = site.load();
    site.kdc.freeze();
    let mut shipper = site.started(&as_refs(&login));
    let told = eventually(PATIENCE, || site.shipper_log().contains(NO_ANSWER));
    assert!(told, "{}", shipper.process().log_tail());
    // A silent KDC does not hold up its end either.
    shipper.stop();
    site.kdc.thaw();
    shipper.start();
    shipper.wait_until_ready();
    wait_for_delivery(&mut shipper, "with a keytab");

    // The ticket for the NameNode that the shipper has is of no use any more, and lives for hours.
    site.hdfs.stop_all();
    site.kdc.change_key("nn/localhost");
    site.kdc.write_keytab("nn/localhost");
    site.hdfs.datanode(0).start();
    site.hdfs.namenode().restart();
    wait_for_delivery(&mut shipper, "with a new key of the NameNode");
    let refused = "the NameNode refused the login: GSS initiate failed";
    assert!(site.shipper_log().contains(refused), "the ticket was of no use");
    shipper.stop();

    // Somebody else renews the tickets, or not.
    let cache = site.kdc.kinit("sewer", HOUR);
    let cache = format!("hdfs.credential_cache=FILE:{}", cache.display());
    let mut shipper = site.started(&["hdfs.principal=sewer", &cache]);
    wait_for_delivery(&mut shipper, "with a ticket cache");
    site.kdc.kinit("sewer", Duration::from_secs(1));
    site.freeze(Duration::from_secs(2));
    site.hdfs.namenode().thaw();
    let told = eventually(PATIENCE, || failed_logins(&shipper) >= 1.0);
    assert!(told, "{}", shipper.process().log_tail());
    assert!(site.shipper_log().contains("Ticket expired; without `hdfs.keytab`"));
    site.kdc.kinit("sewer", HOUR);
    wait_for_delivery(&mut shipper, "with new tickets");
    site.finish(load, shipper);
}
