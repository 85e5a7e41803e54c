//! The worker's settings.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, Parser};
use darkroom_blobs::BlobsConfig;
use darkroom_jobs::Lane;
use darkroom_models::{Device, Error};
use darkroom_ops::OpsConfig;
use darkroom_queue::QueueConfig;
use darkroom_store::StoreConfig;
use secrecy::SecretString;
use url::Url;

use crate::model_store::{ModelStoreConfig, Patience};

/// Leases jobs and runs them on a device.
#[derive(Parser, Debug, Clone)]
#[command(name = "darkroom-worker", version)]
pub struct Settings {
    /// How to reach Postgres.
    #[command(flatten)]
    pub store: StoreConfig,
    /// How to reach RabbitMQ.
    #[command(flatten)]
    pub queue: QueueConfig,
    /// How to reach the blob store.
    #[command(flatten)]
    pub blobs: BlobsConfig,
    /// Logs and the operations port.
    #[command(flatten)]
    pub ops: OpsConfig,
    /// What this worker runs, and how.
    #[command(flatten)]
    pub worker: WorkerConfig,
}

/// What this worker runs, and how.
#[derive(Args, Debug, Clone)]
pub struct WorkerConfig {
    /// The catalog of models, a JSON file.
    #[arg(long, env = "DARKROOM_CATALOG", value_name = "DARKROOM_CATALOG")]
    pub catalog: PathBuf,

    /// Folder at which relative sources of the catalog start.
    #[arg(long, env = "DARKROOM_MODELS_DIR", value_name = "DARKROOM_MODELS_DIR", default_value = "models")]
    pub models_dir: PathBuf,

    /// Folder for models that are fetched from the hub or from a bucket.
    #[arg(
        long,
        env = "DARKROOM_MODEL_CACHE",
        value_name = "DARKROOM_MODEL_CACHE",
        default_value = "model-cache"
    )]
    pub model_cache: PathBuf,

    /// The hub that sources with `hub:` name repositories of.
    #[arg(
        long,
        env = "HF_ENDPOINT",
        value_name = "HF_ENDPOINT",
        default_value = "https://huggingface.co",
        value_parser = parse_endpoint
    )]
    pub hf_endpoint: Url,

    /// Token for the hub, for repositories that are private or gated.
    #[arg(
        long,
        env = "HF_TOKEN",
        value_name = "HF_TOKEN",
        hide_env_values = true,
        value_parser = parse_token
    )]
    pub hf_token: Option<SecretString>,

    /// Device to run models on: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, env = "DARKROOM_DEVICE", value_name = "DARKROOM_DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,

    /// Jobs taken at once, 1 to 64. One runs on the device at a time; the others fetch their inputs and wait for it.
    /// One more at most has left the device and is being stored.
    #[arg(
        long,
        env = "DARKROOM_SLOTS",
        value_name = "DARKROOM_SLOTS",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub slots: u16,

    /// Most bytes of weights in the device's memory. On the CPU half of what this process may use unless
    /// set; on a GPU no bound unless set, and models are unloaded when an allocation fails.
    #[arg(long, env = "DARKROOM_MEMORY_BUDGET_BYTES", value_name = "DARKROOM_MEMORY_BUDGET_BYTES")]
    pub memory_budget_bytes: Option<u64>,

    /// Whether the catalog may name the source `builtin:fake`, which runs no model at all.
    #[arg(
        long,
        env = "DARKROOM_ALLOW_FAKE",
        value_name = "DARKROOM_ALLOW_FAKE",
        default_value_t = false,
        action = ArgAction::Set
    )]
    pub allow_fake: bool,

    /// Seconds that running attempts have to finish after the first SIGTERM, 0 to 86400.
    #[arg(
        long,
        env = "DARKROOM_GRACE_SECONDS",
        value_name = "DARKROOM_GRACE_SECONDS",
        default_value_t = 30,
        value_parser = RangedU64ValueParser::<u64>::new().range(0..=86_400)
    )]
    pub grace_seconds: u64,

    /// Lanes to serve, as `pipeline:model` with commas in between; every lane of the catalog when empty.
    #[arg(long, env = "DARKROOM_LANES", value_name = "DARKROOM_LANES", default_value = "")]
    pub lanes: LaneFilter,

    /// Seconds without a step after which the device is taken for hung, 1 to 86400.
    #[arg(
        long,
        env = "DARKROOM_STALL_SECONDS",
        value_name = "DARKROOM_STALL_SECONDS",
        default_value_t = 180,
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400)
    )]
    pub stall_seconds: u64,
}

