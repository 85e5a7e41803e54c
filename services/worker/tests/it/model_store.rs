//! The model store against a hub on the loopback address, with everything that may go wrong there, and against
//! a real S3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use darkroom_blobs::Blobs;
use darkroom_e2e::{Fault, HubStandIn};
use darkroom_jobs::{Lora, Repository, SafetyChecker, Source};
use darkroom_models::{Device, LoadOptions};
use darkroom_worker::model_store::{
    Error, ModelStore, ModelStoreConfig, Patience, Precision, Progress, Wanted,
};
use serde_json::Map;
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::{blobs, eventually};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const ID: &str = "test/shapes";

/// A hub with the bundled picture model, and a cache.
struct Scene {
    hub: HubStandIn,
    commit: String,
    cache: TempDir,
    token: Option<&'static str>,
    patience: Patience,
}

impl Scene {
    async fn new() -> Self {
        let hub = HubStandIn::start().await;
        let commit = hub.add(ID, &bundled("shapes-sd"));
        let patience = Patience {
            retries: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(5),
            ..Patience::default()
        };
        Self { hub, commit, cache: tempfile::tempdir().unwrap(), token: None, patience }
    }

    /// A store on the scene's cache, as of a process that has just started.
    fn store(&self) -> ModelStore {
        let config = ModelStoreConfig {
            models_dir: "/nowhere".into(),
            cache: self.cache.path().to_owned(),
            hub: self.hub.url.parse().unwrap(),
            hub_token: self.token.map(Into::into),
            patience: self.patience.clone(),
        };
        ModelStore::new(config, Blobs::connect(&blobs())).unwrap()
    }

    async fn fetch(&self) -> Result<PathBuf, Error> {
        self.fetch_wanted(&wanted(hub(None, ""))).await
    }

    async fn fetch_wanted(&self, wanted: &Wanted) -> Result<PathBuf, Error> {
        self.store().model(wanted, &Progress::default()).await.map(|folder| folder.path)
    }

    /// Where the repository's files lie.
    fn folder(&self) -> PathBuf {
        self.cache.path().join("hub/test--shapes").join(&self.commit)
    }

    /// The error, which names no path of this machine.
    async fn problem(&self) -> String {
        chain(&self.fetch().await.unwrap_err()).replace(&self.commit, "COMMIT")
    }

    /// Headers `Range` of the requests for the contents of a file.
    fn ranges(&self, file: &str) -> Vec<Option<String>> {
        let asked = self.hub.asked(file).into_iter().filter(|asked| asked.redirected);
        asked.map(|asked| asked.range).collect()
    }
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name)
}

fn hub(revision: Option<&str>, path: &str) -> Source {
    Source::Hub(Repository { id: ID.into(), revision: revision.map(Into::into), path: path.into() })
}

