//! The body of a request as it is recorded: as it came, or without its Content-Encoding.
//!
//! A body that says an encoding and is not in it, or not all of it, or whose encoding is not known
//! here, is recorded as it came, with the encoding that it says: nothing is lost, whoever is wrong.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use thiserror::Error;

use crate::request::head::Headers;

/// A decoded body is over the limit of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the decoded body is over the limit")]
pub struct TooLarge;

/// A body, and the encoding that it is in, if there is one.
#[derive(Debug)]
pub struct RecordedBody<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The header Content-Encoding, all lines of it, if the bytes are still in it.
    pub encoding: Option<Cow<'a, [u8]>>,
}

impl<'a> RecordedBody<'a> {
    /// The body as it came.
    pub fn new(bytes: &'a [u8], headers: Headers<'a>) -> Self {
        let lines: Vec<_> = headers.all("content-encoding").collect();
        let encoding = match lines[..] {
            [] => None,
            [one] => Some(Cow::Borrowed(one)),
            // RFC 9110, 5.3: they are one list.
            _ => Some(lines.join(&b", "[..]).into()),
        };
        Self { bytes, encoding }
    }

    /// The body without its encoding, up to `bytes_max`; `memory` holds it.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn decoded(self, bytes_max: usize, memory: &'a mut Vec<u8>) -> Result<Self, TooLarge> {
        let Some(encoding) = &self.encoding else { return Ok(self) };
        let is = |name: &str| encoding.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        let decoded = if is("identity") {
            return Ok(Self { encoding: None, ..self });
        } else if is("gzip") || is("x-gzip") {
            read(MultiGzDecoder::new(self.bytes), bytes_max, memory)
        } else if is("deflate") {
            // RFC 9110, 8.4.1.2: in the zlib format; some send the bare stream.
            let mut zlib = ZlibDecoder::new(self.bytes);
            match read(&mut zlib, bytes_max, memory).up_to(zlib.into_inner()) {
                Decoded::Malformed => {
                    let mut bare = DeflateDecoder::new(self.bytes);
                    read(&mut bare, bytes_max, memory).up_to(bare.into_inner())
                }
                decoded => decoded,
            }
        } else {
            Decoded::Malformed
        };
        match decoded {
            Decoded::Whole => Ok(Self { bytes: memory, encoding: None }),
            Decoded::Malformed => Ok(self),
            Decoded::TooLarge => Err(TooLarge),
        }
    }
}

enum Decoded {
    Whole,
    Malformed,
    TooLarge,
}

impl Decoded {
    /// The same if nothing of the body is left behind what was decoded.
    fn up_to(self, rest: &[u8]) -> Self {
        match self {
            Self::Whole if !rest.is_empty() => Self::Malformed,
            decoded => decoded,
        }
    }
}

fn read(decoder: impl Read, bytes_max: usize, memory: &mut Vec<u8>) -> Decoded {
    memory.clear();
    // One more than may be tells that there are too many.
    let mut limited = decoder.take(bytes_max as u64 + 1);
    match limited.read_to_end(memory) {
        Ok(_) if memory.len() > bytes_max => Decoded::TooLarge,
        Ok(_) => Decoded::Whole,
        Err(error) => {
            debug_assert_ne!(error.kind(), ErrorKind::WouldBlock, "all of it is in memory");
            Decoded::Malformed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::head::with_head;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write as _;

    fn decoded(
        encoding: &str,
        bytes: &[u8],
        bytes_max: usize,
    ) -> Result<(Vec<u8>, bool), TooLarge> {
        let mut memory = Vec::new();
        let body = RecordedBody { bytes, encoding: Some(encoding.as_bytes().into()) };
        let body = body.decoded(bytes_max, &mut memory)?;
        Ok((body.bytes.to_vec(), body.encoding.is_some()))
    }

    fn compressed(text: &[u8]) -> [(&'static str, Vec<u8>); 4] {
        let level = Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        let mut bare = DeflateEncoder::new(Vec::new(), level);
        gzip.write_all(text).unwrap();
        zlib.write_all(text).unwrap();
        bare.write_all(text).unwrap();
        let gzip = gzip.finish().unwrap();
        [
            ("GZIP", gzip.clone()),
            ("x-gzip", gzip),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", bare.finish().unwrap()),
        ]
    }

    #[test]
    fn a_body_in_a_known_encoding_is_decoded_up_to_the_limit() {
        let text = b"{\"a\":1}".repeat(100);
        for (encoding, bytes) in compressed(&text) {
            assert_eq!(
                decoded(encoding, &bytes, text.len()),
                Ok((text.clone(), false)),
                "{encoding}"
            );
            assert_eq!(decoded(encoding, &bytes, text.len() - 1), Err(TooLarge), "{encoding}");
        }
        assert_eq!(decoded("identity", b"x", 10), Ok((b"x".to_vec(), false)));
    }

    #[test]
    fn what_cannot_be_decoded_stays_as_it_came() {
        for (encoding, bytes) in
            [("gzip", &b"plain"[..]), ("br", b"x"), ("gzip, gzip", b"x"), ("", b"x")]
        {
            assert_eq!(decoded(encoding, bytes, 100), Ok((bytes.to_vec(), true)), "{encoding}");
        }
        let [(_, gzip), ..] = compressed(b"text");
        let cut = &gzip[..gzip.len() - 1];
        assert_eq!(decoded("gzip", cut, 100), Ok((cut.to_vec(), true)));
    }

    #[test]
    fn a_body_is_decoded_to_its_last_byte_or_stays_as_it_came() {
        for (encoding, whole) in compressed(b"text text text") {
            let followed = [&whole[..], b" and more"].concat();
            for bytes in [&followed[..], &whole[..whole.len() - 1], &whole[..whole.len() / 2]] {
                let found = decoded(encoding, bytes, 100);
                assert_eq!(found, Ok((bytes.to_vec(), true)), "{encoding}");
            }
        }
        // The bare stream of nothing, and then a text.
        let text = b"\x03\0 is how it begins";
        assert_eq!(decoded("deflate", text, 100), Ok((text.to_vec(), true)));
    }

    #[test]
    fn an_encoding_in_several_lines_is_a_list_and_is_kept() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: identity\r\n\
            Content-Encoding: gzip\r\n";
        with_head(head, |head| {
            let (body, mut memory) = (RecordedBody::new(b"x", head.headers), Vec::new());
            let decoded = body.decoded(100, &mut memory).unwrap();
            assert_eq!(decoded.encoding.as_deref(), Some(&b"identity, gzip"[..]));
            assert_eq!(decoded.bytes, b"x");
        });
    }
}
