//! Reading columns into types that cannot be wrong.

use std::fmt::Display;
use std::str::FromStr;

use crate::Error;

/// Where a value stands, for the error message.
#[derive(Clone, Copy)]
pub(crate) struct At<I> {
    pub(crate) table: &'static str,
    pub(crate) id: I,
}

impl<I: Display + Copy> At<I> {
    /// A word such as a state or a lane.
    pub(crate) fn word<T>(self, column: &'static str, text: &str) -> Result<T, Error>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        text.parse().map_err(|error: T::Err| Error::bad_row(self.table, column, self.id, error))
    }

    /// An integer of another width or sign.
    pub(crate) fn integer<N, T>(self, column: &'static str, number: N) -> Result<T, Error>
    where
        T: TryFrom<N>,
        T::Error: std::error::Error + Send + Sync + 'static,
    {
        T::try_from(number).map_err(|error| Error::bad_row(self.table, column, self.id, error))
    }

    /// A JSON document.
    pub(crate) fn json<T>(self, column: &'static str, value: serde_json::Value) -> Result<T, Error>
    where
        T: serde::de::DeserializeOwned,
    {
        serde_json::from_value(value).map_err(|error| Error::bad_row(self.table, column, self.id, error))
    }
}
