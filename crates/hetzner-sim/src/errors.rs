//! What the API refuses with: status, code, message and details, spelled as the provider spells them.

use serde_json::{Value, json};

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) details: Value,
}

/// Every code there is a status and a message for without more being known: for faults that are named by code alone.
pub(crate) const CODES: &[(&str, u16, &str)] = &[
    ("json_error", 400, "invalid JSON"),
    ("unauthorized", 401, "unable to authenticate"),
    ("token_readonly", 401, "the token is only allowed to perform GET requests"),
    ("forbidden", 403, "insufficient permissions for this request"),
    ("maintenance", 403, "cannot perform operation due to maintenance"),
    ("resource_limit_exceeded", 403, "server limit exceeded"),
    ("not_found", 404, "resource not found"),
    ("method_not_allowed", 405, "method not allowed"),
    ("uniqueness_error", 409, "server name is already used"),
    ("conflict", 409, "resource has changed during the request, please retry"),
    ("deprecated_api_endpoint", 410, "this endpoint has been removed"),
    (
        "resource_unavailable",
        412,
        "we are unable to provision servers for this location, try with a different location or try later",
    ),
    ("invalid_input", 422, "invalid input"),
    ("service_error", 422, "service error"),
    ("unsupported_error", 422, "unsupported operation"),
    ("placement_error", 422, "error during placement"),
    ("locked", 423, "server is locked"),
    ("protected", 423, "server deletion is protected"),
    ("rate_limit_exceeded", 429, "limit of 3600 requests per hour reached"),
    ("server_error", 500, "an internal server error occurred"),
    ("unknown_error", 500, "an unknown error occurred"),
    ("bad_gateway", 502, "bad gateway"),
    ("unavailable", 503, "service unavailable"),
    ("timeout", 504, "the request timed out"),
];

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>, details: Value) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), details }
    }

    /// The error of a code from `CODES`; a code that is not there is answered with 500.
    pub(crate) fn by_code(code: &str) -> Self {
        let known = CODES.iter().find(|(known, _, _)| *known == code);
        let (_, status, message) = known.copied().unwrap_or((code, 500, "an error occurred"));
        let details = match code {
            "resource_limit_exceeded" => json!({"limits": [{"name": "server_limit"}]}),
            "uniqueness_error" => json!({"fields": [{"name": "name"}]}),
            "invalid_input" => json!({"fields": []}),
            _ => Value::Null,
        };
        Self::new(status, code, message, details)
    }

    /// 422: what was sent in one field cannot be.
    pub(crate) fn field(name: &str, why: &str) -> Self {
        let details = json!({"fields": [{"name": name, "messages": [why]}]});
        Self::new(422, "invalid_input", format!("invalid input in field '{name}'"), details)
    }

    /// 422 about the request as a whole.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "invalid_input", message, json!({"fields": []}))
    }

    /// 422: `image 'x' not found` and the like, of what a request names.
    pub(crate) fn names_nothing(what: &str, which: &Value) -> Self {
        let which = which.as_str().map_or_else(|| which.to_string(), str::to_owned);
        let mut error = Self::field(what, "not found");
        error.message = format!("{what} '{which}' not found");
        error
    }

    /// 404 of a path's own id.
    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Self::new(404, "not_found", format!("{what} with ID '{id}' not found"), Value::Null)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::by_code("method_not_allowed")
    }

    /// 409: the name is taken. Both shapes of the details have been seen at the provider.
    pub(crate) fn taken(what: &str, field: &str, with_fields: bool) -> Self {
        let details = if with_fields { json!({"fields": [{"name": field}]}) } else { json!({}) };
        Self::new(409, "uniqueness_error", format!("{what} {field} is already used"), details)
    }

    pub(crate) fn limit(message: &str, limit: &str) -> Self {
        Self::new(403, "resource_limit_exceeded", message, json!({"limits": [{"name": limit}]}))
    }

    pub(crate) fn body(&self) -> Value {
        json!({"error": {"code": self.code, "message": self.message, "details": self.details}})
    }
}
