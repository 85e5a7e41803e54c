//! What is sent.

use std::fmt;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::targets::Target;
use super::{documents, forms, headers};

/// What the attacker knows.
pub(super) struct Known {
    pub(super) key: String,
    /// Jobs, most likely of somebody else.
    pub(super) jobs: Vec<String>,
    /// What takes documents and forms.
    pub(super) targets: Vec<Target>,
    /// Every path, with names in braces for what is to be filled in.
    pub(super) paths: Vec<String>,
}

impl Known {
    /// A path that there is, with what is no id.
    pub(super) fn path(&self, rng: &mut StdRng) -> String {
        let mut path = self.paths[rng.random_range(0..self.paths.len())].clone();
        while let Some((before, rest)) = path.split_once('{') {
            let after = rest.split_once('}').map_or("", |(_, after)| after);
            path = format!("{before}{}{after}", id(rng, self));
        }
        path
    }
}

/// What becomes of the connection after the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The answer is read.
    Wait,
    /// It is closed at once.
    HangUp,
}

/// One request, as bytes.
pub(super) struct Request {
    bytes: Vec<u8>,
    ending: Ending,
}

impl Request {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ending: Ending::Wait }
    }

    /// A request of one of all kinds.
    pub(super) fn draw(rng: &mut StdRng, known: &Known) -> Self {
        let target = &known.targets[rng.random_range(0..known.targets.len())];
        let request = match rng.random_range(0..100) {
            0..35 => Self::json(rng, known, target),
            35..63 => Self::path(rng, known),
            63..73 => headers::keys(rng, known),
            73..85 => return headers::framing(rng, known, target),
            _ => return forms::draw(rng, known, target),
        };
        // One in twenty is given up before its end.
        if rng.random_range(0..20) > 0 {
            return request;
        }
        let cut = rng.random_range(0..request.bytes.len().max(1));
        Self { bytes: request.bytes[..cut].to_vec(), ending: Ending::HangUp }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The path that it is for, with its query.
    pub(super) fn asked_path(&self) -> Option<&str> {
        let line = self.bytes.split(|byte| *byte == b'\r').next()?;
        std::str::from_utf8(line).ok()?.split(' ').nth(1).filter(|path| path.starts_with('/'))
    }

    pub(super) fn ending(&self) -> Ending {
        self.ending
    }

    /// Whether all of it was sent.
    pub(super) fn is_whole(&self) -> bool {
        self.ending == Ending::Wait
    }

    fn json(rng: &mut StdRng, known: &Known, target: &Target) -> Self {
        let document = documents::draw(rng, target);
        let mut head = target.head(&known.key);
        head.push_str("content-type: application/json\r\nconnection: close\r\n");
        head.push_str(&headers::more(rng));
        head.push_str(&format!("content-length: {}\r\n\r\n", document.len()));
        Self::new([head.into_bytes(), document].concat())
    }

    /// Any path with any method: those that there are, with what is no id, and those that there are not.
    fn path(rng: &mut StdRng, known: &Known) -> Self {
        let methods =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"];
        let method = methods[if rng.random() { 0 } else { rng.random_range(0..methods.len()) }];
        let mut path = known.path(rng);
        if rng.random_range(0..6) == 0 {
            path = stray(rng);
        }
        if rng.random_range(0..2) == 0 {
            path.push_str(&query(rng));
        }
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", known.key);
        head.push_str(&headers::more(rng));
        head.push_str("connection: close\r\n\r\n");
        Self::new(head.into_bytes())
    }
}

fn id(rng: &mut StdRng, known: &Known) -> String {
    let some = uuid::Uuid::from_u128(rng.random()).to_string();
    let job = &known.jobs[rng.random_range(0..known.jobs.len())];
    match rng.random_range(0..12) {
        0 => job.clone(),
        1 => job.to_uppercase(),
        2 => job.replace('-', ""),
        3 => some,
        4 => "%00".to_owned(),
        5 => "..%2f..%2fetc%2fpasswd".to_owned(),
        6 => "%ff%fe".to_owned(),
        7 => "x".repeat(rng.random_range(1..6_000)),
        8 => format!("{some}'--"),
        9 => format!("{some}.png"),
        10 => format!("{{{some}}}"),
        _ => "-1".to_owned(),
    }
}

fn stray(rng: &mut StdRng) -> String {
    let paths = [
        "/",
        "//",
        "/..",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e",
        "/v1",
        "/v1/",
        "/v1/jobs/",
        "/v1//jobs",
        "/v2/jobs",
        "/docs",
        "/docs/",
        "/docs/../openapi.json",
        "/docs/%2e%2e/x",
        "/openapi.json/",
        "/metrics",
        "/livez",
        "/r/",
        "/r/x.png",
        "*",
        "http://169.254.169.254/latest",
        "/%",
        "/%zz",
        "/\u{fc}",
        "/v1/jobs%00",
        "/v1/jobs;a=b",
        "?",
        "",
    ];
    paths[rng.random_range(0..paths.len())].to_owned()
}

fn query(rng: &mut StdRng) -> String {
    let names = [
        "state", "pipeline", "model", "limit", "cursor", "from", "to", "by", "sig", "event", "%00", "",
        "a[]", "STATE",
    ];
    let values = [
        "",
        "0",
        "-1",
        "101",
        "99999999999999999999",
        "1e3",
        "NaN",
        "queued",
        "text-to-image",
        "%00",
        "%ff",
        "%",
        "'",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "2024-02-30",
        "9999-12-31",
        "0000-01-01",
        "+292277026596-12-31",
        "null",
        "1&limit=2",
        "\u{1f4a9}",
    ];
    let mut query = "?".to_owned();
    for _ in 0..rng.random_range(1..5) {
        let (name, value) =
            (names[rng.random_range(0..names.len())], values[rng.random_range(0..values.len())]);
        let value = if rng.random_range(0..20) == 0 { value.repeat(500) } else { value.to_owned() };
        query.push_str(&format!("{name}={value}&"));
    }
    query
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(2_000)];
        write!(formatter, "{:?} of {} bytes:\n{}", self.ending, self.bytes.len(), shown.escape_ascii())
    }
}
