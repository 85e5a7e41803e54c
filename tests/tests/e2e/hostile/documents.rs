//! JSON that is odd, wrong, or none.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Map, Value};

use super::targets::{PROMPT, Target};

/// A document for a target, or what is none.
pub(super) fn draw(rng: &mut StdRng, target: &Target) -> Vec<u8> {
    if rng.random_range(0..4) == 0 {
        return text(rng, target);
    }
    let mut document = honest(rng, target);
    for _ in 0..rng.random_range(0..4) {
        spoil(&mut document, rng);
    }
    document.to_string().into_bytes()
}

/// What the target takes, some of it only, so that most of these are accepted.
fn honest(rng: &mut StdRng, target: &Target) -> Value {
    let mut document = target.document.clone();
    let mut thin = |members: &mut Map<String, Value>| {
        members.retain(|name, _| target.needed.contains(&name.as_str()) || rng.random_range(0..3) == 0);
    };
    if let Some(input) = document.get_mut("input").and_then(Value::as_object_mut) {
        thin(input);
    }
    document.as_object_mut().into_iter().for_each(thin);
    document
}

/// Changes, removes or adds one member somewhere.
fn spoil(document: &mut Value, rng: &mut StdRng) {
    let Value::Object(top) = document else { return };
    let inside = rng.random_range(0..3) > 0 && top.get("input").is_some_and(Value::is_object);
    let members = if inside { top["input"].as_object_mut().unwrap() } else { top };
    let names: Vec<String> = members.keys().cloned().collect();
    let name = names.get(rng.random_range(0..names.len() + 1)).cloned();
    let name = name.unwrap_or_else(|| strings(rng));
    match rng.random_range(0..5) {
        0 => drop(members.remove(&name)),
        1 => drop(members.insert(strings(rng), value(rng, 3))),
        _ => drop(members.insert(name, value(rng, 3))),
    }
}

fn value(rng: &mut StdRng, depth: u32) -> Value {
    match rng.random_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => rng.random::<bool>().into(),
        2 => integers(rng),
        3 => [0.0, -0.0, 0.1, -1.5, 1e308, 5e-324, 1e16][rng.random_range(0..7)].into(),
        4 | 5 => strings(rng).into(),
        6 => (0..rng.random_range(0..4)).map(|_| value(rng, depth - 1)).collect(),
        _ => (0..rng.random_range(0..4))
            .map(|_| (strings(rng), value(rng, depth - 1)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn integers(rng: &mut StdRng) -> Value {
    let small = [0, 1, -1, 7, 8, 64, 255, 256, 512, 1_000, 2_048, 65_536];
    let large = [i64::MAX, i64::MIN, 1 << 53, (1 << 53) - 1, i64::from(u32::MAX), i64::from(i32::MIN)];
    match rng.random_range(0..3) {
        0 => small[rng.random_range(0..small.len())].into(),
        1 => large[rng.random_range(0..large.len())].into(),
        _ => u64::MAX.into(),
    }
}

fn strings(rng: &mut StdRng) -> String {
    let strings = [
        "",
        " ",
        "\0",
        "a\0b",
        "\u{feff}",
        "\u{202e}txt",
        "\u{1f4a9}",
        "e\u{301}",
        "prompt",
        "input",
        "__proto__",
        "text-to-image",
        "image-to-text",
        "interactive",
        "'; drop table jobs; --",
        "${jndi:ldap://127.0.0.1/a}",
        "../../etc/passwd",
        "<script>",
        "%s%n",
        "NaN",
        "1e999",
        "null",
        "\r\nset-cookie: a=b",
        "jobs/1/input",
        "\u{d7ff}",
    ];
    let string = strings[rng.random_range(0..strings.len())];
    match rng.random_range(0..12) {
        0 => string.repeat(rng.random_range(1..3_000)),
        _ => string.to_owned(),
    }
}

/// What no serialiser writes.
fn text(rng: &mut StdRng, target: &Target) -> Vec<u8> {
    let whole = honest(rng, target).to_string();
    let inside = |prompt: &str| whole.replace(&format!("\"{PROMPT}\""), prompt);
    let depth = [100, 127, 128, 129, 10_000, 200_000][rng.random_range(0..6)];
    let text = match rng.random_range(0..18) {
        0 => String::new(),
        1 => "{".to_owned(),
        2 => "[".repeat(depth),
        3 => format!("{}{}", "{\"a\":".repeat(depth), "1"),
        4 => inside(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        5 => r#"{"pipeline": "text-to-image", "pipeline": "image-to-text", "input": {"prompt": "a", "prompt": 1}}"#.to_owned(),
        6 => inside(r#""\ud800""#),
        7 => inside(r#""\udc00\ud800""#),
        8 => inside(r#""a\u0000b""#),
        9 => inside(
            ["NaN", "Infinity", "-Infinity", "0x10", "01", "+1", ".5", "1.", "1e", "1e999", "-"]
                [rng.random_range(0..11)],
        ),
        10 => inside(&"9".repeat(rng.random_range(20..100_000))),
        11 => inside(&format!("\"{}\"", "a".repeat(rng.random_range(1..1_200_000)))),
        12 => format!("\u{feff}{whole}"),
        13 => format!("{whole}{whole}"),
        14 => whole.replace('"', "'"),
        15 => whole[..rng.random_range(0..whole.len())].to_owned(),
        16 => format!("{}{whole}", " ".repeat(rng.random_range(0..100_000))),
        _ => format!("/* comment */ {whole}"),
    };
    let mut bytes = text.into_bytes();
    // Not even text.
    for _ in 0..[0, 0, 0, 1, 20][rng.random_range(0..5)] {
        if !bytes.is_empty() {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
    }
    bytes
}
