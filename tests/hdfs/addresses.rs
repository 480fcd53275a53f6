//! Who is asked, by URI and Hadoop's configuration, and what is said when that goes wrong: each
//! error names the host and the port, and what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sewer_shipper::destination::{Destination, Kind, Options, hadoop_properties, open};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::shipper::Shipper;

use crate::contract::files::{begin, get, put};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

fn cluster(options: &HdfsOptions) -> Option<Hdfs> {
    hdfs::available_or_skip("hdfs::addresses").then(|| Hdfs::start(options))
}

fn by(uri: &str, conf: &Path) -> Arc<dyn Destination> {
    let options = Options { hadoop_conf_dir: Some(conf.to_owned()), ..Options::default() };
    open(uri, options).expect("a valid URI")
}

fn write(dir: &Path, files: &[(&str, String)]) -> PathBuf {
    fs::create_dir_all(dir).expect("create");
    for (name, text) in files {
        fs::write(dir.join(name), text).expect("write");
    }
    dir.to_owned()
}

fn document(content: &str) -> String {
    format!("<configuration xmlns:xi='http://www.w3.org/2001/XInclude'>{content}</configuration>")
}

fn property(name: &str, value: &str) -> String {
    format!("<property><name>{name}</name><value>{value}</value></property>")
}

/// A way to write a configuration, and its files.
type Way = (&'static str, Vec<(&'static str, String)>);

const IDS: &str = "dfs.ha.namenodes.ns";
const NN1: &str = "dfs.namenode.rpc-address.ns.nn1";
const NN2: &str = "dfs.namenode.rpc-address.ns.nn2";

/// The name service `ns` of two `NameNodes`, in several files as clients of Hadoop read them.
fn service_in_files(first: &str, second: &str) -> Vec<Way> {
    let plain = property(IDS, "nn1,nn2") + &property(NN1, first) + &property(NN2, second);
    let typed = "<!DOCTYPE configuration [<!ENTITY ha SYSTEM 'ha.xml'>]>\
                 <configuration>&ha;</configuration>";
    let final_ones = document(&plain).replace("</value>", "</value><final>true</final>");
    let overridden = property(IDS, "nn3") + &property(NN2, "other:1");
    vec![
        (
            "an external entity",
            vec![("hdfs-site.xml", typed.to_owned()), ("ha.xml", plain.clone())],
        ),
        (
            "an included file",
            vec![
                ("hdfs-site.xml", document("<xi:include href='ha.xml'/>")),
                ("ha.xml", document(&plain)),
            ],
        ),
        (
            "final ones",
            vec![("core-site.xml", final_ones), ("hdfs-site.xml", document(&overridden))],
        ),
    ]
}

