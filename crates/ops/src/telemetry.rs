//! Logs and metrics.

use std::panic;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{LogFormat, OpsConfig};

/// Bucket bounds of every histogram, in seconds: from a database statement to a long generation.
const BUCKETS_SECONDS: [f64; 15] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// Installs the process's log subscriber, metrics recorder and panic hook, and returns what renders the
/// metrics. Call it once, before anything is logged or measured.
///
/// # Errors
/// When one of them is already installed, or the log filter is not valid.
pub fn init(config: &OpsConfig) -> anyhow::Result<PrometheusHandle> {
    let filter = EnvFilter::builder().parse(quieted(&config.log_filter)).context("invalid DARKROOM_LOG")?;
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .context("failed to set up logs")?;
    log_panics();
    recorder_builder()?.install_recorder().context("failed to set up metrics")
}

/// The filter without the lines of lapin: it calls every end of a connection an error, and whatever matters of
/// that is logged by `darkroom_queue` in its own words. Asked for by name it speaks.
fn quieted(filter: &str) -> String {
    if filter.contains("lapin") { filter.to_owned() } else { format!("{filter},lapin=off") }
}

/// The recorder every service uses.
pub(crate) fn recorder_builder() -> anyhow::Result<PrometheusBuilder> {
    PrometheusBuilder::new().set_buckets(&BUCKETS_SECONDS).context("invalid histogram buckets")
}

/// A panic in a task is otherwise a line on stderr that no log search finds.
fn log_panics() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("a value that is no text");
        tracing::error!(location, message, "panicked");
        previous(info);
    }));
}
