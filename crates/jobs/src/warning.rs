//! Warnings: what a run has to say about a job that did not fail for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A warning, for the job's owner. The codes are open: who reads warnings passes on those it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What kind of warning, a stable word.
    pub code: String,
    /// What it says, for people.
    pub message: String,
    /// What it is about, for programs.
    pub detail: Map<String, Value>,
}

impl Warning {
    /// A text encoder reads at most `limit` tokens, and `dropped`, the end of a prompt, is over that.
    pub fn prompt_truncated(encoder: &str, dropped: &str, limit: u32) -> Self {
        let detail = [("dropped", json!(dropped)), ("encoder", json!(encoder)), ("limit", json!(limit))];
        Self {
            code: "prompt_truncated".to_owned(),
            message: format!("{encoder} reads at most {limit} tokens: the end of a prompt was left out"),
            detail: detail.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_told() {
        insta::assert_json_snapshot!(Warning::prompt_truncated("text_encoder", "on a mat", 77), @r#"
        {
          "code": "prompt_truncated",
          "message": "text_encoder reads at most 77 tokens: the end of a prompt was left out",
          "detail": {
            "dropped": "on a mat",
            "encoder": "text_encoder",
            "limit": 77
          }
        }
        "#);
    }
}
