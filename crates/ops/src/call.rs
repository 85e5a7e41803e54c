//! What a program with one job and no subcommands of its own was called for.

use std::ffi::OsString;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _, Parser, Subcommand};

use crate::Health;

const HEALTH: &str = "health";

/// What a program was called for: without a subcommand to run its service, with `health` to ask after it, or
/// with a subcommand of its own. No subcommand needs any of the service's required settings.
#[derive(Debug)]
pub enum Call<S, O = NoOther> {
    /// Run the service with these settings.
    Run(S),
    /// Ask the service that runs.
    Health(Health),
    /// Do something else.
    Other(O),
}

/// For programs that do nothing else.
#[derive(Debug, Subcommand)]
pub enum NoOther {}

impl<S: Parser, O: Subcommand> Call<S, O> {
    /// Reads the process's arguments and environment. A wrong one, `--help` and `--version` end the process.
    pub fn parse() -> Self {
        Self::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_parse_from<T: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let health = Health::augment_args(Command::new(HEALTH));
        let command = O::augment_subcommands(S::command()).subcommand(health);
        let mut command = command.subcommand_required(false).subcommand_negates_reqs(true);
        let matches = command.try_get_matches_from_mut(arguments)?;
        Self::read(&matches).map_err(|error| error.format(&mut command))
    }

    fn read(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((HEALTH, matches)) => Health::from_arg_matches(matches).map(Self::Health),
            Some(_) => O::from_arg_matches(matches).map(Self::Other),
            None => S::from_arg_matches(matches).map(Self::Run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does nothing.
    #[derive(Parser, Debug)]
    #[command(name = "service")]
    struct Settings {
        #[arg(long)]
        needed: String,
    }

    #[derive(Debug, Subcommand)]
    enum Other {
        /// Does something else.
        Try {
            #[arg(long)]
            word: String,
        },
    }

    fn parse(arguments: &[&str]) -> Result<Call<Settings, Other>, String> {
        let arguments = ["service"].iter().chain(arguments);
        Call::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn subcommands_of_the_program_need_no_settings_of_the_service() {
        let Ok(Call::Other(Other::Try { word })) = parse(&["try", "--word=x"]) else { panic!("not tried") };
        assert_eq!(word, "x");
        assert!(parse(&["try"]).unwrap_err().contains("--word <WORD>"));
        assert!(Call::<Settings, NoOther>::try_parse_from(["service", "try"]).is_err());
    }

    #[test]
    fn program_without_a_subcommand_runs_its_service() {
        let Ok(Call::Run(settings)) = parse(&["--needed=this"]) else { panic!("not run") };
        assert_eq!(settings.needed, "this");
        let refusal = parse(&[]).unwrap_err();
        assert!(refusal.contains("--needed <NEEDED>"), "{refusal}");
    }

    #[test]
    fn health_needs_no_settings_of_the_service() {
        let Ok(Call::Health(health)) = parse(&["health"]) else { panic!("not asked") };
        assert_eq!(health.ops_listen.to_string(), "127.0.0.1:9090");
        let Ok(Call::Health(health)) = parse(&["health", "--ops-listen=0.0.0.0:9091"]) else {
            panic!("not asked")
        };
        assert_eq!(health.ops_listen.to_string(), "0.0.0.0:9091");
    }
}
