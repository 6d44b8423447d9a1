//! All that survives a restart: PostgreSQL rows, and objects in S3 or a folder.
