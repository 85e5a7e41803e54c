//! The connection strings of a stack, under the names that services and tests read.

use super::ports::Port;
use super::{State, postgres, rabbitmq};

const REGION: &str = "us-east-1";
const BUCKET: &str = "darkroom";

/// What every service reads, as far as the servers have run at all.
pub(crate) fn connections(state: &State) -> Vec<(String, String)> {
    named("", "S3_", database_url(state, postgres::NAME), state)
}

/// What the tests read. `TEST_DATABASE_URL` names a database to connect to as a superuser; each test makes
/// one of its own.
pub(crate) fn test_connections(state: &State) -> Vec<(String, String)> {
    named("TEST_", "TEST_S3_", database_url(state, "postgres"), state)
}

/// What a person at a shell uses.
pub(crate) fn exports(state: &State) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if state.ports.contains_key(&Port::Api) {
        all.push(("DARKROOM_URL".to_owned(), api_url(state)));
    }
    all.extend(state.api_key.clone().map(|key| ("DARKROOM_API_KEY".to_owned(), key)));
    if let Some(port) = state.ports.get(&Port::ApiOps) {
        all.push(("DARKROOM_ADMIN_URL".to_owned(), format!("http://127.0.0.1:{port}")));
    }
    all.extend(state.operator_key.clone().map(|key| ("DARKROOM_ADMIN_KEY".to_owned(), key)));
    all.extend(connections(state));
    all
}

/// The names of those exports of `before` that have another value `now`: a shell that has them is out of date.
pub(crate) fn changed(before: &State, now: &State) -> Vec<String> {
    let now = exports(now);
    let moved = |(name, value): &(String, String)| now.iter().any(|(same, new)| same == name && new != value);
    exports(before).into_iter().filter(moved).map(|(name, _)| name).collect()
}

/// Where the API answers.
pub(crate) fn api_url(state: &State) -> String {
    format!("http://127.0.0.1:{}", state.port(Port::Api))
}

/// The URL of `database`.
pub(crate) fn database_url(state: &State, database: &str) -> String {
    let password = &state.secrets.postgres_password;
    format!("postgres://{}:{password}@127.0.0.1:{}/{database}", postgres::NAME, state.port(Port::Postgres))
}

/// The strings of those servers that have been given a port.
fn named(prefix: &str, s3_prefix: &str, database_url: String, state: &State) -> Vec<(String, String)> {
    let secrets = &state.secrets;
    let mut all = Vec::new();
    if state.ports.contains_key(&Port::Postgres) {
        all.push((format!("{prefix}DATABASE_URL"), database_url));
    }
    if let Some(port) = state.ports.get(&Port::Amqp) {
        let url = format!("amqp://{}:{}@127.0.0.1:{port}/%2f", rabbitmq::USER, secrets.amqp_password);
        all.push((format!("{prefix}AMQP_URL"), url));
    }
    if let Some(port) = state.ports.get(&Port::S3) {
        all.push((format!("{s3_prefix}ENDPOINT"), format!("http://127.0.0.1:{port}")));
        all.push((format!("{s3_prefix}REGION"), REGION.to_owned()));
        all.push((format!("{s3_prefix}BUCKET"), BUCKET.to_owned()));
        all.push((format!("{s3_prefix}ACCESS_KEY_ID"), secrets.s3_access_key_id.clone()));
        all.push((format!("{s3_prefix}SECRET_ACCESS_KEY"), secrets.s3_secret_access_key.clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::stack::{Component, Lifetime};

    #[test]
    fn exports_change_with_their_port_and_not_by_being_added() {
        let mut before = State::generate(Lifetime::Throwaway, Path::new("/nowhere")).unwrap();
        for component in [Component::Postgres, Component::Api] {
            before.assign_ports(component).unwrap();
        }
        let mut now = before.clone();
        now.assign_ports(Component::Rabbitmq).unwrap();
        now.api_key = Some("key".to_owned());
        assert!(changed(&before, &now).is_empty());
        now.ports.insert(Port::Api, 1);
        assert_eq!(changed(&before, &now), ["DARKROOM_URL"]);
        now.ports.insert(Port::ApiOps, 1);
        assert_eq!(changed(&before, &now), ["DARKROOM_URL", "DARKROOM_ADMIN_URL"]);
    }
}