fn wanted(source: Source) -> Wanted {
    Wanted {
        source,
        components: BTreeMap::new(),
        scheduler: Map::new(),
        safety_checker: SafetyChecker::Own,
        precision: Precision::Full,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

/// That every file of the bundled model is there, byte for byte, and nothing else.
fn assert_complete(folder: &Path) {
    for file in files(&bundled("shapes-sd")) {
        if file != "README.md" {
            let same = std::fs::read(folder.join(&file)).unwrap()
                == std::fs::read(bundled("shapes-sd").join(&file)).unwrap();
            assert!(same, "{file}");
        }
    }
    let left: Vec<String> = files(folder).into_iter().filter(|file| file.contains(".part")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            found.push(name);
        }
    }
    found
}

#[tokio::test]
async fn repository_is_fetched_once_and_loads() {
    let scene = Scene::new().await;
    let progress = Progress::default();
    let folder = scene.store().model(&wanted(hub(None, "")), &progress).await.unwrap();
    assert_eq!(folder.path, scene.folder());
    assert_complete(&folder.path);
    assert!(!folder.path.join("README.md").exists(), "what is not needed stays there");
    let (downloaded, total) = progress.bytes();
    assert!(downloaded == total && total > 1_000_000, "{downloaded} of {total}");
    let pipeline = darkroom_jobs::Pipeline::TextToImage;
    darkroom_models::load(&folder, pipeline, &Device::cpu(), &LoadOptions::default()).unwrap();

    // Another start needs no hub.
    let asked = scene.hub.all_asked().len();
    assert_eq!(scene.fetch().await.unwrap(), folder.path);
    assert_eq!(scene.hub.all_asked().len(), asked);
}

#[tokio::test]
async fn branch_stays_the_commit_that_it_was_at_first() {
    let mut scene = Scene::new().await;
    scene.fetch().await.unwrap();
    let first = scene.commit.clone();
    let changed = tempfile::tempdir().unwrap();
    std::fs::write(changed.path().join("config.json"), "{}").unwrap();
    std::fs::write(changed.path().join("model.safetensors"), "none").unwrap();
    scene.commit = scene.hub.add(ID, changed.path());
    assert!(scene.fetch().await.unwrap().ends_with(&first));

    let pinned = wanted(hub(Some(&scene.commit), ""));
    let asked = scene.hub.asked("revision").len();
    assert_eq!(scene.fetch_wanted(&pinned).await.unwrap(), scene.folder());
    assert_eq!(scene.hub.asked("revision").len(), asked, "a commit is not looked up");
}

#[tokio::test]
async fn cut_connection_is_gone_on_with_where_it_was_cut() {
    let scene = Scene::new().await;
    scene.hub.fault(UNET, Fault::CutAfter(300_000));
    scene.hub.fault(UNET, Fault::CutAfter(200_000));
    assert_complete(&scene.fetch().await.unwrap());
    let ranges = scene.ranges(UNET);
    let [None, Some(second), Some(third)] = &ranges[..] else { panic!("{ranges:?}") };
    let offset = |range: &str| -> u64 {
        range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
    };
    assert!(offset(second) > 0 && offset(second) <= 300_000, "{ranges:?}");
    assert!(offset(third) > offset(second) && offset(third) <= offset(second) + 200_000, "{ranges:?}");
    let tag = scene.hub.asked(UNET).pop().unwrap().if_range.expect("it asks for the same file");
    assert!(tag.starts_with('"'), "{tag}");
}

#[tokio::test]
async fn many_cuts_do_not_count_as_long_as_bytes_arrive() {
    let scene = Scene::new().await;
    for _ in 0..10 {
        scene.hub.fault(UNET, Fault::CutAfter(100_000));
    }
    assert_complete(&scene.fetch().await.unwrap());
    assert!(scene.ranges(UNET).len() > 4);
}

#[tokio::test]
async fn silent_connection_is_given_up_and_gone_on_with() {
    let mut scene = Scene::new().await;
    scene.patience.silence = Duration::from_secs(2);
    scene.hub.fault(VAE, Fault::SilentAfter(50_000));
    assert_complete(&scene.fetch().await.unwrap());
    let ranges = scene.ranges(VAE);
    assert!(matches!(&ranges[..], [None, Some(_)]), "{ranges:?}");
}

#[tokio::test]
async fn restart_in_the_middle_goes_on_with_the_part() {
    let scene = Scene::new().await;
    scene.hub.fault(UNET, Fault::SilentAfter(400_000));
    let part = scene.folder().join(format!("{UNET}.part"));
    let store = scene.store();
    let fetch =
        tokio::spawn(
            async move { store.model(&wanted(hub(None, "")), &Progress::default()).await.map(drop) },
        );
    let arrived = || std::fs::metadata(&part).map_or(0, |metadata| metadata.len());
    eventually(async || (arrived() > 0).then_some(())).await;
    fetch.abort();
    assert!(fetch.await.unwrap_err().is_cancelled());
    assert!(arrived() > 0, "the part stays");

    assert_complete(&scene.fetch().await.unwrap());
    let ranges = scene.ranges(UNET);
    assert!(matches!(&ranges[..], [None, Some(range)] if range != "bytes=0-"), "{ranges:?}");
}

#[tokio::test]
async fn server_without_ranges_begins_again() {
    let scene = Scene::new().await;
    scene.hub.fault(UNET, Fault::CutAfter(300_000));
    scene.hub.fault(UNET, Fault::Whole);
    let progress = Progress::default();
    let folder = scene.store().model(&wanted(hub(None, "")), &progress).await.unwrap();
    assert_complete(&folder.path);
    assert_eq!(progress.bytes().0, progress.bytes().1, "nothing is counted twice");
}

#[tokio::test]
async fn damaged_file_is_fetched_once_more() {
    let scene = Scene::new().await;
    scene.hub.fault(VAE, Fault::Damaged);
    scene.hub.fault("vae/config.json", Fault::Damaged);
    assert_complete(&scene.fetch().await.unwrap());
    assert_eq!(scene.ranges(VAE), [None, None]);
}

#[tokio::test]
async fn file_that_is_damaged_twice_is_an_error_with_both_digests() {
    let scene = Scene::new().await;
    for _ in 0..2 {
        scene.hub.fault("vae/config.json", Fault::Damaged);
    }
    let error = scene.fetch().await.unwrap_err();
    let Error::WrongHash { file, expected, found } = &error else { panic!("{error}") };
    assert_eq!(*file, format!("vae/config.json of {ID} at {}", scene.commit));
    assert!(expected.starts_with("git blob ") && found.starts_with("git blob ") && expected != found);
    assert!(!scene.folder().join("vae/config.json").exists());
    assert!(!scene.folder().join("vae/config.json.part").exists());
}

#[tokio::test]
async fn file_of_another_size_is_an_error_with_both_sizes() {
    let scene = Scene::new().await;
    let size = std::fs::metadata(bundled("shapes-sd").join(VAE)).unwrap().len();
    scene.hub.fault(VAE, Fault::Longer(3));
    let expected =
        format!("{VAE} of {ID} at COMMIT has the wrong size: expected {size} bytes, found {}", size + 3);
    assert_eq!(scene.problem().await, expected);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let mut scene = Scene::new().await;
    scene.hub.fault("tree", Fault::Status(401, vec![("x-error-code", "RepoNotFound".into())]));
    assert_eq!(
        scene.problem().await,
        "the hub refuses test/shapes at COMMIT (401): it does not exist, or is private and needs HF_TOKEN"
    );
    let gated = || Fault::Status(403, vec![("x-error-code", "GatedRepo".into())]);
    scene.hub.fault(UNET, gated());
    let expected = format!("the hub refuses {UNET} of test/shapes at COMMIT (403): it is gated");
    let problem = scene.problem().await;
    assert!(problem.starts_with(&expected) && problem.contains("set HF_TOKEN"), "{problem}");
    scene.token = Some("hf_secret");
    scene.hub.fault(UNET, gated());
    let error = scene.fetch().await.unwrap_err();
    assert_eq!(error.reason(), "access to its files is refused");
    let problem = chain(&error);
    assert!(problem.contains("ask for access") && !problem.contains("hf_secret"), "{problem}");
    assert_complete(&scene.fetch().await.unwrap());
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let scene = Scene::new().await;
    let error = scene.fetch_wanted(&wanted(hub(Some("v9"), ""))).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no test/shapes at v9");
    scene.hub.fault("vae/config.json", Fault::Status(404, vec![("x-error-code", "EntryNotFound".into())]));
    assert_eq!(scene.problem().await, "there is no vae/config.json of test/shapes at COMMIT");
    let error = scene.fetch_wanted(&wanted(hub(None, "scheduler"))).await.unwrap_err();
    assert!(matches!(&error, Error::Layout { problem, .. } if problem.contains("config.json in scheduler")));
}

#[tokio::test]
async fn busy_hub_is_asked_again() {
    let scene = Scene::new().await;
    scene.hub.fault("revision", Fault::Status(429, vec![("retry-after", "0".into())]));
    scene.hub.fault("tree", Fault::Status(503, vec![]));
    scene.hub.fault(UNET, Fault::Status(429, vec![("retry-after", "0".into())]));
    assert_complete(&scene.fetch().await.unwrap());
}

#[tokio::test]
async fn hub_that_stays_busy_is_an_error_after_the_last_try() {
    let scene = Scene::new().await;
    for _ in 0..4 {
        scene.hub.fault("tree", Fault::Status(502, vec![]));
    }
    let error = scene.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Busy { status: 502, .. }), "{error}");
    assert_eq!(scene.hub.asked("tree").len(), 4);
}

