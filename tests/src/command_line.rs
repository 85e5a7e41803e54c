//! The command line `darkroom` as a user runs it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;

use crate::environment::program;
use crate::wait::until;

/// How long a command may take, or its next words.
const BOUND: Duration = Duration::from_secs(60);

/// The program, set up for one tenant, in a folder of its own.
#[derive(Debug)]
pub struct CommandLine {
    url: String,
    key: String,
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: Option<i32>,
    /// Results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl CommandLine {
    /// The program for a key of the service at `url`.
    pub fn new(url: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { url: url.to_owned(), key: key.to_owned(), folder }
    }

    /// A file in the folder where commands run.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that is not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("darkroom"));
        command.args(arguments).env_clear().current_dir(self.folder.path());
        command.env("DARKROOM_URL", &self.url).env("DARKROOM_API_KEY", &self.key).env("TERM", "xterm");
        command
    }

    /// Runs a command to its end, with nothing on its input.
    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments))
    }

    /// Runs a command with this on its input.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command line starts");
        // Dropped at once, which ends the input.
        child.stdin.take().expect("the input is piped").write_all(input).expect("the input is read");
        Said::from(child.wait_with_output().expect("the command ends"))
    }
}

impl Said {
    /// Runs a command with nothing on its input.
    pub fn of(mut command: Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().expect("the command line starts"))
    }

    /// Asserts success, and gives back what was printed.
    ///
    /// # Panics
    /// When the exit code is another than 0.
    pub fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.trim_end()
    }

    /// The JSON documents that were printed, one a line.
    ///
    /// # Panics
    /// When a line is none.
    pub fn documents(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is a document")).collect()
    }
}

impl From<std::process::Output> for Said {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// A command on a terminal, with a person before it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts the command on a terminal of its own.
    ///
    /// # Panics
    /// When there is no terminal to be had.
    pub fn start(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudoterminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it can be opened");
        let name = ptsname(&ours, Vec::new()).expect("it has a name").into_string().expect("in ASCII");
        let theirs = File::options().read(true).write(true).open(name).expect("it can be opened");
        let clone = || theirs.try_clone().expect("the terminal can be shared");
        command.stdin(clone()).stdout(clone()).stderr(clone());
        let child = command.spawn().expect("the command line starts");
        // Holds copies of the terminal, which would keep it open.
        drop((command, theirs));
        let keyboard = File::from(ours);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, written) = (keyboard.try_clone().expect("it can be shared"), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error once the command has closed its side.
            while let Ok(length) = reader.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                written.lock().expect("no reader panics").push_str(&text);
            }
        });
        Self { child, keyboard, screen }
    }

    /// Waits until these words are on the screen.
    pub async fn shows(&self, words: &str) {
        until(&format!("the screen shows `{words}`"), BOUND, || {
            let seen = self.screen().contains(words);
            async move { seen.then_some(()) }
        })
        .await;
    }

    /// Everything that was on the screen so far.
    pub fn screen(&self) -> String {
        self.screen.lock().expect("no writer panics").clone()
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("the process is ours");
    }

    /// Types a line.
    pub fn answer(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).expect("the terminal is open");
    }

    /// Waits for the end, and returns the exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = until("the command ends", BOUND, || {
            let ended = self.child.try_wait().ok().flatten();
            async move { ended }
        })
        .await;
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
