//! `cargo xtask demo`: a picture from words, then words from that picture, with the command line `darkroom`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use darkroom_client::{Artifact, Job};

use super::up;
use crate::interrupt::Interrupt;
use crate::progress::{note, print};
use crate::stack::{environment, files};
use crate::workspace;

/// What names a service and a key for it.
const SETTINGS: [&str; 2] = ["DARKROOM_URL", "DARKROOM_API_KEY"];
const PROMPT: &str = "a large red circle on a blue background";
/// The size, steps and guidance the bundled model is best at.
const PICTURE: [&str; 10] =
    ["--width", "128", "--height", "128", "--steps", "25", "--guidance", "4", "--seed", "7"];

/// The worker's timings as the table shows them. It reports more, which repeat the others.
const WITHIN_RUN: [(&str, &str); 6] = [
    ("fetch_ms", "  fetch input"),
    ("wait_ms", "  wait for device"),
    ("load_ms", "  load model"),
    ("inference_ms", "  inference"),
    ("encode_ms", "  encode"),
    ("upload_ms", "  upload"),
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Use the service that DARKROOM_URL and DARKROOM_API_KEY name, and start nothing
    #[arg(long)]
    running: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    if arguments.running {
        return show(&running(interrupt)?, interrupt);
    }
    let shown = local(interrupt).and_then(|darkroom| show(&darkroom, interrupt));
    shown.map_err(|error| up::say_what_goes_on(error, interrupt))
}

fn show(darkroom: &Darkroom, interrupt: &Interrupt) -> Result<()> {
    let folder = workspace::stack_dir()?.join("demo");
    files::create_dir(&folder)?;
    let (picture, caption) = (folder.join("picture.png"), folder.join("caption.txt"));

    note("");
    let mut generate = darkroom.command("generate");
    generate.arg(PROMPT).args(PICTURE).arg("-o").arg(&picture);
    let drawn = darkroom.run(generate, interrupt)?;
    let mut describe = darkroom.command("caption");
    describe.arg(&picture);
    let described = darkroom.run(describe, interrupt)?;
    let mut fetch = darkroom.command("job");
    fetch.arg(described.job.id.to_string()).arg("-o").arg(&caption);
    darkroom.run(fetch, interrupt)?;

    note("");
    print(format!("prompt   {PROMPT}"))?;
    print(format!("picture  {}", drawn.artifact()?.url))?;
    print(format!("         saved as {}", picture.display()))?;
    print(format!("caption  {}", described.artifact()?.text.as_deref().unwrap_or_default()))?;
    print(format!("         {}", described.artifact()?.url))?;
    print(format!("         saved as {}", caption.display()))?;
    print("both were fetched by their URLs: sizes and SHA-256 are as announced\n")?;
    print_table(&[("picture", &drawn), ("caption", &described)])
}

/// The command line, for the local stack.
fn local(interrupt: &Interrupt) -> Result<Darkroom> {
    let local = up::all(interrupt)?;
    let state = local.stack.state()?;
    let key = state.api_key.clone().context("there is no API key")?;
    let service = SETTINGS.into_iter().zip([environment::api_url(&state), key]).collect();
    Ok(Darkroom { program: local.command_line, service })
}

/// The command line, for a service somewhere else.
fn running(interrupt: &Interrupt) -> Result<Darkroom> {
    let missing = |name: &&str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let missing: Vec<&str> = SETTINGS.into_iter().filter(missing).collect();
    if !missing.is_empty() {
        bail!(
            "set {} first: `--running` uses the service that {} name; for the local stack: \
             eval \"$(cargo xtask env)\"",
            missing.join(" and "),
            SETTINGS.join(" and ")
        );
    }
    note("building the command line");
    let program = workspace::build_binaries(interrupt)?.remove(up::COMMAND_LINE);
    Ok(Darkroom { program: program.context("the build made no command line")?, service: Vec::new() })
}

/// The command line `darkroom` and the service it is for: the one its environment names, unless given.
struct Darkroom {
    program: PathBuf,
    service: Vec<(&'static str, String)>,
}

/// A job that was run, and how long its caller took for it.
struct Run {
    job: Job,
    took: Duration,
}

impl Darkroom {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(name).arg("--json").envs(self.service.iter().cloned());
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    /// Runs a command that prints a job. Progress and errors go to the terminal.
    fn run(&self, mut command: Command, interrupt: &Interrupt) -> Result<Run> {
        note(format!("$ {}", line(&command)));
        let started = Instant::now();
        let output = command.output().with_context(|| format!("failed to run {}", self.program.display()))?;
        interrupt.check()?;
        if !output.status.success() {
            bail!("the command line failed ({})", output.status);
        }
        let job = serde_json::from_slice(&output.stdout).context("the command line printed no job")?;
        Ok(Run { job, took: started.elapsed() })
    }
}

/// The command as a person types it.
fn line(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy());
    let words = words.map(|word| if word.contains(' ') { format!("\"{word}\"") } else { word.into_owned() });
    format!("{} {}", up::COMMAND_LINE, words.collect::<Vec<_>>().join(" "))
}

impl Run {
    fn artifact(&self) -> Result<&Artifact> {
        self.job.artifacts.first().with_context(|| format!("job {} has no result", self.job.id))
    }

    fn stages(&self) -> Vec<(&'static str, Duration)> {
        let job = &self.job;
        let mut stages = Vec::new();
        stages.extend(between("queued", Some(job.created_at), job.started_at));
        stages.extend(between("run", job.started_at, job.finished_at));
        stages.extend(WITHIN_RUN.into_iter().filter_map(|(name, label)| {
            let milliseconds = job.timings.as_ref()?.get(name)?;
            Some((label, Duration::from_secs_f64(milliseconds.max(0.0) / 1_000.0)))
        }));
        stages.push(("the whole command", self.took));
        stages
    }
}

fn between(
    name: &'static str,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Option<(&'static str, Duration)> {
    Some((name, (to? - from?).to_std().unwrap_or_default()))
}

/// Stages down, jobs across. Every job has the same stages; one that a job lacks leaves its cell empty.
fn print_table(runs: &[(&str, &Run)]) -> Result<()> {
    let heads: Vec<String> = runs.iter().map(|(head, _)| format!("{head:>12}")).collect();
    print(format!("{:<22}{}", "stage", heads.concat()))?;
    let columns: Vec<_> = runs.iter().map(|(_, run)| run.stages()).collect();
    let longest = columns.iter().max_by_key(|stages| stages.len());
    for (name, _) in longest.into_iter().flatten() {
        let cells = columns.iter().map(|stages| {
            let stage = stages.iter().find(|(stage, _)| stage == name);
            let cell = stage.map(|(_, time)| format!("{:.1} ms", time.as_secs_f64() * 1_000.0));
            format!("{:>12}", cell.unwrap_or_default())
        });
        print(format!("{name:<22}{}", cells.collect::<String>()))?;
    }
    Ok(())
}
