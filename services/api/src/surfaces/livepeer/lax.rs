//! Reading JSON members as the Livepeer runner does: pydantic 2 in lax mode, with its errors.
//!
//! Source: pydantic's conversion table and error types, <https://docs.pydantic.dev/latest/concepts/conversion_table/>.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One thing that is wrong, as an entry of `detail` in an answer with status 422.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Invalid {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Value>,
    msg: &'static str,
    /// What was sent.
    input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Value>,
}

/// An integer as pydantic reads it, if it is one: what does not fit is no value the service could use.
type Integer = Result<i64, Wrong>;

/// Type and text of an error.
type Wrong = (&'static str, &'static str);

const INT_TYPE: Wrong = ("int_type", "Input should be a valid integer");
const INT_FROM_FLOAT: Wrong =
    ("int_from_float", "Input should be a valid integer, got a number with a fractional part");
const INT_PARSING: Wrong =
    ("int_parsing", "Input should be a valid integer, unable to parse string as an integer");
const INT_PARSING_SIZE: Wrong =
    ("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size");
const FLOAT_TYPE: Wrong = ("float_type", "Input should be a valid number");
const FLOAT_PARSING: Wrong =
    ("float_parsing", "Input should be a valid number, unable to parse string as a number");
const FINITE_NUMBER: Wrong = ("finite_number", "Input should be a finite number");
const BOOL_TYPE: Wrong = ("bool_type", "Input should be a valid boolean");
const BOOL_PARSING: Wrong = ("bool_parsing", "Input should be a valid boolean, unable to interpret input");
const STRING_TYPE: Wrong = ("string_type", "Input should be a valid string");

/// As many bytes of what was sent are told back; pydantic tells all, and an answer would be larger than its request.
const MAX_SHOWN_BYTES: usize = 4_096;

/// What was sent, or the beginning of its text.
fn shown(input: Value) -> Value {
    let mut text = match input {
        Value::String(text) if text.len() > MAX_SHOWN_BYTES => text,
        Value::Array(_) | Value::Object(_) if input.to_string().len() > MAX_SHOWN_BYTES => input.to_string(),
        _ => return input,
    };
    text.truncate(text.floor_char_boundary(MAX_SHOWN_BYTES));
    Value::from(text + "…")
}

/// First integer that a float cannot be turned into, 2^63.
const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;

impl Invalid {
    fn new((kind, msg): Wrong, loc: &[&str], input: Value) -> Self {
        let loc = loc.iter().map(|part| Value::from(*part)).collect();
        Self { kind, loc, msg, input: shown(input), ctx: None }
    }

    /// A part of the form, or the whole body, that is not there.
    pub(super) fn missing(loc: &[&str]) -> Self {
        Self::new(("missing", "Field required"), loc, Value::Null)
    }

    /// A part of the form that should be a file and is not.
    pub(super) fn no_file(name: &str, text: &str) -> Self {
        let wrong = ("value_error", "Value error, Expected UploadFile, received: <class 'str'>");
        Self { ctx: Some(json!({"error": {}})), ..Self::new(wrong, &["body", name], text.into()) }
    }

    /// A body that is no JSON.
    fn json(text: &str, error: &serde_json::Error) -> Self {
        let before: usize = text.split('\n').take(error.line() - 1).map(|line| line.len() + 1).sum();
        let byte = if error.is_eof() { text.len() } else { before + error.column().saturating_sub(1) };
        let offset = text.char_indices().take_while(|(at, _)| *at < byte).count();
        // Without where serde says it is.
        let problem = error.to_string();
        let problem = problem.split(" at line ").next().unwrap_or_default();
        Self {
            kind: "json_invalid",
            loc: vec!["body".into(), offset.into()],
            msg: "JSON decode error",
            input: json!({}),
            ctx: Some(json!({"error": problem})),
        }
    }
}

/// The members of a JSON object that was sent as the body.
#[derive(Debug)]
pub(super) struct Members {
    members: Map<String, Value>,
    invalid: Vec<Invalid>,
}

