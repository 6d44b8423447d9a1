//! Column -> domain type, once per type.
