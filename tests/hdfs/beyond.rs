//! Clusters that are more than a NameNode and its DataNodes: encryption zones with a real key
//! management server, mount tables, routers in front, observers beside.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sewer_shipper::destination::{Destination, Kind, Options, open, probe};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions, Kms, Router};
use sewer_test_support::load::Record;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::wal;
use sewer_wal::Event;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::contract::{self, files};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

fn by(uri: &str, conf: &Path) -> Arc<dyn Destination> {
    let options = Options { hadoop_conf_dir: Some(conf.to_owned()), ..Options::default() };
    open(uri, options).expect("a valid URI")
}

/// Ships some events and reads them back by Hadoop's own reader.
fn ships_to(hdfs: &Hdfs, uri: &str, conf: &Path, read_from: &str) {
    ships_with(hdfs, uri, conf, read_from, &[]);
}

/// The same, with variables for the shipper.
fn ships_with(
    hdfs: &Hdfs,
    uri: &str,
    conf: &Path,
    read_from: &str,
    variables: &[(String, String)],
) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut record = Record::default();
    let queries: Vec<String> = (0..20).map(|number| format!("n=-{number}")).collect();
    record.acknowledged.extend(0..20);
    wal::append_segment(
        &directory.path().join("wal"),
        queries.iter().map(|query| Event {
            timestamp_ms: 0,
            query_string: Some(query.as_bytes()),
            ..Event::default()
        }),
    );
    let set = format!("destination.hadoop_conf_dir={}", conf.display());
    let sets = [set.as_str(), "destination.format=json", "retry.replay_patience=10s"];
    let mut shipper = Shipper::new(BINARY, directory.path(), uri, &sets);
    shipper.set_environment(variables);
    shipper.run(&["--replay"]).expect_success();
    let rows = hdfs.read_rows(read_from);
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| serde_json::from_str(row.value.as_str().expect("a Text")).expect("JSON"))
        .collect();
    record
        .check(rows.iter().map(|row| row["query_string"].as_str().expect("a query")))
        .unwrap_or_else(|why| panic!("{why}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shipped_into_an_encryption_zone_is_encrypted_there_and_read_back() {
    if !hdfs::available_or_skip("hdfs::beyond") {
        return;
    }
    let kms = Kms::start();
    let hdfs = Hdfs::start(&HdfsOptions { config: kms.config(), ..HdfsOptions::default() });
    kms.make_zone(&hdfs, "/zone", "key1");
    tokio::task::block_in_place(|| {
        ships_to(&hdfs, &format!("{}/zone", hdfs.uri()), &hdfs.conf_dir(), "/zone/sewer");
    });
    let there = by(&format!("{}/zone", hdfs.uri()), &hdfs.conf_dir());
    probe(&*there, "/probed").await.expect("the zone works");
    let content = files::content(3_000_000);
    files::put(&*there, "/x", &content).await.expect("write");
    assert!(files::get(&*there, "/x").await.expect("read") == content, "decrypted");
    let raw = hdfs.fs(&["-cat", "/.reserved/raw/zone/x"]);
    assert!(!raw.is_empty() && raw.as_bytes() != content, "encrypted on the disks");

    // Without the server no file can be begun, and none is left half made.
    kms.kill();
    let error = files::put(&*there, "/y", b"y").await.expect_err("no key can be had");
    let said = error.to_string();
    assert!(said.contains(&kms.uri()) && said.contains("hadoop.security.key.provider"), "{said}");
    assert_eq!(error.kind(), Kind::Transient, "{said}");
}

/// TLS in front of a server, with a certificate of its own; its address, and the certificate.
async fn tls_in_front_of(behind: String) -> (String, String) {
    let identity = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]);
    let identity = identity.expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(identity.signing_key.serialize_der().into());
    // Of several providers that may be built in, the one that is used everywhere here.
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("its own versions")
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .expect("a key of its certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut server = TcpStream::connect(&behind).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut server).await
            });
        }
    });
    (address, identity.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_server_is_asked_over_https_and_believed_by_its_certificate() {
    if !hdfs::available_or_skip("hdfs::beyond") {
        return;
    }
    let kms = Kms::start();
    let hdfs = Hdfs::start(&HdfsOptions { config: kms.config(), ..HdfsOptions::default() });
    kms.make_zone(&hdfs, "/zone", "key1");
    let (address, certificate) = tls_in_front_of(kms.address()).await;
    let server = format!("kms://https@{address}/kms");
    let conf = hdfs.directory().join("https");
    fs::create_dir(&conf).expect("create");
    let core = format!(
        "<configuration><property name='hadoop.security.key.provider.path' value='{server}'/>\
         </configuration>"
    );
    fs::write(conf.join("core-site.xml"), core).expect("write");
    let uri = format!("{}/zone", hdfs.uri());

    // This process does not know the certificate; the shipper is told of it.
    let error = files::put(&*by(&uri, &conf), "/x", b"x").await.expect_err("it is a stranger");
    let said = error.to_string();
    assert!(error.reason() == "encryption_zone" && said.contains(&server), "{said}");
    let known = hdfs.directory().join("ca.pem");
    fs::write(&known, certificate).expect("write");
    let variable = ("SSL_CERT_FILE".to_owned(), known.display().to_string());
    tokio::task::block_in_place(|| {
        ships_with(&hdfs, &uri, &conf, "/zone/sewer", &[variable]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_without_a_key_server_that_is_known_here_says_which_property_is_missing() {
    if !hdfs::available_or_skip("hdfs::beyond") {
        return;
    }
    let kms = Kms::start();
    let hdfs = Hdfs::start(&HdfsOptions { config: kms.config(), ..HdfsOptions::default() });
    kms.make_zone(&hdfs, "/zone", "key1");
    let conf = tempfile::tempdir().expect("a temporary directory");
    for text in [
        "<configuration/>".to_owned(),
        // A provider that only Java has: of no use here, and no reason to fail outside of zones.
        "<configuration><property name='hadoop.security.key.provider.path' \
         value='jceks://file/k'/></configuration>"
            .to_owned(),
    ] {
        fs::write(conf.path().join("core-site.xml"), text).expect("write");
        let there = by(&hdfs.uri(), conf.path());
        let error = files::put(&*there, "/zone/x", b"x").await.expect_err("it has no key");
        let said = error.to_string();
        assert_eq!((error.kind(), error.reason()), (Kind::Stuck, "encryption_zone"), "{said}");
        for part in ["hadoop.security.key.provider.path", "core-site.xml", "kms://"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        files::put(&*there, "/plain", b"x").await.expect("outside of the zone all is well");
        there.delete("/plain").await.expect("delete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_table_keeps_the_contract() {
    if !hdfs::available_or_skip("hdfs::beyond") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let conf = tempfile::tempdir().expect("a temporary directory");
    let property = |name: &str, value: &str| format!("<property name='{name}' value='{value}'/>");
    let table =
        property("fs.viewfs.mounttable.table.link./logs", &format!("{}/data/logs", hdfs.uri()))
            + &property("fs.viewfs.mounttable.table.linkFallback", &format!("{}/rest", hdfs.uri()));
    let core = "<configuration xmlns:xi='http://www.w3.org/2001/XInclude'>\
                <xi:include href='mountTable.xml'/></configuration>";
    fs::write(conf.path().join("core-site.xml"), core).expect("write");
    let table = format!("<configuration>{table}</configuration>");
    fs::write(conf.path().join("mountTable.xml"), table).expect("write");
    let reopen = || by("viewfs://table/logs", conf.path());
    contract::all(&reopen, "/contract").await;
    tokio::task::block_in_place(|| {
        ships_to(&hdfs, "viewfs://table/logs", conf.path(), "/data/logs/sewer");
        ships_to(&hdfs, "viewfs://table", conf.path(), "/rest/sewer");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_in_front_keeps_the_contract() {
    if !hdfs::available_or_skip("hdfs::beyond") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let router = Router::start(&hdfs);
    let conf = tempfile::tempdir().expect("a temporary directory");
    let site = format!(
        "<configuration><property name='dfs.ha.namenodes.fed' value='r1'/><property \
         name='dfs.namenode.rpc-address.fed.r1' value='{}'/></configuration>",
        router.address()
    );
    fs::write(conf.path().join("hdfs-site.xml"), site).expect("write");
    let reopen = || by("hdfs://fed", conf.path());
    contract::all(&reopen, "/contract").await;
    tokio::task::block_in_place(|| ships_to(&hdfs, "hdfs://fed", conf.path(), "/sewer"));
}

/// An observer may not know yet what was written a moment ago. Nobody asks it, whatever the
/// configuration has for other clients.
#[tokio::test(flavor = "multi_thread")]
async fn an_observer_is_passed_over() {
    if !hdfs::available_or_skip("hdfs::beyond") {
        return;
    }
    // Whoever runs observers sets this: without it they answer everybody, with what they know.
    let config = vec![("dfs.namenode.state.context.enabled".to_owned(), "true".to_owned())];
    let hdfs = Hdfs::start(&HdfsOptions { ha: true, config, ..HdfsOptions::default() });
    hdfs.make_observer(1);
    let provider = "org.apache.hadoop.hdfs.server.namenode.ha.ObserverReadProxyProvider";
    let conf = hdfs.client_conf(
        "observed",
        &[
            ("dfs.ha.namenodes.pair", "nn2,nn1"),
            ("dfs.client.failover.proxy.provider.pair", provider),
        ],
    );
    let reopen = || by(&hdfs.uri(), &conf);
    contract::all(&reopen, "/contract").await;
    tokio::task::block_in_place(|| ships_to(&hdfs, &hdfs.uri(), &conf, "/sewer"));
}
