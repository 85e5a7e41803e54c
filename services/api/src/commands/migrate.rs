//! `migrate`.

use anyhow::Context as _;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use darkroom_blobs::{Blobs, BlobsConfig};
use darkroom_store::StoreConfig;

use super::{NAME, connect_to, say};

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    store: StoreConfig,

    #[command(flatten)]
    blobs: OptionalBlobs,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let store = connect_to(&self.store).await?;
        let version = store.migrate().await?;
        say(format_args!("the database is at version {version}"))?;
        if let Some(config) = &self.blobs.0 {
            let made = Blobs::connect(config).ensure_bucket().await;
            made.with_context(|| format!("failed to make the bucket at S3_ENDPOINT {}", config.s3_endpoint))?;
            say(format_args!("the bucket {} is there", config.s3_bucket))?;
        }
        store.close().await;
        Ok(())
    }
}

/// Storage, where its endpoint is set; then the rest has to be set as well.
#[derive(Debug)]
struct OptionalBlobs(Option<BlobsConfig>);

const ENDPOINT: &str = "s3_endpoint";

impl Args for OptionalBlobs {
    fn augment_args(command: Command) -> Command {
        let whole = BlobsConfig::augment_args(Command::new(NAME));
        let required = whole.get_arguments().filter(|arg| arg.is_required_set() && arg.get_id() != ENDPOINT);
        let required: Vec<_> = required.map(|arg| arg.get_id().clone()).collect();
        whole.get_arguments().fold(command, |command, arg| {
            let mut arg = arg.clone().required(false);
            if arg.get_id() == ENDPOINT {
                arg = required.iter().fold(arg, |arg, other| arg.requires(other));
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionalBlobs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let set = matches.contains_id(ENDPOINT);
        Ok(Self(set.then(|| BlobsConfig::from_arg_matches(matches)).transpose()?))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        migrate: Migrate,
    }

    fn parse(arguments: &[&str]) -> Result<Option<String>, String> {
        let needed = ["program", "--database-url=postgres://u:p@h/d"];
        let parsed = Program::try_parse_from(needed.iter().chain(arguments));
        let blobs = parsed.map(|program| program.migrate.blobs.0);
        blobs.map(|blobs| blobs.map(|blobs| blobs.s3_bucket)).map_err(|error| error.to_string())
    }

    #[test]
    fn storage_is_wanted_whole_or_not_at_all() {
        assert_eq!(parse(&[]), Ok(None));
        let endpoint = "--s3-endpoint=http://127.0.0.1:1";
        let rest = ["--s3-bucket=abc", "--s3-access-key-id=k", "--s3-secret-access-key=s"];
        assert_eq!(parse(&[&[endpoint], &rest[..]].concat()), Ok(Some("abc".to_owned())));
        let refusal = parse(&[endpoint, rest[0]]).unwrap_err();
        assert!(
            refusal.contains("S3_ACCESS_KEY_ID") && refusal.contains("S3_SECRET_ACCESS_KEY"),
            "{refusal}"
        );
    }
}
