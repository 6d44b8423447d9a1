//! Reads a request's body field by field, and refuses what it does not know: the provider is as strict.

use serde_json::{Map, Value};

use crate::errors::ApiError;
use crate::labels::{self, Labels};

/// The fields of a body that have not been read yet.
pub(crate) struct Body(Map<String, Value>);

impl Body {
    pub(crate) fn new(json: Value) -> Result<Self, ApiError> {
        match json {
            Value::Object(fields) => Ok(Self(fields)),
            Value::Null => Ok(Self(Map::new())),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(ApiError::by_code("json_error"))
            }
        }
    }

    /// The field, if it is there and not null.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::field(name, "must be a string")),
        }
    }

    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, ApiError> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(ApiError::field(name, "must be a boolean")),
        }
    }

    pub(crate) fn id(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => {
                value.as_i64().map(Some).ok_or_else(|| ApiError::field(name, "must be an integer"))
            }
        }
    }

    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<Value>, ApiError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(ApiError::field(name, "must be an array")),
        }
    }

    /// A list of ids, none of them twice.
    pub(crate) fn ids(&mut self, name: &str) -> Result<Vec<i64>, ApiError> {
        let bad = || ApiError::field(name, "must be an array of integers");
        let mut ids = Vec::new();
        for value in self.list(name)? {
            let id = value.as_i64().ok_or_else(bad)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Body>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields))),
            Some(_) => Err(ApiError::field(name, "must be an object")),
        }
    }

    pub(crate) fn labels(&mut self) -> Result<Option<Labels>, ApiError> {
        self.object("labels")?.map(|fields| labels::parse(fields.0)).transpose()
    }

    /// Everything has been read: what is left over is unknown.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let mut error = ApiError::field(name, "unknown field");
                error.message = format!("invalid input: unknown field name '{name}'");
                Err(error)
            }
        }
    }
}

pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::field(name, "Missing data for required field.")
}
