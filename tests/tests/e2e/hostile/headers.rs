//! Headers that contradict each other, and messages that are framed wrongly.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::requests::{Known, Request};
use super::targets::Target;

/// A few headers that the service reads, with values it should not like.
pub(super) fn more(rng: &mut StdRng) -> String {
    let lines = [
        "prefer: respond-async",
        "prefer: respond-async, wait=0",
        "prefer: wait=-1",
        "prefer: wait=99999999999999999999",
        "prefer: ,;=,",
        "if-none-match: *",
        "if-none-match: W/\"v1\"",
        "if-none-match: \"",
        "range: bytes=0-",
        "range: bytes=99999999999999999999-1",
        "range: bytes=-0,1-,--",
        "if-range: W/\"x\"",
        "idempotency-key: \u{fc}",
        "idempotency-key: ",
        "idempotency-key: \"a",
        "idempotency-key: same",
        "idempotency-key: other",
        "x-request-id: a\u{7f}b",
        "traceparent: 00-00000000000000000000000000000000-0000000000000000-00",
        "traceparent: ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        "accept-encoding: gzip, \u{1f4a9}",
        "content-encoding: gzip",
        "expect: 100-continue",
        "upgrade: h2c",
        "host: y",
        "cookie: a=b",
    ];
    let mut more = String::new();
    for _ in 0..[0, 0, 1, 2, 3][rng.random_range(0..5)] {
        more.push_str(lines[rng.random_range(0..lines.len())]);
        more.push_str("\r\n");
    }
    more
}

/// A key that is none, or two of them.
pub(super) fn keys(rng: &mut StdRng, known: &Known) -> Request {
    let long = "k".repeat(rng.random_range(1..30_000));
    let authorization = match rng.random_range(0..9) {
        0 => String::new(),
        1 => "authorization: Bearer \r\n".to_owned(),
        2 => format!("authorization: Bearer {}x\r\n", known.key),
        3 => format!("authorization: Basic {}\r\n", known.key),
        4 => format!("authorization: Bearer {long}\r\n"),
        5 => format!("authorization: Bearer x\r\nauthorization: Bearer {}\r\n", known.key),
        6 => "authorization: Bearer \u{fc}\r\n".to_owned(),
        7 => format!("authorization: bearer\t{}\r\n", known.key),
        _ => "authorization: Bearer ' or 1=1 --\r\n".to_owned(),
    };
    let path = known.path(rng);
    Request::new(
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n{authorization}connection: close\r\n\r\n").into_bytes(),
    )
}

/// A message whose beginning, length or end is wrong.
pub(super) fn framing(rng: &mut StdRng, known: &Known, target: &Target) -> Request {
    let body = target.document.to_string();
    let body = body.as_bytes();
    let head = format!("{}content-type: application/json\r\n", target.head(&known.key));
    let length = body.len();
    let lines = match rng.random_range(0..20) {
        0 => format!("content-length: {}\r\n", length + 1),
        1 => "content-length: -1\r\n".to_owned(),
        2 => format!("content-length: {length}\r\ncontent-length: {}\r\n", length + 5),
        3 => "content-length: 99999999999999999999999\r\n".to_owned(),
        4 => format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        5 => "transfer-encoding: chunked, identity\r\n".to_owned(),
        6 => String::new(),
        7 => format!("x: {}\r\ncontent-length: {length}\r\n", "y".repeat(rng.random_range(1..600_000))),
        8 => format!("{}content-length: {length}\r\n", "x: y\r\n".repeat(rng.random_range(1..300))),
        9 => format!("x: a\r\n b\r\ncontent-length: {length}\r\n"),
        10 => format!("x: a\0b\r\ncontent-length: {length}\r\n"),
        11 => format!("x y: a\r\ncontent-length: {length}\r\n"),
        12 => return Request::new((0..rng.random_range(1..5_000)).map(|_| rng.random::<u8>()).collect()),
        13 => return Request::new(b"GET /v1/models\r\n\r\n".to_vec()),
        14 => return Request::new(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        15 => return Request::new(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec()),
        16 => return Request::new(head.replace("HTTP/1.1", "HTTP/1.0").into_bytes()),
        17 => return Request::new(head.replace("application/json", "text/plain").into_bytes()),
        _ => return chunked(rng, head, body),
    };
    Request::new([format!("{head}{lines}connection: close\r\n\r\n").as_bytes(), body].concat())
}

/// The body in chunks, whose lengths may be lies.
pub(super) fn chunked(rng: &mut StdRng, head: String, body: &[u8]) -> Request {
    let mut bytes = format!("{head}transfer-encoding: chunked\r\nconnection: close\r\n\r\n").into_bytes();
    for piece in body.chunks(rng.random_range(1..50_000)) {
        let length = match rng.random_range(0..30) {
            0 => "zz".to_owned(),
            1 => "ffffffffffffffff".to_owned(),
            2 => format!("{:x};{}", piece.len(), "a=b;".repeat(rng.random_range(1..500))),
            3 => format!("-{:x}", piece.len()),
            _ => format!("{:x}", piece.len()),
        };
        bytes.extend(format!("{length}\r\n").as_bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
    }
    if rng.random_range(0..5) > 0 {
        bytes.extend(b"0\r\n\r\n");
    }
    Request::new(bytes)
}
