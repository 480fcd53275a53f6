//! The body of a request as it comes: so many bytes, or chunks.
//!
//! It is a machine without input of its own: it is fed bytes and says how many of them it has used.
//! So it takes the body to its end, where the next request begins, and never beyond.

use actix_web::http::StatusCode;
use httparse::Status;

use crate::request::parse::BodyLength;

/// The longest line of a chunk's size, with its extensions, and of a trailer.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The longest trailers.
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Body {
    next: Next,
    /// The bytes of it so far.
    count: usize,
    bytes_max: usize,
    /// The bytes, unless they are dropped as they come.
    kept: Option<Vec<u8>>,
}

/// The part that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The rest of the only part.
    Bytes(u64),
    /// The size of a chunk.
    Size,
    /// The rest of a chunk.
    Chunk(u64),
    /// The line break behind a chunk.
    ChunkEnd,
    /// A trailer or the empty line behind the trailers, of which there were so many bytes.
    Trailer(usize),
    /// Nothing: that was all.
    Nothing,
}

impl Body {
    pub(super) fn new(length: BodyLength, bytes_max: usize, keeps: bool) -> Self {
        let next = match length {
            BodyLength::Bytes(0) => Next::Nothing,
            BodyLength::Bytes(bytes) => Next::Bytes(bytes),
            BodyLength::Chunked => Next::Size,
        };
        Self { next, count: 0, bytes_max, kept: keeps.then(Vec::new) }
    }

    /// Whether all of it has come.
    pub(super) fn is_whole(&self) -> bool {
        self.next == Next::Nothing
    }

    /// The bytes, if they were to be kept.
    pub(super) fn into_kept(self) -> Option<Vec<u8>> {
        self.kept
    }

    /// Takes of these bytes what belongs to it, and returns how many those are. Others that come
    /// are to be fed behind the rest, unless it is whole.
    ///
    /// # Errors
    /// The status of the answer if it is malformed or too long.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, StatusCode> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let count = match self.next {
                Next::Bytes(left) | Next::Chunk(left) if !rest.is_empty() => {
                    self.take(rest, left)?
                }
                Next::Size => match self.size(rest)? {
                    Some(count) => count,
                    None => return Ok(used),
                },
                Next::ChunkEnd if rest.len() >= 2 => {
                    if !rest.starts_with(b"\r\n") {
                        return Err(StatusCode::BAD_REQUEST);
                    }
                    self.next = Next::Size;
                    2
                }
                Next::Trailer(before) => match self.trailer(rest, before)? {
                    Some(count) => count,
                    None => return Ok(used),
                },
                Next::Bytes(_) | Next::Chunk(_) | Next::ChunkEnd | Next::Nothing => {
                    return Ok(used);
                }
            };
            used += count;
        }
    }

    fn take(&mut self, bytes: &[u8], left: u64) -> Result<usize, StatusCode> {
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.count += count;
        if self.count > self.bytes_max {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&bytes[..count]);
        }
        let left = left - count as u64;
        self.next = match (self.next, left) {
            (Next::Bytes(_), 0) => Next::Nothing,
            (Next::Bytes(_), left) => Next::Bytes(left),
            (_, 0) => Next::ChunkEnd,
            (_, left) => Next::Chunk(left),
        };
        Ok(count)
    }

    /// The size of the next chunk; the length of its line, if that is complete.
    fn size(&mut self, bytes: &[u8]) -> Result<Option<usize>, StatusCode> {
        let is_digit = bytes.first().is_none_or(u8::is_ascii_hexdigit);
        let size = httparse::parse_chunk_size(bytes).ok().filter(|_| is_digit);
        let size = size.ok_or(StatusCode::BAD_REQUEST)?;
        // httparse takes a bare LF for a part of an extension, another server for the line's end.
        if memchr::memchr(b'\n', bytes).map(|end| end + 1) != count_of(&size) {
            return Err(StatusCode::BAD_REQUEST);
        }
        match size {
            Status::Complete((count, 0)) => {
                self.next = Next::Trailer(0);
                Ok(Some(count))
            }
            Status::Complete((_, size)) if size > (self.bytes_max - self.count) as u64 => {
                Err(StatusCode::PAYLOAD_TOO_LARGE)
            }
            Status::Complete((count, size)) => {
                self.next = Next::Chunk(size);
                Ok(Some(count))
            }
            Status::Partial if bytes.len() > LINE_BYTES_MAX => Err(StatusCode::BAD_REQUEST),
            Status::Partial => Ok(None),
        }
    }

    fn trailer(&mut self, bytes: &[u8], before: usize) -> Result<Option<usize>, StatusCode> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            let is_too_long = bytes.len() > LINE_BYTES_MAX;
            return if is_too_long { Err(StatusCode::BAD_REQUEST) } else { Ok(None) };
        };
        let line = bytes[..end].strip_suffix(b"\r").ok_or(StatusCode::BAD_REQUEST)?;
        if before + end > TRAILER_BYTES_MAX || line.contains(&b'\r') {
            return Err(StatusCode::BAD_REQUEST);
        }
        self.next = if line.is_empty() { Next::Nothing } else { Next::Trailer(before + end + 1) };
        Ok(Some(end + 1))
    }
}

