//! Private readers of outside bytes, opened for the crate that fuzzes them (`fuzz/`). No logic of its own.

use rgrid_core::outcome::Outcome;

use crate::logs::{LogPiece, Standing, check_push};
use crate::objects::s3_answer::{self, PartsPage};
use crate::{Result, outcome};

/// What of a first push is taken.
///
/// # Errors
/// When it is refused.
pub fn accepted(pieces: &[LogPiece]) -> Result<Vec<LogPiece>> {
    check_push(pieces)?;
    Standing::default().accept(pieces)
}

/// An outcome, written to its row and read back.
///
/// # Errors
/// When it does not read back.
pub fn stored(written: &Outcome) -> Result<Outcome> {
    outcome::from_json(written.kind(), &outcome::to_json(written))
}

/// The numbers of the parts that an S3 server lists, and the one after which there are more.
pub fn parts(xml: &str) -> Option<(Vec<u32>, Option<u32>)> {
    let PartsPage { parts, next } = s3_answer::parts(xml)?;
    Some((parts.into_keys().collect(), next))
}
