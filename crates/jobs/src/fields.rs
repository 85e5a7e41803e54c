//! A reader of JSON objects that goes on after a mistake, so that a caller hears of all of them at once.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::state::UnknownWord;
use crate::submission::FieldError;
use crate::task::check_text;

/// One object of a document. `null` counts as absent.
#[derive(Debug)]
pub struct Fields<'a, 'e> {
    pointer: String,
    object: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
    errors: &'e mut Vec<FieldError>,
}

impl<'a, 'e> Fields<'a, 'e> {
    /// Starts reading `value`, which stands at `pointer`; absent counts as empty.
    pub fn new(value: Option<&'a Value>, pointer: &str, errors: &'e mut Vec<FieldError>) -> Self {
        let object = value.and_then(Value::as_object);
        let mut fields = Self { pointer: pointer.to_owned(), object, known: Vec::new(), errors };
        if object.is_none() && value.is_some_and(|value| !value.is_null()) {
            fields.push(pointer.to_owned(), "type", "expected an object".to_owned());
        }
        fields
    }

    /// The raw value of a field.
    pub fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.object?.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there as `null`: where that means another thing than absent.
    pub fn is_null(&self, name: &str) -> bool {
        self.object.and_then(|object| object.get(name)).is_some_and(Value::is_null)
    }

    /// A string.
    pub fn string(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.take(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.error(name, "type", "expected a string");
        }
        text
    }

    /// A string as free text: of bounded length and storable.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let text = self.string(name)?;
        if let Err(error) = check_text(text) {
            self.error(name, "text", error);
        }
        Some(text.to_owned())
    }

    /// An integer within bounds.
    pub fn integer(&mut self, name: &'static str, within: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        let integer = value.as_u64().filter(|integer| within.contains(integer));
        if integer.is_none() {
            let code = if value.is_i64() || value.is_u64() { "range" } else { "type" };
            self.error(
                name,
                code,
                format!("expected an integer from {} to {}", within.start(), within.end()),
            );
        }
        integer
    }

    /// [`Self::integer`] for values that fit 32 bits.
    pub fn small(&mut self, name: &'static str, within: RangeInclusive<u32>) -> Option<u32> {
        let within = u64::from(*within.start())..=u64::from(*within.end());
        self.integer(name, within).and_then(|integer| u32::try_from(integer).ok())
    }

    /// A number within bounds.
    pub fn number(&mut self, name: &'static str, within: RangeInclusive<f64>) -> Option<f64> {
        let value = self.take(name)?;
        let number = value.as_f64().filter(|number| within.contains(number));
        if number.is_none() {
            let code = if value.is_number() { "range" } else { "type" };
            self.error(name, code, format!("expected a number from {} to {}", within.start(), within.end()));
        }
        number
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.take(name)?;
        let boolean = value.as_bool();
        if boolean.is_none() {
            self.error(name, "type", "expected true or false");
        }
        boolean
    }

    /// One of a set of words.
    pub fn word<T: FromStr<Err = UnknownWord>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.string(name)?;
        text.parse()
            .map_err(|error: UnknownWord| {
                self.error(name, "choice", format!("expected one of {}", error.allowed));
            })
            .ok()
    }

    /// Reports a field that has to be there and is not. A field that is there but wrong was reported before.
    pub fn require(&mut self, name: &'static str, hint: impl Display) {
        if self.object.is_none_or(|object| object.get(name).is_none_or(Value::is_null)) {
            self.error(name, "required", hint);
        }
    }

    /// Reports a field.
    pub fn error(&mut self, name: &str, code: &'static str, detail: impl Display) {
        let pointer = format!("{}/{}", self.pointer, token(name));
        self.push(pointer, code, detail.to_string());
    }

    /// Reports a member of the object that is field `name`.
    pub fn error_in(&mut self, name: &str, member: &str, code: &'static str, detail: impl Display) {
        let pointer = format!("{}/{}/{}", self.pointer, token(name), token(member));
        self.push(pointer, code, detail.to_string());
    }

    /// Reports every field that nothing asked for, and ends the reading.
    pub fn refuse_others(mut self) {
        let Some(object) = self.object else { return };
        for name in
            object.keys().filter(|name| !self.known.contains(&name.as_str())).cloned().collect::<Vec<_>>()
        {
            self.error(&name, "unknown", format!("unknown field: expected one of {}", self.known.join(", ")));
        }
    }

    fn push(&mut self, pointer: String, code: &'static str, detail: String) {
        self.errors.push(FieldError { pointer, code, detail });
    }
}

/// A name as a reference token of a JSON pointer.
fn token(name: &str) -> String {
    shortened(name).replace('~', "~0").replace('/', "~1")
}

/// The beginning of a caller's text, for a message that repeats it.
pub(crate) fn shortened(text: &str) -> String {
    const CHARS: usize = 200;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
