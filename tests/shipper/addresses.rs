//! A destination that cannot be reached as it is configured, without an HDFS: which key, which
//! file, which host.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use sewer_shipper::destination::{Kind, Options, open};
use sewer_test_support::shipper::Shipper;

use crate::node::Node;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// A host that no name service of any network has.
const NOBODY: &str = "no-such-cluster.invalid";

/// What `--check` says of a destination, with these variables and settings.
fn checked(directory: &Path, uri: &str, set: Option<&str>, variables: &[(&str, &Path)]) -> String {
    let mut shipper = Shipper::new(BINARY, directory, uri, set.as_slice());
    let variables =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.display().to_string()));
    shipper.set_environment(&variables.collect::<Vec<_>>());
    let finished = shipper.run(&["--check"]);
    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    let line = finished.stdout.lines().find(|line| line.starts_with("FAIL  destination: "));
    line.unwrap_or_else(|| panic!("no such line: {}", finished.stdout)).to_owned()
}

#[test]
fn a_name_service_that_nobody_defines_is_named_with_its_key_and_file() {
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("conf");
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("hdfs-site.xml"), "<configuration/>").unwrap();
    let set = format!("destination.hadoop_conf_dir={}", conf.display());
    let uri = format!("hdfs://{NOBODY}");
    let said = checked(directory.path(), &uri, Some(&set), &[]);
    let file = conf.join("hdfs-site.xml").display().to_string();
    let (address, key) = (format!("{NOBODY}:8020"), format!("dfs.ha.namenodes.{NOBODY}"));
    for part in [&address, &key, &file] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = checked(directory.path(), &uri, None, &[]);
    for part in [&address, &key, "destination.hadoop_conf_dir"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // One that is announced and not defined is no host.
    let announced = "<configuration><property name='dfs.nameservices' value='ns'/></configuration>";
    fs::write(conf.join("hdfs-site.xml"), announced).unwrap();
    let said = checked(directory.path(), "hdfs://ns", Some(&set), &[]);
    for part in ["dfs.nameservices", "dfs.ha.namenodes.ns", &file] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_directory_of_hadoops_configuration_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let path = missing.display().to_string();
    let said = checked(directory.path(), "hdfs://h:1", None, &[("HADOOP_CONF_DIR", &missing)]);
    assert!(said.contains("HADOOP_CONF_DIR") && said.contains(&path), "{said}");
    let set = format!("destination.hadoop_conf_dir={path}");
    let said = checked(directory.path(), "hdfs://h:1", Some(&set), &[]);
    assert!(said.contains("destination.hadoop_conf_dir") && said.contains(&path), "{said}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("conf");
    fs::create_dir(&conf).unwrap();
    let file = conf.join("core-site.xml");
    fs::write(&file, "<configuration><property></configuration>").unwrap();
    let said = checked(directory.path(), "hdfs://h:1", None, &[("HADOOP_CONF_DIR", &conf)]);
    assert!(said.contains(&file.display().to_string()), "{said}");
}

#[tokio::test]
async fn each_namenode_of_a_pair_that_cannot_be_reached_is_named() {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let address = free().expect("it is closed again").to_string();
    let conf = tempfile::tempdir().unwrap();
    let site = format!(
        "<configuration><property name='dfs.ha.namenodes.ns' value='a,b'/><property \
         name='dfs.namenode.rpc-address.ns.a' value='{address}'/><property \
         name='dfs.namenode.rpc-address.ns.b' value='{NOBODY}'/></configuration>"
    );
    fs::write(conf.path().join("hdfs-site.xml"), site).unwrap();
    let options = Options { hadoop_conf_dir: Some(conf.path().to_owned()), ..Options::default() };
    let there = open("hdfs://ns", options).expect("a valid URI");
    let error = there.length("/x").await.expect_err("nobody is there");
    let said = error.to_string();
    for part in [&format!("{address}: no connection"), &format!("{NOBODY}:8020: its name"), "; "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_ne!(error.kind(), Kind::Stuck, "it may come: {said}");
}

#[test]
fn a_directory_that_is_not_mounted_is_not_made_up_for() {
    let node = Node::with_segments(&[&[1, 2], &[3]]);
    let (out, mount) = (node.out(), node.dir.path().join("mount"));
    fs::rename(&out, &mount).unwrap();
    let bases = node.bases();
    let run = |mode: &str, code| {
        let sets = ["retry.replay_patience=300ms", "retry.initial=10ms", "shipper.host=h"];
        // Not by its name at first: the helper makes what it is given.
        let shipper = Shipper::new(BINARY, node.dir.path(), "file:///", &sets);
        let set = format!("destination.uri={}", node.config.destination.uri);
        let finished = shipper.run(&[mode, "--set", &set]);
        assert_eq!(finished.code, Some(code), "{}{}", finished.stdout, finished.stderr);
        finished.stderr + &finished.stdout
    };
    for (mode, code) in [("--check", 1), ("--replay", 1), ("--audit", 3)] {
        let said = run(mode, code);
        assert!(said.contains(&out.display().to_string()) && said.contains("Mount"), "{said}");
        assert!(!out.exists(), "{mode}: it is the mount's");
        assert_eq!(node.bases(), bases, "{mode}: nothing is deleted");
    }
    fs::rename(&mount, &out).unwrap();
    run("--replay", 0);
    assert_eq!(node.bases(), Vec::<u64>::new());
}