/// The same in one file.
fn service_in_one_file(first: &str, second: &str) -> Vec<Way> {
    let ids = property(IDS, "nn1,nn2");
    let (host, port) = second.split_once(':').expect("host:port");
    let references = ids.clone()
        + &property("nn1", first)
        + &property("nn2.port", port)
        + &property(NN1, "${nn1}")
        + &property(NN2, &format!("{host}:${{nn2.port}}"));
    let environment = ids.clone()
        + &property(NN1, first)
        + &property(NN2, &format!("${{env.SEWERTEST_NO_SUCH_VARIABLE:-{host}}}:{port}"));
    let blanks = property(&format!(" {IDS}\n"), "\n nn1 ,\n nn2 \n")
        + &property(&format!("\n {NN1}\n "), &format!("\n  {first}\n"))
        + &property(NN2, &format!("{second} "));
    let comments = ids
        + &property(NN1, &format!("<!-- old -->{first}"))
        + &property(NN2, &format!("{host}<!-- x -->:{port}"));
    let attributes = format!(
        "<property name='{IDS}' value='nn1,nn2'/><property name='{NN1}' value='{first}'/>\
         <property name='{NN2}' value='{second}' final='true'/>"
    );
    let ways = [
        ("references", references),
        ("the environment", environment),
        ("blanks and line breaks", blanks),
        ("comments", comments),
        ("attributes", attributes),
    ];
    ways.map(|(about, text)| (about, vec![("hdfs-site.xml", document(&text))])).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_service_is_found_however_it_is_written() {
    let Some(hdfs) = cluster(&HdfsOptions { ha: true, ..HdfsOptions::default() }) else { return };
    let [first, second] = [0, 1].map(|i| hdfs.namenode_of(i).address().to_owned());
    let ways = [service_in_files(&first, &second), service_in_one_file(&first, &second)].concat();
    let conf = |about: &str| hdfs.directory().join(about.replace(' ', "-"));
    // Found at all: by the first one. Found also where the first one asked is a standby: both.
    for (number, (about, files)) in ways.iter().enumerate() {
        let there = by("hdfs://ns", &write(&conf(about), files));
        let path = format!("/d/{number}");
        put(&*there, &path, about.as_bytes()).await.unwrap_or_else(|e| panic!("{about}: {e}"));
    }
    hdfs.make_standby(0);
    hdfs.make_active(1);
    for (number, (about, _)) in ways.iter().enumerate() {
        let there = by("hdfs://ns", &conf(about));
        let path = format!("/d/{number}");
        let read = get(&*there, &path).await.unwrap_or_else(|e| panic!("{about}: {e}"));
        assert_eq!(read, about.as_bytes());
        assert!(there.doubts().is_empty(), "{about}: {:?}", there.doubts());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_port_is_told_from_an_rpc_port() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let properties = hadoop_properties(&hdfs.conf_dir()).expect("our own configuration");
    let web = &properties["dfs.namenode.http-address"];
    let there = by(&format!("hdfs://{web}"), &hdfs.conf_dir());
    for error in [
        there.length("/x").await.expect_err("that is no NameNode's RPC"),
        begin(&*there, "/x").await.err().expect("nor for this"),
    ] {
        assert_eq!((error.kind(), error.reason()), (Kind::Stuck, "configuration"), "{error}");
        let said = error.to_string();
        for part in [web, "HTTP", "dfs.namenode.rpc-address"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("Kerberos"), "{said}");
    }
    // A DataNode's port is another mistake of that kind.
    let data = hdfs.datanode(0).address().to_owned();
    let error = by(&format!("hdfs://{data}"), &hdfs.conf_dir()).length("/x").await;
    let said = error.expect_err("that is no NameNode").to_string();
    assert!(said.contains(&data) && said.contains("dfs.namenode.rpc-address"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_names_who_was_asked() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let there = by(&hdfs.uri(), &hdfs.conf_dir());
    let address = hdfs.namenode().address().to_owned();
    put(&*there, "/d/x", b"x").await.expect("HDFS is well");
    hdfs.enter_safe_mode();
    let mut errors = vec![
        begin(&*there, "/d/y").await.err().expect("it is in safe mode"),
        there.rename("/d/x", "/d/y").await.expect_err("it is in safe mode"),
    ];
    hdfs.leave_safe_mode();
    let mut output = begin(&*there, "/d/z").await.expect("it has left it");
    hdfs.namenode().kill();
    errors.push(output.write(vec![0; 3_000_000].into()).await.expect_err("no block can be had"));
    errors.push(there.delete("/d/x").await.expect_err("it is dead"));
    errors.push(there.list("/d").await.expect_err("it is dead"));
    errors.push(there.read("/d/x").await.expect_err("it is dead"));
    for error in errors {
        let said = error.to_string();
        assert!(said.contains(&address), "{said}");
        // What to do, after what it is.
        assert!(said.contains("; "), "{said}");
    }
}

#[test]
fn a_namenode_of_a_pair_without_an_address_is_told() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = property("dfs.ha.namenodes.ns", "nn1,nn2")
        + &property("dfs.namenode.rpc-address.ns.nn1", hdfs.namenode().address());
    let conf = directory.path().join("conf");
    write(&conf, &[("hdfs-site.xml", document(&site))]);
    let set = format!("destination.hadoop_conf_dir={}", conf.display());
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut shipper = Shipper::new(BINARY, directory.path(), "hdfs://ns", &[&set]);
    let checked = shipper.run(&["--check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    let file = conf.join("hdfs-site.xml").display().to_string();
    let parts = ["nn2", "dfs.namenode.rpc-address.ns.nn2", &file];
    for part in parts {
        assert!(checked.stdout.contains(part), "{}", checked.stdout);
    }
    // It ships by the other one, and says so once.
    let mut connection = Connection::open(&pixel.address()).expect("connect");
    connection.request(b"GET /p?x HTTP/1.1\r\nHost: h\r\n\r\n").expect("an answer");
    shipper.start();
    shipper.wait_until_ready();
    assert!(eventually(PATIENCE, || !hdfs.list_files("/sewer").is_empty()), "shipped");
    shipper.stop();
    pixel.stop();
    let log = fs::read_to_string(directory.path().join("shipper.log")).expect("its log");
    let warned: Vec<_> = log.lines().filter(|line| line.contains(parts[1])).collect();
    assert!(warned.len() == 1 && warned[0].contains("WARN"), "{log}");
}
