//! An outcome in a row: its kind as text, its numbers and words as JSON. Both directions, in one place.
