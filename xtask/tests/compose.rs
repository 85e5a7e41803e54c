//! That the files for Docker agree with one another and with the rest of the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const FILES: [&str; 3] = ["docker-compose.yml", "deploy/compose.servers.yml", "deploy/compose.models.yml"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(plain)
}

/// The settings of a Compose file: `${NAME:-default}`, and `NAME:` without a value, which has no default.
fn settings(text: &str) -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_suffix(':').filter(|name| is_name(name)) {
            all.insert(name.to_owned(), None);
        }
        expand(line, &mut all);
    }
    all
}

/// `text` with every setting at its default; puts them in `all`.
fn expand(text: &str, all: &mut BTreeMap<String, Option<String>>) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let mut depth = 1;
    let end = rest.char_indices().find(|(_, character)| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let (end, _) = end.expect("every brace is closed");
    let (name, default) = rest[..end].split_once(":-").expect("every setting has a default");
    let default = expand(default, all);
    all.insert(name.to_owned(), Some(default.clone()));
    format!("{before}{default}{}", expand(&rest[end + 1..], all))
}

/// What `.env.example` says a setting is unless it is set.
fn example() -> BTreeMap<String, String> {
    let text = read(".env.example");
    let lines = text.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let settings = lines.filter(|(name, _)| is_name(name));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn example_of_settings_lists_each_with_its_default() {
    let mut example = example();
    assert!(example.remove("COMPOSE_FILE").is_some(), "which Compose itself reads");
    let mut unread = example.clone();
    // The shell's, and no setting.
    example.insert("PWD".to_owned(), ".".to_owned());
    for file in FILES {
        for (name, default) in settings(&read(file)) {
            unread.remove(&name);
            let shown = example.get(&name);
            let shown = shown.unwrap_or_else(|| panic!("{name} of {file} is not in .env.example"));
            if let Some(default) = default {
                assert_eq!(*shown, default, "{name} of {file}");
            }
        }
    }
    assert!(unread.is_empty(), "nobody reads {unread:?}");
}

#[test]
fn example_of_settings_sets_nothing() {
    let set = read(".env.example");
    let set: Vec<_> = set.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(set.is_empty(), "{set:?}");
}

#[test]
fn images_have_the_versions_of_the_local_stack() {
    let toolchain = read("rust-toolchain.toml");
    let toolchain = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let version = toolchain.trim_matches('"');
    assert!(read("deploy/Dockerfile").contains(&format!("\nARG RUST_VERSION={version}\n")), "{version}");

    let known = read("xtask/src/programs/known.rs");
    let (_, weed) = known.split_once("title: \"SeaweedFS\",").unwrap();
    let version = weed.lines().find_map(|line| line.trim().strip_prefix("version: ")).unwrap();
    let version = version.trim_end_matches(',').trim_matches('"');
    assert!(read("docker-compose.yml").contains(&format!(":-chrislusf/seaweedfs:{version}}}")), "{version}");
}
