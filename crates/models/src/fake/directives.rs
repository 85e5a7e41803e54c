//! What a prompt tells the fake model to do.

use std::time::Duration;

use crate::error::Error;

const OPENING: &str = "[fake:";

/// How the directed picture or caption ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeed,
    Panic,
    OutOfMemory,
    InvalidInput,
    NotFinite,
    Fail,
    Hang,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) step_time: Option<Duration>,
    pub(super) nsfw: bool,
    /// Where the text begins of which the fake warns that it was left out.
    pub(super) warn_at: Option<usize>,
    pub(super) outcome: Outcome,
    /// The picture in which `outcome` happens.
    pub(super) image: u32,
}

impl Directives {
    /// Reads every `[fake:…]` in `prompt`. An unknown one is refused: a typing error must not make a test of
    /// failures pass.
    pub(super) fn parse(prompt: &str) -> Result<Self, Error> {
        let mut directives =
            Self { step_time: None, nsfw: false, warn_at: None, outcome: Outcome::Succeed, image: 0 };
        let mut rest = prompt;
        while let Some(start) = rest.find(OPENING) {
            rest = &rest[start + OPENING.len()..];
            let end = rest.find(']').unwrap_or(rest.len());
            let word = &rest[..end];
            rest = &rest[end..];
            match word {
                "warn" => {
                    directives.warn_at = Some(prompt.len() - rest.strip_prefix(']').unwrap_or(rest).len())
                }
                _ => directives.apply(word)?,
            }
        }
        Ok(directives)
    }

    fn apply(&mut self, word: &str) -> Result<(), Error> {
        let unknown = || Error::InvalidInput(format!("unknown directive [fake:{word}]"));
        if let Some(milliseconds) = word.strip_prefix("step_ms=") {
            self.step_time = Some(Duration::from_millis(milliseconds.parse().map_err(|_| unknown())?));
            return Ok(());
        }
        let (name, image) = match word.split_once('@') {
            Some((name, image)) => (name, image.parse().map_err(|_| unknown())?),
            None => (word, 0),
        };
        let outcome = match name {
            "nsfw" => {
                self.nsfw = true;
                return Ok(());
            }
            "panic" => Outcome::Panic,
            "out_of_memory" => Outcome::OutOfMemory,
            "invalid_input" => Outcome::InvalidInput,
            "not_finite" => Outcome::NotFinite,
            "fail" => Outcome::Fail,
            "hang" => Outcome::Hang,
            _ => return Err(unknown()),
        };
        (self.outcome, self.image) = (outcome, image);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_found_anywhere_in_the_prompt() {
        let directives = Directives::parse("a cat [fake:step_ms=20] on [fake:fail@2] a mat").unwrap();
        assert_eq!(
            directives,
            Directives {
                step_time: Some(Duration::from_millis(20)),
                nsfw: false,
                warn_at: None,
                outcome: Outcome::Fail,
                image: 2
            }
        );
    }

    #[test]
    fn unknown_and_unclosed_directives_are_refused() {
        for prompt in ["[fake:explode]", "[fake:step_ms=soon]", "[fake:fail@x]", "[fake:"] {
            assert!(matches!(Directives::parse(prompt), Err(Error::InvalidInput(_))), "{prompt}");
        }
    }
}
