//! Where things lie in the bucket. A key is never reused for other content.

use std::fmt::Display;

/// Prefix of every result of a job: `jobs/{job}/`.
pub fn job_prefix(job: impl Display) -> String {
    format!("jobs/{job}/")
}

/// Prefix of every input: apart from the results, so that inputs of requests that were never accepted can be
/// found by listing few keys.
pub const INPUT_PREFIX: &str = "inputs/";

/// Key of a job's input image: `inputs/{job}`.
pub fn input_key(job: impl Display) -> String {
    format!("{INPUT_PREFIX}{job}")
}

/// Prefix of every file: the pictures that jobs name without having been sent with one.
pub const FILE_PREFIX: &str = "files/";

/// Key of a file: `files/{file}`.
pub fn file_key(file: impl Display) -> String {
    format!("{FILE_PREFIX}{file}")
}

/// Prefix of an attempt's results: `jobs/{job}/{attempt}/`.
pub fn attempt_prefix(job: impl Display, attempt: impl Display) -> String {
    format!("jobs/{job}/{attempt}/")
}

/// Key of an attempt's result: `jobs/{job}/{attempt}/{index}.{extension}`, index from 0.
pub fn artifact_key(
    job: impl Display,
    attempt: impl Display,
    index: impl Display,
    extension: &str,
) -> String {
    format!("jobs/{job}/{attempt}/{index}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_job_attempt_and_index() {
        assert_eq!(job_prefix("j1"), "jobs/j1/");
        assert_eq!(input_key("j1"), "inputs/j1");
        assert_eq!(file_key("f1"), "files/f1");
        assert_eq!(artifact_key("j1", 2, 0, "png"), format!("{}0.png", attempt_prefix("j1", 2)));
        assert_eq!(attempt_prefix("j1", 2), "jobs/j1/2/");
    }
}
