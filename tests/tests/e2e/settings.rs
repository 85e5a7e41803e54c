use darkroom_e2e::{Catalog, Deployment};

/// A wrong setting ends a service at once, with the variable's name and what is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_setting_stops_a_service_with_its_name() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let wrong = [
        ("darkroom-api", "serve", "DARKROOM_LISTEN", "8080", "an IP address and a port"),
        ("darkroom-api", "serve", "DARKROOM_URL_SECRET", "secret", "64 hexadecimal digits"),
        ("darkroom-api", "serve", "DARKROOM_PUBLIC_URL", "ftp://x", "http:// or https://"),
        ("darkroom-api", "serve", "DATABASE_URL", "mysql://x", "postgres://"),
        ("darkroom-api", "serve", "DARKROOM_MAX_WAIT_SECONDS", "0", "1..=2592000"),
        ("darkroom-api", "serve", "DARKROOM_CATALOG", "/nowhere.json", "/nowhere.json"),
        ("darkroom-dispatcher", "", "AMQP_URL", "http://x", "amqp"),
        ("darkroom-dispatcher", "", "S3_ENDPOINT", "x", "http:// or https://"),
        ("darkroom-dispatcher", "", "DARKROOM_SWEEP_SECONDS", "0", "1..=86400"),
        ("darkroom-worker", "", "DARKROOM_DEVICE", "tpu", "`cpu`, `cuda` or `cuda:N`"),
        ("darkroom-worker", "", "DARKROOM_SLOTS", "0", "1..=64"),
        ("darkroom-worker", "", "DARKROOM_LOG", "info,x=loud", "level"),
        ("darkroom-worker", "", "DARKROOM_ALLOW_FAKE", "false", "builtin:fake"),
    ];
    for (service, subcommand, variable, value, allowed) in wrong {
        let arguments: Vec<&str> = Some(subcommand).filter(|word| !word.is_empty()).into_iter().collect();
        let mut process = deployment.spawn(service, &arguments, &[(variable, value)]);
        let status = process.exited().await;
        let log = process.log();
        assert!(!status.success(), "{service} took {variable}={value}");
        assert!(log.contains(variable) && log.contains(allowed), "{service} {variable}={value}:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    deployment.end().await;
}

/// What cannot be reached or does not let a service in is named, with what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_lacks_is_in_its_log() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let mut bucketless = deployment.spawn("darkroom-api", &["serve"], &[("S3_BUCKET", "no-such-bucket")]);
    let reason = bucketless.logged("not ready", "error").await;
    assert!(reason.contains("no-such-bucket") && reason.contains("darkroom-api migrate"), "{reason}");

    let amqp_url = deployment.setting("AMQP_URL");
    let stranger = format!("amqp://nobody:wrong@{}", amqp_url.split_once('@').unwrap().1);
    let mut refused = deployment.spawn("darkroom-dispatcher", &[], &[("AMQP_URL", &stranger)]);
    let reason = refused.logged("failed to connect to the broker for publishing", "error").await;
    assert!(reason.contains("refused the login of AMQP_URL") && !reason.contains("wrong"), "{reason}");

    let database_url = deployment.database.url();
    let missing = format!("{}_missing", database_url.split('?').next().unwrap());
    for (service, arguments) in
        [("darkroom-api", &["serve"][..]), ("darkroom-dispatcher", &[]), ("darkroom-worker", &[])]
    {
        let mut process = deployment.spawn(service, arguments, &[("DATABASE_URL", &missing)]);
        assert!(!process.exited().await.success());
        let log = process.log();
        assert!(log.contains("DATABASE_URL at 127.0.0.1:") && log.contains("refused the login"), "{log}");
    }
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_service_starts_on_a_schema_that_is_too_old() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    deployment.database.store.undo_migrations(0).await.unwrap();
    for (service, arguments) in
        [("darkroom-api", &["serve"][..]), ("darkroom-dispatcher", &[]), ("darkroom-worker", &[])]
    {
        let mut process = deployment.spawn(service, arguments, &[]);
        assert!(!process.exited().await.success());
        let log = process.log();
        assert!(log.contains("run `darkroom-api migrate`"), "{service}:\n{log}");
    }
    deployment.end().await;
}
