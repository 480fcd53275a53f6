//! The settings of a client by what the operator's configuration says.

use super::*;
use crate::destination::uri::parse;

const LIMIT: Duration = Duration::from_mins(1);

fn site(files: &[(&str, &str)]) -> Site {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, properties) in files {
        let text = format!("<?xml version=\"1.0\"?><configuration>{properties}</configuration>");
        fs::write(dir.path().join(name), text).expect("write");
    }
    Site::read(Some(dir.path())).expect("valid XML")
}

fn property(name: &str, value: &str) -> String {
    format!("<property><name>{name}</name><value>{value}</value></property>")
}

fn connection(site: &Site, uri: &str, rotation: usize) -> Result<Connection, ConfigurationError> {
    site.connection(&parse(uri).expect("a valid URI"), LIMIT, rotation)
}

#[test]
fn settings_are_ours_unless_the_operator_has_set_them() {
    let ours = connection(&site(&[]), "hdfs://nn", 0).expect("a host");
    assert_eq!(ours.settings[FAILOVERS_MAX], "0");
    assert_eq!(ours.settings[SOCKET_TIMEOUT], "20000");
    assert_eq!(ours.settings[REPLACE_BEST_EFFORT], "true");
    let text = property(FAILOVERS_MAX, " 4\n") + &property(REPLACE_POLICY, "NEVER");
    let theirs = connection(&site(&[("hdfs-site.xml", &text)]), "hdfs://nn", 0);
    let theirs = theirs.expect("a host").settings;
    let expected = [(FAILOVERS_MAX, "4"), (REPLACE_POLICY, "NEVER"), (SOCKET_TIMEOUT, "20000")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(theirs, BTreeMap::from(expected));
}

#[test]
fn the_namenode_asked_first_changes_after_a_timeout() {
    let text = property("dfs.ha.namenodes.ns", "a, b\n")
        + &property("dfs.namenode.rpc-address.ns.a", "\n host1 \n")
        + &property("dfs.namenode.rpc-address.ns.b", "hdfs://host2:9000/")
        + &property("dfs.client.failover.proxy.provider.ns", "ObserverReadProxyProvider");
    let site = site(&[("hdfs-site.xml", &text)]);
    for (rotation, order) in [(0, "a,b"), (1, "b,a"), (2, "a,b")] {
        let Connection { url, settings, namenodes } =
            connection(&site, "hdfs://ns", rotation).expect("it is defined");
        assert_eq!((url.as_str(), namenodes.len()), ("hdfs://ns", 1));
        assert_eq!(settings["dfs.ha.namenodes.ns"], order);
        assert_eq!(settings["dfs.namenode.rpc-address.ns.a"], "host1:8020");
        assert_eq!(settings["dfs.namenode.rpc-address.ns.b"], "host2:9000");
        assert_eq!(settings[FAILOVERS_MAX], "1");
        assert!(!settings.contains_key("dfs.client.failover.proxy.provider.ns"));
        assert!(site.doubts(&namenodes).is_empty());
    }
}

#[test]
fn an_authority_without_a_port_is_a_name_service_or_a_host_with_hadoops_port() {
    let text = property("dfs.nameservices", "single, ns")
        + &property("dfs.namenode.rpc-address.single", "host1");
    let site = site(&[("hdfs-site.xml", &text)]);
    for (uri, expected) in [
        ("hdfs://nn", "hdfs://nn:8020"),
        ("hdfs://nn:9000/a", "hdfs://nn:9000"),
        ("hdfs://[::1]", "hdfs://[::1]:8020"),
        ("hdfs://single", "hdfs://host1:8020"),
    ] {
        assert_eq!(connection(&site, uri, 0).expect(uri).url, expected);
    }
    let error = connection(&site, "hdfs://ns", 0).expect_err("it is only named").to_string();
    for part in ["dfs.nameservices", "hdfs-site.xml", "dfs.ha.namenodes.ns", "rpc-address.ns"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_namenode_without_an_address_is_told_and_so_is_one_with_a_wrong_one() {
    let ids = property("dfs.ha.namenodes.ns", "nn1,nn2");
    let first = property("dfs.namenode.rpc-address.ns.nn1", "host1:8020");
    let half = site(&[("hdfs-site.xml", &(ids.clone() + &first))]);
    let found = connection(&half, "hdfs://ns", 0).expect("one can be asked");
    assert_eq!(found.settings["dfs.ha.namenodes.ns"], "nn1");
    let doubts = half.doubts(&found.namenodes);
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    for part in ["nn2", "dfs.namenode.rpc-address.ns.nn2", "hdfs-site.xml"] {
        assert!(doubts[0].contains(part), "{doubts:?}");
    }
    let wrong = first.replace("host1:8020", "${nn.host}:8020");
    for (text, part) in [(ids.clone(), "rpc-address.ns.nn1"), (ids + &wrong, "${nn.host}:8020")] {
        let nobody = site(&[("hdfs-site.xml", &text)]);
        let error = connection(&nobody, "hdfs://ns", 0).expect_err("nobody can be asked");
        let error = error.to_string();
        assert!(error.contains(part) && error.contains("hdfs-site.xml"), "{error}");
    }
}

#[test]
fn a_mount_table_is_handed_on_with_the_namenodes_behind_it() {
    let text = property("fs.viewfs.mounttable.t.link./logs", "hdfs://ns/data/logs")
        + &property("fs.viewfs.mounttable.t.linkFallback", "hdfs://nn/")
        + &property("dfs.ha.namenodes.ns", "a,b")
        + &property("dfs.namenode.rpc-address.ns.a", "host1:8020")
        + &property("dfs.namenode.rpc-address.ns.b", "host2:8020");
    let Connection { url, settings, namenodes } =
        connection(&site(&[("core-site.xml", &text)]), "viewfs://t/logs", 0).expect("defined");
    assert_eq!((url.as_str(), namenodes.len()), ("viewfs://t", 2));
    assert_eq!(settings["fs.viewfs.mounttable.t.link./logs"], "hdfs://ns/data/logs");
    assert_eq!(settings["fs.viewfs.mounttable.t.linkFallback"], "hdfs://nn:8020/");
    let without = property("fs.viewfs.mounttable.t.link./logs", "hdfs://nn/data");
    let other = property("fs.viewfs.mounttable.t.link./logs", "s3a://bucket/");
    for (text, part) in [("", "link.PATH"), (&without, "linkFallback"), (&other, "s3a://")] {
        let error = connection(&site(&[("core-site.xml", text)]), "viewfs://t", 0);
        let error = error.expect_err(part).to_string();
        assert!(error.contains(part) && error.contains("fs.viewfs"), "{error}");
    }
}

#[test]
fn hdfs_site_prevails_and_replication_is_taken_from_it() {
    let (core, hdfs) = (property(REPLICATION, "3"), property(REPLICATION, " 2 "));
    let site = site(&[("core-site.xml", &core), ("hdfs-site.xml", &hdfs)]);
    assert_eq!(site.replication, Some(2));
}

#[test]
fn broken_xml_and_a_missing_directory_are_errors() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("core-site.xml"), "<configuration>").expect("write");
    Site::read(Some(dir.path())).expect_err("the element is not closed");
    let error = Site::read(Some(&dir.path().join("missing"))).expect_err("no directory");
    let error = error.to_string();
    assert!(error.contains("hadoop_conf_dir") && error.contains("missing"), "{error}");
}
