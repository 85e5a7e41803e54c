//! `darkroom-worker run`, which needs no service.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn run(folder: &Path, threads: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom-worker"));
    command.current_dir(folder).env_clear().env("RAYON_NUM_THREADS", threads);
    command.arg("run").args(arguments).output().unwrap()
}

fn model(name: &str) -> String {
    format!("{}/../../models/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn pictures_are_the_same_on_any_number_of_threads() {
    let folder = TempDir::new().unwrap();
    let model = model("shapes-sd");
    for threads in ["1", "2", "3"] {
        let output = format!("{threads}.png");
        let task = ["--model", &model, "--prompt", "a red circle", "--seed", "7", "--steps", "4"];
        let more = ["--width", "96", "--height", "64", "--guidance", "4", "--images", "2", "-o", &output];
        let output = run(folder.path(), threads, &[&task[..], &more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    for image in 0..2 {
        let one = read(&format!("1-{image}.png"));
        assert!(one == read(&format!("2-{image}.png")) && one == read(&format!("3-{image}.png")));
    }
    assert!(read("1-0.png") != read("1-1.png"));
}

#[test]
fn inference_has_a_thread_for_each_processor_that_may_be_used() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = allowed.trim().split(['-', ',']).next().unwrap();
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", first, env!("CARGO_BIN_EXE_darkroom-worker")]).env_remove("RAYON_NUM_THREADS");
    let mut told = Command::new(env!("CARGO_BIN_EXE_darkroom-worker"));
    told.env("RAYON_NUM_THREADS", "3");
    let (model, picture) = (model("shapes-blip"), model("reference/caption-6.png"));
    for (mut command, expected) in [(pinned, "on 1 thread,"), (told, "on 3 threads,")] {
        let output = command.args(["run", "--model", &model, "--image", &picture]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains(expected), "{said}");
    }
}

#[test]
fn captions_are_printed() {
    let folder = TempDir::new().unwrap();
    let picture = model("reference/caption-6.png");
    let output = run(folder.path(), "2", &["--model", &model("shapes-blip"), "--image", &picture]);
    let caption = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(caption, "a large yellow diamond on a red background\n");
}

#[test]
fn what_cannot_be_run_is_said_with_its_place() {
    let folder = TempDir::new().unwrap();
    let sd = model("shapes-sd");
    let cases: [(&[&str], &str); 5] = [
        (&["--model", "absent", "--prompt", "x", "-o", "x.png"], "absent: expected model_index.json"),
        (&["--model", &sd, "--prompt", "x", "--width", "65", "-o", "x.png"], "multiples of 8, not 65 x 512"),
        (&["--model", &sd, "--prompt", "x", "-o", "x.bmp"], "--output must end in .png, .jpg or .webp"),
        (&["--model", &sd, "--prompt", "x", "--guidance", "NaN", "-o", "x.png"], "guidance_scale must be"),
        (&["--model", &sd, "--prompt", "x", "--lora", "no.safetensors", "-o", "x.png"], "no.safetensors"),
    ];
    for (arguments, expected) in cases {
        let output = run(folder.path(), "2", arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    assert!(!folder.path().join("x.png").exists());
}
