//! Which versions of clients and workers are served: those of this release and of the one before it.
//!
//! A caller that names no version (curl, a browser) is served: it knows what it asks for.

use rgrid_api::error::ErrorCode;

use crate::error::Refused;

/// What a release is numbered by: patches within it change no contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release {
    major: u32,
    minor: u32,
}

fn release(text: &str) -> Option<Release> {
    let mut parts = text.split('.');
    let mut number = || parts.next()?.parse::<u32>().ok();
    Some(Release { major: number()?, minor: number()? })
}

/// Refuses, by name, a caller of a version that `ours` does not serve.
pub(crate) fn check(ours: &str, theirs: &str) -> Result<(), Refused> {
    let Some(caller) = release(theirs) else {
        return Err(Refused::new(ErrorCode::VersionRefused, format!("{theirs:?} is not a version of rgrid"))
            .hint(format!("this grid is rgrid {ours}")));
    };
    let Some(grid) = release(ours) else { return Ok(()) };
    let refused = |advice: String| {
        Err(Refused::new(
            ErrorCode::VersionRefused,
            format!("rgrid {theirs} is not served by this grid, rgrid {ours}"),
        )
        .hint(advice)
        .details(serde_json::json!({ "caller": theirs, "grid": ours })))
    };
    if caller > grid {
        return refused(format!("upgrade the grid, or use rgrid {ours}"));
    }
    let one_before = match grid.minor.checked_sub(1) {
        Some(minor) => Release { major: grid.major, minor },
        // The release before x.0 is the last one of x-1, whatever its number was.
        None => Release { major: grid.major.saturating_sub(1), minor: 0 },
    };
    if caller < one_before { refused(format!("upgrade to rgrid {ours}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_release_and_the_one_before_are_served() {
        for (ours, theirs, served) in [
            ("0.3.1", "0.3.0", true),
            ("0.3.1", "0.3.9", true),
            ("0.3.1", "0.2.9", true),
            ("0.3.1", "0.1.0", false),
            ("0.3.1", "0.4.0", false),
            ("1.0.0", "0.9.0", true),
            ("2.0.0", "0.9.0", false),
            ("0.1.0", "0.1.0", true),
            ("0.3.1", "", false),
            ("0.3.1", "new", false),
        ] {
            assert_eq!(check(ours, theirs).is_ok(), served, "{theirs} at {ours}");
        }
    }
}
