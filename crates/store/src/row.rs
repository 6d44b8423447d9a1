//! Column -> domain type: texts are parsed and numbers are checked here, once per type. What does not read is damage.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use rgrid_core::submission::Sha256;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{Error, Result};

/// Reads a text of ours.
pub(crate) fn parsed<T: FromStr>(what: &'static str, text: &str) -> Result<T>
where
    T::Err: Display,
{
    text.parse().map_err(|error| Error::corrupt(what, error))
}

/// Reads texts of ours.
pub(crate) fn all_parsed<T: FromStr>(what: &'static str, texts: &[String]) -> Result<Vec<T>>
where
    T::Err: Display,
{
    texts.iter().map(|text| parsed(what, text)).collect()
}

/// A number as PostgreSQL holds it. Ours are below 2^63 by their limits; more is cut to the most it can hold.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The same for 32 bits.
pub(crate) fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Milliseconds as PostgreSQL holds them.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A hash from its bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Result<Sha256> {
    bytes.try_into().map(Sha256).map_err(|_| Error::corrupt("SHA-256", format!("{} bytes", bytes.len())))
}

/// How columns are read.
pub(crate) trait Columns {
    /// A text of ours.
    fn text<T: FromStr>(&self, column: &'static str) -> Result<T>
    where
        T::Err: Display;
    /// A text of ours that may be absent.
    fn text_or_null<T: FromStr>(&self, column: &'static str) -> Result<Option<T>>
    where
        T::Err: Display;
    /// An `integer` that is not negative.
    fn number32(&self, column: &'static str) -> Result<u32>;
    /// A `bigint` that is not negative.
    fn number64(&self, column: &'static str) -> Result<u64>;
    /// Milliseconds.
    fn duration(&self, column: &'static str) -> Result<Duration> {
        Ok(Duration::from_millis(self.number64(column)?))
    }
}

impl Columns for PgRow {
    fn text<T: FromStr>(&self, column: &'static str) -> Result<T>
    where
        T::Err: Display,
    {
        parsed(column, self.try_get(column)?)
    }

    fn text_or_null<T: FromStr>(&self, column: &'static str) -> Result<Option<T>>
    where
        T::Err: Display,
    {
        let text: Option<&str> = self.try_get(column)?;
        text.map(|text| parsed(column, text)).transpose()
    }

    fn number32(&self, column: &'static str) -> Result<u32> {
        let number: i32 = self.try_get(column)?;
        u32::try_from(number).map_err(|error| Error::corrupt(column, error))
    }

    fn number64(&self, column: &'static str) -> Result<u64> {
        let number: i64 = self.try_get(column)?;
        u64::try_from(number).map_err(|error| Error::corrupt(column, error))
    }
}
