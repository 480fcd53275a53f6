//! As much of Hadoop's RPC as it takes to tell calls apart.
//!
//! ```text
//! client: "hrpc" 09 service-class auth-protocol, then frames
//! frame:  length u32 BE, varint-delimited header, and in a call to a server by name further
//!         varint-delimited messages: RequestHeaderProto (1 = method), then the request itself
//! ```
//!
//! The header is `RpcRequestHeaderProto` (3 = call id, zigzag) or `RpcResponseHeaderProto` (1 =
//! call id). Nothing here fails: what is not understood is no call, and is passed on as it is.

/// What a connection begins with if RPC is spoken on it.
pub const MAGIC: &[u8; 4] = b"hrpc";

/// The bytes of the connection header after [`MAGIC`].
pub const HEADER_REST: usize = 3;

/// What a frame to a server says.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub id: u32,
    pub method: &'a str,
    /// The request message.
    pub message: &'a [u8],
}

/// Reads the content of a frame from a client; `None` if it is no call of a method.
pub fn request(content: &[u8]) -> Option<Request<'_>> {
    let (header, rest) = delimited(content)?;
    let zigzag = number(header, 3)?;
    let id = i64::try_from(zigzag >> 1).ok()? ^ -i64::from(zigzag & 1 == 1);
    // Calls of the connection itself (SASL, context, ping) have negative numbers.
    let id = u32::try_from(id).ok()?;
    let (named, rest) = delimited(rest)?;
    let method = text(named, 1)?;
    let message = delimited(rest).map_or(&[][..], |(message, _)| message);
    Some(Request { id, method, message })
}

/// The number of the call that a frame from a server answers.
pub fn answered(content: &[u8]) -> Option<u32> {
    let (header, _) = delimited(content)?;
    u32::try_from(number(header, 1)?).ok()
}

/// A field of a message that is a text.
pub fn text(message: &[u8], field: u64) -> Option<&str> {
    let found = fields(message).find(|(number, _)| *number == field)?;
    match found.1 {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        Value::Number(_) => None,
    }
}

fn number(message: &[u8], field: u64) -> Option<u64> {
    match fields(message).find(|(number, _)| *number == field)?.1 {
        Value::Number(number) => Some(number),
        Value::Bytes(_) => None,
    }
}

#[derive(Debug)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, up to what is not understood.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let (key, after) = varint(rest)?;
        let (value, after) = match key & 7 {
            0 => varint(after).map(|(number, after)| (Value::Number(number), after))?,
            1 => after.split_at_checked(8).map(|(fixed, after)| (Value::Bytes(fixed), after))?,
            2 => delimited(after).map(|(bytes, after)| (Value::Bytes(bytes), after))?,
            5 => after.split_at_checked(4).map(|(fixed, after)| (Value::Bytes(fixed), after))?,
            _ => return None,
        };
        rest = after;
        Some((key >> 3, value))
    })
}

/// A message with its length before it, and what follows.
fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = varint(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `getFileInfo` of `/d`, call 2, as hdfs-native sends it (without the client's id).
    const CALL: &[u8] = b"\x08\x08\x02\x10\x00\x18\x04\x22\x00\
        \x0f\x0a\x0bgetFileInfo\x18\x01\
        \x04\x0a\x02/d";

    #[test]
    fn a_call_is_its_number_its_method_and_its_message() {
        let request = request(CALL).expect("a call");
        assert_eq!((request.id, request.method), (2, "getFileInfo"));
        assert_eq!(text(request.message, 1), Some("/d"));
        assert_eq!(text(request.message, 2), None);
    }

    #[test]
    fn calls_of_the_connection_itself_and_noise_are_no_calls() {
        // The connection context has number -3.
        assert_eq!(request(b"\x04\x10\x00\x18\x05\x00"), None);
        for end in 0..CALL.len() - 5 {
            assert_eq!(request(&CALL[..end]), None, "cut at {end}");
        }
        assert_eq!(request(&[0xff; 40]), None);
    }

    #[test]
    fn an_answer_names_its_call() {
        assert_eq!(answered(b"\x05\x08\xac\x02\x10\x00rest"), Some(300));
        assert_eq!(answered(b""), None);
    }
}