/// The length of a line that gives a size, if it is complete.
fn count_of(size: &Status<(usize, u64)>) -> Option<usize> {
    match size {
        Status::Complete((count, _)) => Some(*count),
        Status::Partial => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body that bytes are, fed in pieces, and how many of the bytes it is.
    fn read(
        length: BodyLength,
        bytes: &[u8],
        piece: usize,
    ) -> Result<Option<(Vec<u8>, usize)>, StatusCode> {
        let mut body = Body::new(length, 100, true);
        let (mut used, mut end) = (0, 0);
        while !body.is_whole() && end < bytes.len() {
            end = bytes.len().min(end + piece);
            used += body.feed(&bytes[used..end])?;
        }
        Ok(body.is_whole().then(|| (body.into_kept().unwrap(), used)))
    }

    #[test]
    fn a_body_ends_where_it_says_however_it_comes() {
        for (length, text, body) in [
            (BodyLength::Bytes(0), "", ""),
            (BodyLength::Bytes(4), "body", "body"),
            (BodyLength::Chunked, "4\r\nbo\r\n\r\n2;x=\"y\"\r\ndy\r\n0\r\n\r\n", "bo\r\ndy"),
            (BodyLength::Chunked, "0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", "0123456789"),
            (BodyLength::Chunked, "0\r\n\r\n", ""),
        ] {
            let followed = format!("{text}GET / HTTP/1.1");
            for piece in 1..followed.len() {
                let expected = Ok(Some((body.as_bytes().to_vec(), text.len())));
                let found = read(length, followed.as_bytes(), piece);
                assert_eq!(found, expected, "{text:?} in pieces of {piece}");
            }
            for cut in 0..text.len() {
                assert_eq!(read(length, &text.as_bytes()[..cut], 3), Ok(None), "{cut} of {text:?}");
            }
        }
    }

    #[test]
    fn what_is_over_the_limit_is_told_so() {
        let long = "x".repeat(101);
        let chunked = format!("32\r\n{}\r\n33\r\n{}\r\n", &long[..50], &long[..51]);
        for (length, text) in [
            (BodyLength::Bytes(101), long.as_str()),
            (BodyLength::Chunked, "65\r\n"),
            (BodyLength::Chunked, chunked.as_str()),
            (BodyLength::Chunked, "ffffffffffffffff\r\n"),
        ] {
            let found = read(length, text.as_bytes(), 10);
            assert_eq!(found, Err(StatusCode::PAYLOAD_TOO_LARGE), "{text}");
        }
    }

    #[test]
    fn chunks_that_are_none_are_malformed() {
        let line = format!("1;{}\r\n", "x".repeat(5000));
        let trailers = format!("0\r\n{}", "X: y\r\n".repeat(5000));
        for text in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            " 1\r\n",
            "0x5\r\nabcde\r\n",
            "5\r\nabcdefg",
            "1\r\na\n0\r\n\r\n",
            "1\na\r\n",
            "1;\nxx\r\na\r\n0\r\n\r\n",
            "1;x=\"\ny\"\r\na\r\n0\r\n\r\n",
            "0;\n\r\n",
            "0\r\n\n",
            "0\r\nX: a\n\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nX: a\rb\r\n\r\n",
            line.as_str(),
            trailers.as_str(),
        ] {
            let found = read(BodyLength::Chunked, text.as_bytes(), 7);
            assert_eq!(found, Err(StatusCode::BAD_REQUEST), "{text:?}");
        }
    }
}
