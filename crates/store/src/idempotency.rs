//! Idempotency keys: unique per account and route, inserted in the creating transaction with the body's hash.

/// The key that came with a creating request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Which route, such as `POST /executions`.
    pub route: &'static str,
    /// The client's key.
    pub key: String,
    /// Hash of the request's body.
    pub body_sha256: [u8; 32],
}