#[tokio::test]
async fn token_is_shown_to_the_hub_and_to_nobody_it_redirects_to() {
    let mut scene = Scene::new().await;
    scene.token = Some("hf_secret");
    assert_complete(&scene.fetch().await.unwrap());
    let (redirected, direct): (Vec<_>, Vec<_>) =
        scene.hub.all_asked().into_iter().partition(|asked| asked.redirected);
    assert!(redirected.len() >= 3 && redirected.iter().all(|asked| asked.authorization.is_none()));
    assert!(direct.iter().all(|asked| asked.authorization.as_deref() == Some("Bearer hf_secret")));
}

#[tokio::test]
async fn two_stores_on_one_cache_fetch_each_file_once() {
    let scene = Scene::new().await;
    let (first, second) = tokio::join!(scene.fetch(), scene.fetch());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_complete(&scene.folder());
    for file in files(&bundled("shapes-sd")).iter().filter(|file| *file != "README.md") {
        let asked = scene.hub.asked(file).iter().filter(|asked| !asked.redirected).count();
        assert_eq!(asked, 1, "{file}");
    }
}

#[tokio::test]
async fn full_disk_is_named_with_what_it_lacks() {
    let scene = Scene::new().await;
    let part = scene.folder().join("vae/config.json.part");
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    // Takes no byte, as a full disk.
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let size = std::fs::metadata(bundled("shapes-sd").join("vae/config.json")).unwrap().len();
    let error = scene.fetch().await.unwrap_err();
    assert!(
        matches!(&error, Error::DiskFull { path, needed_bytes } if *path == part && *needed_bytes == size),
        "{error}"
    );
    assert_eq!(error.reason(), "there is no space for its files");
}

