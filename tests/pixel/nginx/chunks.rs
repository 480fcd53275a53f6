//! Bodies in chunks, most of them broken: where the pixel takes one, it ends where nginx lets it
//! end. Otherwise a part of a body would be a request to one of the two.

use sewer_test_support::pixel::Pixel;
use sewer_test_support::random::Random;
use sewer_test_support::tools;

use super::{BINARY, Nginx, statuses};

/// How many bodies are made up.
const GENERATED: usize = 3000;

/// What is put into a body, or into the place of a part of it.
const PARTS: [&[u8]; 18] = [
    b"\r\n",
    b"\n",
    b"\r",
    b";",
    b"=",
    b"\"",
    b" ",
    b"\t",
    b"0",
    b"a",
    b"\0",
    b":",
    b",",
    b"+",
    b"-",
    b"0x",
    b"0\r\n\r\n",
    b"GET /z HTTP/1.1\r\nHost: h\r\n\r\n",
];

/// A request with a body in chunks, a change or two in it, and a request behind.
fn generated(random: &mut Random) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for _ in 0..random.below(4) {
        let data: Vec<u8> =
            (0..=random.below(20)).map(|_| *random.pick(b"abGET /\r\n:0")).collect();
        let extension = *random.pick(&["", "", ";a", ";a=b", " ", "; x=\"y\""]);
        let size = format!("{:x}", data.len());
        parts.extend([size.into(), extension.into(), b"\r\n".into(), data, b"\r\n".into()]);
    }
    let trailer = *random.pick(&["", "", "T: x\r\n"]);
    parts.extend(["0", "\r\n", trailer, "\r\n"].map(|part| part.as_bytes().to_vec()));
    for _ in 0..random.below(3) {
        let place = usize::try_from(random.below(parts.len() as u64)).unwrap();
        let other = random.pick(&PARTS).to_vec();
        match random.below(4) {
            0 => parts.insert(place, other),
            1 => parts[place] = other,
            2 if parts.len() > 1 => drop(parts.remove(place)),
            _ => {
                let part = &mut parts[place];
                let at = usize::try_from(random.below(part.len() as u64 + 1)).unwrap();
                part.splice(at..at, other);
            }
        }
    }
    let head = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let behind = b"GET /behind HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    [&head[..], &parts.concat(), behind].concat()
}

#[test]
fn a_body_in_chunks_ends_where_it_ends_in_nginx_or_is_refused() {
    let Some(binary) = tools::find_or_skip("nginx", "nginx-light", "nginx") else { return };
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(&binary, directory.path());
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.ack=received"]);
    let mut random = Random::announced("chunks");
    let (mut taken, mut wrong) = (0, Vec::new());
    for _ in 0..GENERATED {
        let request = generated(&mut random);
        let [ours, theirs] =
            [pixel.address(), nginx.port.address()].map(|at| statuses(&at, &request));
        if ours.first() == Some(&204) {
            taken += 1;
            // What is a method differs by intent; how many requests there are must not.
            if theirs.first() != Some(&204) || ours.len() != theirs.len() {
                wrong.push(format!("{ours:?}, nginx {theirs:?}: {}", request.escape_ascii()));
            }
        }
    }
    println!("{taken} taken");
    assert!(wrong.is_empty(), "{} of {taken}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(taken > GENERATED / 4 && taken < GENERATED, "{taken} taken");
}