impl WorkerConfig {
    /// Where models come from.
    pub(crate) fn model_store(&self) -> ModelStoreConfig {
        ModelStoreConfig {
            models_dir: self.models_dir.clone(),
            cache: self.model_cache.clone(),
            hub: self.hf_endpoint.clone(),
            hub_token: self.hf_token.clone(),
            patience: Patience::default(),
        }
    }
}

fn parse_endpoint(text: &str) -> Result<Url, String> {
    let expected = "expected an http:// or https:// URL without user, query or fragment";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(url)
    } else {
        Err(expected.to_owned())
    }
}

fn parse_token(text: &str) -> Result<SecretString, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(SecretString::from(text))
    } else {
        Err("expected a token of printable characters without spaces".to_owned())
    }
}

/// Which device to run models on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// The NVIDIA GPU with this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// The device itself.
    pub(crate) fn open(self) -> Result<Device, Error> {
        match self {
            Self::Cpu => Ok(Device::cpu()),
            Self::Cuda(ordinal) => Device::cuda(ordinal),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", ordinal)) => ordinal.parse().map(Self::Cuda).map_err(|_| expected_device()),
            _ => Err(expected_device()),
        }
    }
}

fn expected_device() -> String {
    "expected `cpu`, `cuda` or `cuda:N`".to_owned()
}

/// The lanes a worker is restricted to; no lane means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneFilter(pub Vec<Lane>);

impl FromStr for LaneFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let lanes: Result<_, _> =
            words.map(|word| word.parse().map_err(|error| format!("{error}"))).collect();
        lanes.map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    struct Only {
        #[command(flatten)]
        worker: WorkerConfig,
    }

    fn parse(arguments: &[&str]) -> Result<WorkerConfig, clap::Error> {
        let arguments = ["worker", "--catalog=catalog.json"].iter().chain(arguments);
        Only::try_parse_from(arguments).map(|only| only.worker)
    }

    #[test]
    fn defaults_are_enough() {
        let config = parse(&[]).unwrap();
        assert_eq!((config.device, config.slots, config.allow_fake), (DeviceChoice::Cpu, 1, false));
        assert_eq!((config.grace_seconds, config.stall_seconds), (30, 180));
        assert_eq!(config.lanes, LaneFilter::default());
    }

    #[test]
    fn token_is_kept_secret() {
        let config = parse(&["--hf-token=hf_hush"]).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn lanes_and_devices_are_read() {
        let config =
            parse(&["--lanes=text-to-image:a/b, image-to-text:c", "--device=cuda:3", "--allow-fake=true"])
                .unwrap();
        let lanes: Vec<String> = config.lanes.0.iter().map(ToString::to_string).collect();
        assert_eq!(lanes, ["text-to-image:a/b", "image-to-text:c"]);
        assert_eq!((config.device, config.allow_fake), (DeviceChoice::Cuda(3), true));
    }

    #[test]
    fn refusals_name_the_variable_and_what_is_allowed() {
        for (argument, variable, allowed) in [
            ("--slots=65", "DARKROOM_SLOTS", "1..=64"),
            ("--device=gpu", "DARKROOM_DEVICE", "`cpu`, `cuda` or `cuda:N`"),
            ("--lanes=cats", "DARKROOM_LANES", "pipeline:model"),
            ("--stall-seconds=0", "DARKROOM_STALL_SECONDS", "1..=86400"),
            ("--grace-seconds=-1", "DARKROOM_GRACE_SECONDS", "-1"),
            ("--hf-endpoint=huggingface.co", "HF_ENDPOINT", "http:// or https://"),
            ("--hf-token=two words", "HF_TOKEN", "without spaces"),
            ("--allow-fake=maybe", "DARKROOM_ALLOW_FAKE", "true, false"),
        ] {
            let refusal = parse(&[argument]).unwrap_err().to_string();
            assert!(refusal.contains(variable) && refusal.contains(allowed), "{refusal}");
        }
    }
}