#[tokio::test]
async fn components_come_from_other_repositories_and_files() {
    let scene = Scene::new().await;
    scene.hub.add("other/vae", &bundled("shapes-sd").join("vae"));
    scene.hub.add("other/unets", &bundled("shapes-sd").join("unet"));
    let part =
        |id: &str, path: &str| Source::Hub(Repository { id: id.into(), revision: None, path: path.into() });
    let mut wanted = wanted(hub(None, ""));
    wanted.components.insert("vae".into(), part("other/vae", ""));
    wanted.components.insert("unet".into(), part("other/unets", "diffusion_pytorch_model.safetensors"));
    let folder = scene.store().model(&wanted, &Progress::default()).await.unwrap();
    assert!(folder.components["vae"].join("config.json").is_file());
    assert!(folder.components["vae"].join("diffusion_pytorch_model.safetensors").is_file());
    assert!(folder.components["unet"].is_file());
    assert!(!folder.components["unet"].with_file_name("config.json").exists(), "only the file");
    assert!(folder.path.join("unet/config.json").is_file(), "the configuration for it");
    for replaced in [UNET, VAE] {
        assert!(!folder.path.join(replaced).exists(), "{replaced} is not needed");
    }
}

#[tokio::test]
async fn lora_is_the_file_that_is_named_or_the_only_one() {
    let scene = Scene::new().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("style.safetensors"), "a").unwrap();
    scene.hub.add("test/style", folder.path());
    let lora = |file: Option<&str>| Lora {
        id: "test/style".into(),
        source: Source::Unnamed {
            folder: "test/style".into(),
            repository: Repository { id: "test/style".into(), revision: None, path: String::new() },
        },
        file: file.map(Into::into),
    };
    let fetched = scene.store().lora(&lora(None), &Progress::default()).await.unwrap();
    assert_eq!(std::fs::read(&fetched).unwrap(), b"a");
    let error = scene.store().lora(&lora(Some("other.safetensors")), &Progress::default()).await.unwrap_err();
    assert!(error.to_string().starts_with("there is no other.safetensors in test/style at "), "{error}");

    std::fs::write(folder.path().join("second.safetensors"), "b").unwrap();
    scene.hub.add("test/style", folder.path());
    let fresh = tempfile::tempdir().unwrap();
    let scene = Scene { cache: fresh, ..scene };
    let problem = scene.store().lora(&lora(None), &Progress::default()).await.unwrap_err().to_string();
    assert!(problem.contains("one of second.safetensors, style.safetensors"), "{problem}");
}

#[tokio::test]
async fn prefix_of_a_bucket_is_fetched_and_verified() {
    let scene = Scene::new().await;
    let store = Blobs::connect(&blobs());
    store.ensure_bucket().await.unwrap();
    let prefix = format!("models-{}", Uuid::now_v7().simple());
    for file in files(&bundled("shapes-sd")) {
        let bytes = std::fs::read(bundled("shapes-sd").join(&file)).unwrap();
        store.put(&format!("{prefix}/sd/{file}"), bytes.into(), "application/octet-stream").await.unwrap();
    }
    let source =
        |path: &str| Source::Bucket { bucket: "darkroom-test".into(), prefix: format!("{prefix}/{path}") };
    let folder = scene.fetch_wanted(&wanted(source("sd"))).await.unwrap();
    assert!(folder.starts_with(scene.cache.path().join("s3/darkroom-test").join(&prefix).join("sd")));
    assert_complete(&folder);
    assert_eq!(scene.fetch_wanted(&wanted(source("sd"))).await.unwrap(), folder);

    // Half of a file is here already.
    let vae = folder.join(VAE);
    let bytes = std::fs::read(&vae).unwrap();
    std::fs::write(folder.join(format!("{VAE}.part")), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::remove_file(&vae).unwrap();
    scene.fetch_wanted(&wanted(source("sd"))).await.unwrap();
    assert_complete(&folder);

    // Other objects are another state, and the old one stays as it is for those who have loaded it.
    let config = format!("{prefix}/sd/vae/config.json");
    let mut changed = std::fs::read(folder.join("vae/config.json")).unwrap();
    changed.push(b'\n');
    store.put(&config, changed.clone().into(), "application/json").await.unwrap();
    let second = scene.fetch_wanted(&wanted(source("sd"))).await.unwrap();
    assert_ne!(second, folder);
    assert_eq!(std::fs::read(second.join("vae/config.json")).unwrap(), changed);
    assert_complete(&folder);

    let mut with_vae = wanted(source("sd"));
    with_vae.components.insert("vae".into(), source(&format!("sd/{VAE}")));
    let model = scene.store().model(&with_vae, &Progress::default()).await.unwrap();
    assert!(model.components["vae"].is_file());

    let error = scene.fetch_wanted(&wanted(source("nothing"))).await.unwrap_err();
    assert!(error.to_string().starts_with("there is no s3://darkroom-test/"), "{error}");
    store.delete_prefix(&format!("{prefix}/")).await.unwrap();
}
