//! The proxy that the tests of faults stand on does what it is told, at the call it is told, and
//! nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sewer_test_support::hadoop;
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::proxy::{Calls, Mode, Proxy, Strike, When};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);
/// Long enough for something that must not arrive to arrive.
const MOMENT: Duration = Duration::from_millis(300);

/// A server that sends everything back; its address.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("it listens").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            thread::spawn(move || {
                let mut other = stream.try_clone().expect("duplicate a socket");
                // A reset ends it as well.
                let _ = std::io::copy(&mut stream, &mut other);
                let _ = other.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).expect("connect to the proxy");
    stream.set_read_timeout(Some(LIMIT)).expect("an option");
    stream
}

fn said_back(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).expect("write");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("read");
    assert_eq!(back, text);
}

#[test]
fn what_is_passed_on_is_the_same_to_its_end() {
    let proxy = Proxy::start(&echo());
    let mut stream = client(&proxy);
    said_back(&mut stream, b"hello");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut writer, data) = (stream.try_clone().expect("duplicate a socket"), sent.clone());
    let writing = thread::spawn(move || {
        writer.write_all(&data).expect("write");
        writer.shutdown(std::net::Shutdown::Write).expect("half close");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("read up to the end");
    writing.join().expect("it was written");
    assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
}

#[test]
fn a_refusing_proxy_does_not_listen_and_comes_back_on_its_port() {
    let proxy = Proxy::start(&echo());
    let mut before = client(&proxy);
    said_back(&mut before, b"hello");
    for _ in 0..3 {
        proxy.set(Mode::Refuse);
        let refused = TcpStream::connect(proxy.address()).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        said_back(&mut before, b"still there");
        proxy.set(Mode::Pass);
        said_back(&mut client(&proxy), b"again");
    }
}

#[test]
fn a_reset_is_a_reset_on_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let proxy = Proxy::start(&listener.local_addr().expect("it listens").to_string());
    let mut stream = client(&proxy);
    stream.write_all(b"hello").expect("write");
    let (mut served, _) = listener.accept().expect("the proxy connects");
    served.read_exact(&mut [0; 5]).expect("read");
    assert_eq!(proxy.connections(), 1);
    proxy.reset_connections();
    for side in [&mut stream, &mut served] {
        side.set_read_timeout(Some(LIMIT)).expect("an option");
        let reset = side.read(&mut [0]).expect_err("no end, but a reset");
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_black_hole_keeps_everything_back_until_it_is_over() {
    let proxy = Proxy::start(&echo());
    let mut stream = client(&proxy);
    said_back(&mut stream, b"hello");
    proxy.set(Mode::BlackHole);
    let mut new = client(&proxy);
    let mut back = [0; 4];
    for stream in [&mut stream, &mut new] {
        stream.write_all(b"held").expect("the kernel takes it");
        stream.set_read_timeout(Some(MOMENT)).expect("an option");
        let nothing = stream.read(&mut back).expect_err("nothing comes");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    }
    proxy.set(Mode::Pass);
    for stream in [&mut stream, &mut new] {
        stream.set_read_timeout(Some(LIMIT)).expect("an option");
        stream.read_exact(&mut back).expect("it was only late");
        assert_eq!(&back, b"held");
    }
    proxy.set(Mode::BlackHole);
    stream.write_all(b"lost").expect("the kernel takes it");
    proxy.reset_connections();
    assert!(stream.read(&mut back).is_err(), "a black hole does not keep it from being reset");
}

#[test]
fn a_strike_waits_for_its_place_in_a_stream() {
    let proxy = Proxy::start(&echo());
    let mut stream = client(&proxy);
    let struck = proxy.after_bytes(10, Strike::Reset);
    said_back(&mut stream, b"123456789");
    assert!(!struck.is_done());
    stream.write_all(b"0").expect("the kernel takes it");
    struck.wait(LIMIT);
    let reset = stream.read(&mut [0]).expect_err("no end, but a reset");
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    said_back(&mut client(&proxy), b"once");
}

#[test]
fn a_part_of_the_pieces_is_slow() {
    let proxy = Proxy::start(&echo());
    let mut stream = client(&proxy);
    proxy.set(Mode::Slow { delay: MOMENT, per_mille: 100 });
    let slow = (0..60)
        .filter(|_| {
            let start = Instant::now();
            said_back(&mut stream, b"x");
            start.elapsed() >= MOMENT
        })
        .count();
    assert!((1..40).contains(&slow), "{slow} of 60, each in two directions");
}

#[test]
fn calls_of_a_real_client_are_known_by_method_and_path() {
    if !hdfs::available_or_skip("proxy") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions { datanodes: 0, ..HdfsOptions::default() });
    let proxy = Proxy::start(hdfs.uri().trim_start_matches("hdfs://"));
    let uri = format!("hdfs://{}", proxy.address());
    let (tell, told) = mpsc::channel();
    let before =
        proxy.on(Calls::of("mkdirs").containing("/b/"), When::BeforeForward, move |call| {
            tell.send((call.method().to_owned(), call.text(1).map(str::to_owned))).expect("told");
        });
    let after = proxy.on(Calls::of("mkdirs").nth(3), When::AfterAnswer, |_| thread::sleep(MOMENT));
    let start = Instant::now();
    hdfs.fs(&["-fs", &uri, "-mkdir", "-p", "/a/x", "/b/x", "/c/x"]);
    assert!(start.elapsed() > MOMENT, "the third answer was held");
    before.wait(LIMIT);
    after.wait(LIMIT);
    assert_eq!(told.recv().expect("told"), ("mkdirs".to_owned(), Some("/b/x".to_owned())));
    assert_eq!(proxy.calls("mkdirs"), 3);
    let made: Vec<_> = proxy.log().into_iter().filter(|call| call.method == "mkdirs").collect();
    assert_eq!(made.iter().map(|call| &*call.path).collect::<Vec<_>>(), ["/a/x", "/b/x", "/c/x"]);

    let renamed = proxy.on(Calls::of("rename"), When::SwallowAnswer, |call| {
        assert_eq!((call.text(1), call.text(2)), (Some("/a/x"), Some("/a/y")));
        call.reset_connections();
    });
    let hadoop = hadoop::available().expect("HDFS runs");
    let args = ["-fs", &uri, "-mv", "/a/x", "/a/y"];
    let moved = hadoop.run(Some(&hdfs.conf_dir()), "org.apache.hadoop.fs.FsShell", &args);
    renamed.wait(LIMIT);
    println!("what -mv says: {moved:?}");
    assert!(hdfs.fs(&["-ls", "/a"]).contains("/a/y"), "the swallowed call took place");
}
