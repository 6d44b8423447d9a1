//! Blobs: bytes addressed by their SHA-256, scoped to an account.
