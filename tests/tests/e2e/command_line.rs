mod batch;
mod more;
mod watch;

use std::process::Stdio;
use std::time::Duration;

use darkroom_e2e::{Catalog, CommandLine, Deployment, Terminal, until};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

use crate::verify::count;

const PROMPT: &str = "a large red circle on a blue background";

/// How many jobs are in this state.
async fn reach(deployment: &Deployment, state: &str, jobs: i64) {
    until(&format!("{jobs} jobs are {state}"), Duration::from_secs(60), || async {
        (count(deployment, state).await == jobs).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_saved_and_described() {
    let deployment = Deployment::start(&Catalog::demo()).await;
    let darkroom = deployment.command_line("a").await;
    let worker = deployment.worker().await;

    let made = darkroom.run(&["generate", PROMPT, "-n", "2", "--seed", "7", "-o", "out.png", "--json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let [job] = &made.documents()[..] else { panic!("one job: {made:?}") };
    assert_eq!(job["files"], serde_json::json!(["out-1.png", "out-2.png"]));
    for (artifact, file) in [(0, "out-1.png"), (1, "out-2.png")] {
        let bytes = std::fs::read(darkroom.path(file)).unwrap();
        assert_eq!(job["artifacts"][artifact]["sha256"], hex::encode(Sha256::digest(&bytes)));
        assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 128);
    }

    assert_eq!(darkroom.run(&["caption", "out-1.png"]).text(), PROMPT);
    let picture = std::fs::read(darkroom.path("out-1.png")).unwrap();
    assert_eq!(darkroom.run_with_input(&["caption", "-"], &picture).text(), PROMPT);
    let both = darkroom.run(&["caption", "out-1.png", "out-2.png"]);
    assert!(both.text().starts_with(&format!("out-1.png: {PROMPT}\nout-2.png: ")), "{both:?}");

    let named = darkroom.run(&["generate", PROMPT, "--seed", "7", "--quiet"]);
    assert_eq!(named.text(), "./a-large-red-circle-on-a-blue-background-7.png");
    let streamed = darkroom.command(&["generate", PROMPT, "--seed", "7", "-o", "-"]).output().unwrap();
    assert_eq!(streamed.stdout, std::fs::read(darkroom.path(named.text())).unwrap());
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_submitted_shown_watched_listed_canceled_and_deleted() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let darkroom = deployment.command_line("a").await;
    let submitted =
        darkroom.run_with_input(&["submit", "-", "--metadata", "album=two"], b"a circle\n\na star\n");
    let [first, second] = submitted.text().lines().collect::<Vec<_>>()[..] else { panic!("{submitted:?}") };

    let shown = darkroom.run(&["job", first]);
    assert!(shown.text().contains("state      queued") && shown.text().contains("album=two"), "{shown:?}");
    assert_eq!(darkroom.run(&["cancel", first]).text(), format!("job {first} is canceled"));
    let listed = darkroom.run(&["jobs", "--state", "queued"]);
    assert!(listed.text().contains(second) && !listed.text().contains(first), "{listed:?}");
    assert!(listed.text().contains("a star"), "{listed:?}");

    let worker = deployment.worker().await;
    let watched = darkroom.run(&["watch", second, first, "-o", "out.png"]);
    assert_eq!(watched.code, Some(7), "a canceled job has a code of its own: {watched:?}");
    assert_eq!(watched.stdout, "out-1.png\n");
    assert!(watched.stderr.contains(&format!("job {first} is canceled")), "{watched:?}");
    assert!(darkroom.path("out-1.png").exists());
    let urls = darkroom.run(&["watch", second]);
    assert!(urls.text().starts_with(&deployment.url), "{urls:?}");
    assert_eq!(
        darkroom.run(&["job", second, "-o", "again.png", "--json"]).documents()[0]["files"][0],
        "again.png"
    );

    let late = darkroom.run(&["cancel", second]);
    assert_eq!(late.code, Some(3), "{late:?}");
    assert_eq!(darkroom.run(&["delete", first, second]).text().lines().count(), 2);
    assert_eq!(darkroom.run(&["jobs", "--json"]).text(), "");
    let usage = darkroom.run(&["usage"]);
    assert!(
        usage.text().lines().last().unwrap().starts_with("total") && usage.text().contains("USD"),
        "{usage:?}"
    );
    let models = darkroom.run(&["models"]);
    assert!(models.text().contains("(default)") && models.text().contains("64 × 64, 4 steps"), "{models:?}");
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failed_job_of_several_does_not_spoil_the_others() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let darkroom = deployment.command_line("a").await;
    let worker = deployment.worker().await;
    let made = darkroom.run(&[
        "generate",
        "a circle",
        "[fake:invalid_input]",
        "a star",
        "--seed",
        "1",
        "-o",
        "album/",
    ]);
    assert_eq!(made.code, Some(6), "{made:?}");
    assert_eq!(made.stdout, "album/a-circle-1.png\nalbum/a-star-1.png\n");
    assert!(made.stderr.contains("is failed: "), "{made:?}");
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_why_and_have_codes_of_their_own() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let darkroom = deployment.command_line("a").await;
    let nobody = "01a20632-ee67-7326-a71f-af3b22ca21c0";
    for (arguments, code, words) in [
        (&["generate", "x", "--width", "65"][..], 3, "multiple of 8"),
        (&["generate", "x", "--model", "nothing"], 3, "unknown_model"),
        (&["generate", "x", "--guidance", "NaN"], 2, "expected a number"),
        (&["job", nobody], 3, "404 not_found"),
        (&["watch", nobody], 3, "404 not_found"),
        (&["job", "x"], 2, "invalid value 'x'"),
        (&["generate", "x", "-o", "missing/x.png"], 1, "failed to write to missing"),
        (&["generate", "x", "-o", "x.gif"], 1, "PNG, JPEG or WebP"),
        (&["generate", "x", "--lora", "a/b=1"], 3, "there is no LoRA `a/b`"),
        (&["generate", "x", "--format", "bmp"], 3, "png, jpeg, webp"),
        (&["caption", "missing.png"], 1, "failed to read missing.png"),
        (&["caption", "."], 1, "is a folder"),
        (&["submit", "a", "b", "--idempotency-key", "k"], 1, "names one job"),
    ] {
        let refused = darkroom.run(arguments);
        assert_eq!(refused.code, Some(code), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(words), "{arguments:?}: {refused:?}");
    }
    assert_eq!(count(&deployment, "queued").await, 0, "nothing that was refused is there");

    let stranger = CommandLine::new(&deployment.url, "dk_wrong");
    let refused = stranger.run(&["generate", "a", "b"]);
    assert_eq!(refused.code, Some(4));
    assert_eq!(refused.stderr.matches("DARKROOM_API_KEY").count(), 1, "said once: {refused:?}");
    let away = CommandLine::new("http://127.0.0.1:1", "dk_wrong").run(&["models"]);
    assert_eq!(away.code, Some(5));
    assert!(away.stderr.contains("DARKROOM_URL"), "{away:?}");
    let mut keyless = darkroom.command(&["models"]);
    keyless.env_remove("DARKROOM_API_KEY");
    assert_eq!(keyless.output().unwrap().status.code(), Some(4));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_asks_on_a_terminal_and_cancels_what_it_is_told_to() {
    let deployment = Deployment::start(&Catalog::fake(100)).await;
    let darkroom = deployment.command_line("a").await;
    let worker = deployment.worker().await;
    let arguments = ["generate", "a circle", "a star", "--steps", "150"];
    let mut terminal = Terminal::start(darkroom.command(&arguments));
    reach(&deployment, "running", 1).await;
    // Progress comes with the worker's heartbeats.
    terminal.shows("of 150").await;
    terminal.interrupt();
    terminal.shows("2 jobs are not finished").await;
    terminal.answer("perhaps");
    terminal.answer("y");
    assert_eq!(terminal.ended().await, Some(130), "{}", terminal.screen());
    assert_eq!(count(&deployment, "canceled").await, 2, "{}", terminal.screen());

    let mut patient = Terminal::start(darkroom.command(&["generate", "a circle", "--steps", "20"]));
    reach(&deployment, "running", 1).await;
    patient.interrupt();
    patient.shows("The job is not finished").await;
    patient.answer("w");
    assert_eq!(patient.ended().await, Some(0), "{}", patient.screen());
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_that_nobody_can_answer_leaves_the_jobs() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let darkroom = deployment.command_line("a").await;
    let mut command = darkroom.command(&["generate", "a circle"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    reach(&deployment, "queued", 1).await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    let id = said.lines().find_map(|line| line.trim().strip_prefix("darkroom watch ")).expect("how to go on");
    let worker = deployment.worker().await;
    assert_eq!(darkroom.run(&["watch", id]).code, Some(0));
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_it_loses_sight_of_are_all_named() {
    let mut deployment = Deployment::start(&Catalog::fake(1)).await;
    let darkroom = deployment.command_line("a").await;
    let mut terminal = Terminal::start(darkroom.command(&["generate", "a circle", "a star"]));
    // From then on it knows that they were accepted.
    terminal.shows("a circle  queued").await;
    terminal.shows("a star  queued").await;
    deployment.api.kill();
    assert_eq!(terminal.ended().await, Some(5), "{}", terminal.screen());
    terminal.shows("darkroom cancel ").await;
    let said = terminal.screen();
    let left =
        said.lines().find_map(|line| line.trim().strip_prefix("darkroom watch ")).expect("how to go on");
    assert_eq!(left.split(' ').count(), 2, "{said}");
    deployment.end().await;
}