impl Members {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Vec<Invalid>> {
        let text = String::from_utf8_lossy(body);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        if text.is_empty() {
            return Err(vec![Invalid::missing(&["body"])]);
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(members)) => Ok(Self { members, invalid: Vec::new() }),
            Ok(other) => Err(vec![Self::no_object(other)]),
            Err(error) => Err(vec![Invalid::json(text, &error)]),
        }
    }

    /// What is said of a body that is something else than an object.
    pub(super) fn no_object(body: Value) -> Invalid {
        let msg = "Input should be a valid dictionary or object to extract fields from";
        Invalid::new(("model_attributes_type", msg), &["body"], body)
    }

    /// A string; `None` where it is absent or wrong.
    pub(super) fn string(&mut self, name: &'static str) -> Option<String> {
        self.read(name, |value| value.as_str().map(str::to_owned).ok_or(STRING_TYPE))
    }

    /// A string that has to be there; `None` where it is not.
    pub(super) fn required(&mut self, name: &'static str) -> Option<String> {
        if !self.members.contains_key(name) {
            let input = shown(Value::Object(self.members.clone()));
            self.invalid.push(Invalid { input, ..Invalid::missing(&["body", name]) });
        }
        self.string(name)
    }

    /// An integer; `None` where it is absent or wrong.
    pub(super) fn integer(&mut self, name: &'static str) -> Option<i64> {
        self.read(name, integer)
    }

    /// A finite number; `None` where it is absent or wrong.
    pub(super) fn number(&mut self, name: &'static str) -> Option<f64> {
        self.read(name, number)
    }

    /// A truth value; `None` where it is absent or wrong.
    pub(super) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.read(name, boolean)
    }

    fn read<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Result<T, Wrong>) -> Option<T> {
        let value = self.members.get(name)?;
        match read(value) {
            Ok(read) => Some(read),
            Err(wrong) => {
                self.invalid.push(Invalid::new(wrong, &["body", name], value.clone()));
                None
            }
        }
    }

    /// Everything that was wrong.
    pub(super) fn finish(self) -> Result<(), Vec<Invalid>> {
        if self.invalid.is_empty() { Ok(()) } else { Err(self.invalid) }
    }
}

fn integer(value: &Value) -> Integer {
    match value {
        Value::Bool(truth) => Ok(i64::from(*truth)),
        Value::String(text) => integer_in(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Ok(integer),
            (None, Some(float)) if float.fract() != 0.0 => Err(INT_FROM_FLOAT),
            (None, Some(float)) if float.abs() < TOO_LARGE => Ok(whole(float)),
            _ => Err(INT_PARSING_SIZE),
        },
        _ => Err(INT_TYPE),
    }
}

/// The integer a float without a fraction stands for.
#[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is smaller than 2^63")]
fn whole(float: f64) -> i64 {
    float as i64
}

/// An integer in a text: surrounded by white space, grouped by underscores, with nothing but zeros behind the point.
fn integer_in(text: &str) -> Integer {
    let text = text.trim();
    let text = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    };
    let digits = ungrouped(text.strip_prefix(['+', '-']).unwrap_or(text)).ok_or(INT_PARSING)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(INT_PARSING);
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    format!("{sign}{digits}").parse().map_err(|_| INT_PARSING_SIZE)
}

fn number(value: &Value) -> Result<f64, Wrong> {
    let number = match value {
        Value::Bool(truth) => f64::from(u8::from(*truth)),
        Value::Number(number) => number.as_f64().ok_or(FLOAT_TYPE)?,
        Value::String(text) => {
            ungrouped(text.trim()).and_then(|text| text.parse().ok()).ok_or(FLOAT_PARSING)?
        }
        _ => return Err(FLOAT_TYPE),
    };
    // The runner fails on these.
    if number.is_finite() { Ok(number) } else { Err(FINITE_NUMBER) }
}

/// A text without the underscores between its digits; `None` where they stand elsewhere.
fn ungrouped(text: &str) -> Option<String> {
    let misplaced = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!misplaced).then(|| text.replace('_', ""))
}

