//! Where the servers and the services' programs are.

use std::path::PathBuf;

/// A variable that `cargo xtask test` sets.
pub(crate) fn variable(name: &str) -> String {
    optional(name).unwrap_or_else(|| panic!("{name} is not set: run through `cargo xtask test`"))
}

/// A variable that may be missing.
pub(crate) fn optional(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "test servers are named by the environment")]
    std::env::var(name).ok()
}

/// The library that shows a process another time than that of the machine.
pub fn faketime() -> String {
    variable("TEST_FAKETIME")
}

/// The Python that has Schemathesis.
pub fn schemathesis() -> String {
    variable("TEST_SCHEMATHESIS")
}

/// The Python that has what our own client for Python needs, and the path of its wheel.
pub fn python_client() -> [String; 2] {
    ["TEST_PYTHON", "TEST_PYTHON_CLIENT"].map(variable)
}

/// The Python that has the clients of other systems.
pub fn clients() -> String {
    variable("TEST_CLIENTS")
}

/// The folder whose `node_modules` has the clients of other systems; `None` on a machine without Node.
pub fn node_clients() -> Option<String> {
    optional("TEST_NODE_CLIENTS")
}

/// The program of a service, beside the tests' own.
pub(crate) fn program(name: &str) -> PathBuf {
    let program = programs_folder().join(name);
    assert!(program.exists(), "{} is not built: run through `cargo xtask test`", program.display());
    program
}

/// Where the programs of the workspace lie.
///
/// # Panics
/// When the program was moved from where cargo put it.
pub fn programs_folder() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let folder = own.parent().expect("a program lies in a folder");
    // Tests lie in target/…/deps, programs beside that.
    let beside = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    beside.expect("deps lies in a folder").to_owned()
}

/// The settings that lead a service to the shared broker and blob store.
pub(crate) fn servers() -> Vec<(String, String)> {
    let mut settings = vec![("AMQP_URL".to_owned(), variable("TEST_AMQP_URL"))];
    for name in ["S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"] {
        settings.push((name.to_owned(), variable(&format!("TEST_{name}"))));
    }
    settings.push(("S3_BUCKET".to_owned(), BUCKET.to_owned()));
    settings
}

/// Object keys name jobs, so tests can share a bucket.
pub(crate) const BUCKET: &str = "darkroom-test";