fn boolean(value: &Value) -> Result<bool, Wrong> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "on" | "t" | "true" | "y" | "yes" => Ok(true),
            "0" | "off" | "f" | "false" | "n" | "no" => Ok(false),
            _ => Err(BOOL_PARSING),
        },
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Ok(false),
            Some(1.0) => Ok(true),
            Some(other) if other.fract() != 0.0 => Err(BOOL_TYPE),
            _ => Err(BOOL_PARSING),
        },
        _ => Err(BOOL_TYPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a read says, as `value` or `!type`.
    fn said<T: ToString>(read: Result<T, Wrong>) -> String {
        read.map_or_else(|(kind, _)| format!("!{kind}"), |value| value.to_string())
    }

    /// Each pair is JSON and what pydantic 2.14 makes of it.
    fn check<T: ToString>(read: fn(&Value) -> Result<T, Wrong>, table: &[(&str, &str)]) {
        for (json, expected) in table {
            let value = serde_json::from_str(json).unwrap();
            assert_eq!(said(read(&value)), *expected, "{json}");
        }
    }

    #[test]
    fn of_much_that_was_sent_the_beginning_is_told() {
        let long = "\u{e9}".repeat(4_000);
        assert_eq!(shown(long.clone().into()).as_str().map(str::len), Some(MAX_SHOWN_BYTES + "…".len()));
        let inside = shown(json!({"prompt": long}));
        assert!(
            inside
                .as_str()
                .is_some_and(|text| text.starts_with("{\"prompt\":\"\u{e9}") && text.len() < 5_000)
        );
        assert_eq!(shown(json!({"prompt": "a"})), json!({"prompt": "a"}));
    }

    #[test]
    fn integers_are_read_as_pydantic_does() {
        let table = [
            ("64", "64"),
            (r#""64""#, "64"),
            ("64.0", "64"),
            ("-0.0", "0"),
            ("1e2", "100"),
            ("true", "1"),
            (r#""64.0""#, "64"),
            (r#"" 64 ""#, "64"),
            (r#""+64""#, "64"),
            (r#""-3""#, "-3"),
            (r#""1_000""#, "1000"),
            ("64.5", "!int_from_float"),
            (r#""64.5""#, "!int_parsing"),
            (r#""abc""#, "!int_parsing"),
            (r#""""#, "!int_parsing"),
            (r#""0x10""#, "!int_parsing"),
            (r#""1e2""#, "!int_parsing"),
            (r#""६""#, "!int_parsing"),
            (r#""1__0""#, "!int_parsing"),
            ("1e19", "!int_parsing_size"),
            ("null", "!int_type"),
            ("[]", "!int_type"),
            ("{}", "!int_type"),
        ];
        check(integer, &table);
    }

    #[test]
    fn numbers_are_read_as_pydantic_does() {
        let table = [
            ("7", "7"),
            ("7.5", "7.5"),
            (r#""7.5""#, "7.5"),
            (r#"" 1.5 ""#, "1.5"),
            (r#""1_0.5""#, "10.5"),
            ("true", "1"),
            (r#""abc""#, "!float_parsing"),
            (r#""""#, "!float_parsing"),
            ("null", "!float_type"),
            ("[]", "!float_type"),
            (r#""nan""#, "!finite_number"),
            (r#""inf""#, "!finite_number"),
        ];
        check(number, &table);
    }

    #[test]
    fn truth_values_are_read_as_pydantic_does() {
        let yes = ["true", "1", "1.0", r#""1""#, r#""on""#, r#""t""#, r#""Yes""#, r#""y""#, r#""TRUE""#];
        let no = ["false", "0", "0.0", r#""0""#, r#""off""#, r#""f""#, r#""no""#, r#""n""#, r#""FALSE""#];
        check(boolean, &yes.map(|json| (json, "true")));
        check(boolean, &no.map(|json| (json, "false")));
        check(boolean, &["2", r#""2""#, r#""""#, r#"" no ""#].map(|json| (json, "!bool_parsing")));
        check(boolean, &["1.5", "null", "[]", "{}"].map(|json| (json, "!bool_type")));
    }

    #[test]
    fn bodies_that_are_no_object_are_told_apart() {
        let told = |body: &str| serde_json::to_string(&Members::parse(body.as_bytes()).unwrap_err()).unwrap();
        insta::assert_snapshot!(told(""), @r#"[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]"#);
        insta::assert_snapshot!(told("[1]"), @r#"[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":[1]}]"#);
        insta::assert_snapshot!(told("{"), @r#"[{"type":"json_invalid","loc":["body",1],"msg":"JSON decode error","input":{},"ctx":{"error":"EOF while parsing an object"}}]"#);
        insta::assert_snapshot!(told("{\"é\":\n x}"), @r#"[{"type":"json_invalid","loc":["body",7],"msg":"JSON decode error","input":{},"ctx":{"error":"expected value"}}]"#);
        assert!(Members::parse("\u{feff}{}".as_bytes()).is_ok());
    }

    #[test]
    fn every_wrong_member_is_told_in_the_order_of_reading() {
        let mut members = Members::parse(br#"{"height": "x", "seed": null}"#).unwrap();
        assert_eq!(members.required("prompt"), None);
        assert_eq!(members.integer("height"), None);
        assert_eq!(members.integer("seed"), None);
        assert_eq!(members.integer("width"), None);
        let told = serde_json::to_string_pretty(&members.finish().unwrap_err()).unwrap();
        insta::assert_snapshot!(told, @r#"
        [
          {
            "type": "missing",
            "loc": [
              "body",
              "prompt"
            ],
            "msg": "Field required",
            "input": {
              "height": "x",
              "seed": null
            }
          },
          {
            "type": "int_parsing",
            "loc": [
              "body",
              "height"
            ],
            "msg": "Input should be a valid integer, unable to parse string as an integer",
            "input": "x"
          },
          {
            "type": "int_type",
            "loc": [
              "body",
              "seed"
            ],
            "msg": "Input should be a valid integer",
            "input": null
          }
        ]
        "#);
    }
}
